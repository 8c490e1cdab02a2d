"""Join a Ray cluster, or begin one on this machine; nothing of Ray's is printed or sent."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import click

from mdmkit import MdmkitError

LOCAL = "local"
# Bytes of a local cluster's object store. Units and outcomes are small.
STORE = 256 << 20
# Seconds that a cluster's head may take to answer. Ray itself would try for minutes.
SECONDS = 10.0
HOW = (
    " `ray start --head` begins a cluster. If it wants a token, RAY_AUTH_MODE=token must be set, and the token be here."
)


@contextlib.contextmanager
def joined(address: str, workers: int) -> Iterator[None]:
    """Be in a cluster. One that is begun here ends at the end; one that was joined is left.

    If this process is in a cluster already, that one is used, and stays.

    Raises:
        MdmkitError: there is no cluster at the address, or this process is in another one.
    """
    import ray

    if ray.is_initialized():
        if address != LOCAL:
            raise MdmkitError(f"address={address}: this process is in a cluster of Ray already. Leave the address out.")
        yield
        return
    debug = _debug()
    with _said_elsewhere(debug):
        try:
            _begin(address, workers, debug)
            yield
        finally:
            ray.shutdown()


def check_room(workers: int, gpus: float) -> None:
    """Refuse more workers than the cluster can ever hold.

    Raises:
        MdmkitError: it has too few CPUs or GPUs.
    """
    import ray

    for what, needed in {"CPU": workers, "GPU": workers * gpus}.items():
        there = ray.cluster_resources().get(what, 0)
        if needed > there:
            raise MdmkitError(
                f"{workers} {'workers need' if workers > 1 else 'worker needs'} {needed:g} {what}s, and the cluster "
                f"has {there:g}. Ask for fewer workers, or add machines first."
            )


def _begin(address: str, workers: int, debug: bool) -> None:
    import ray

    options: dict[str, Any] = {"log_to_driver": debug, "logging_level": logging.INFO if debug else logging.ERROR}
    if address == LOCAL:
        options |= {"num_cpus": workers, "include_dashboard": False, "object_store_memory": STORE}
    try:
        if ":" in address:
            host, _, port = address.rpartition(":")
            socket.create_connection((host.strip("[]"), int(port)), SECONDS).close()
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # the processes of a local cluster read it
        with _own_signals(), warnings.catch_warnings():
            if not debug:
                warnings.simplefilter("ignore", FutureWarning)
            ray.init(address, **options)
    except Exception as error:
        said = " ".join(str(error).split())[:500].rstrip(".")
        how = "" if address == LOCAL else HOW
        raise MdmkitError(f"address={address}: Ray cannot be reached: {said}.{how}") from error


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Let SIGTERM do what it did before: Ray would print its stack and abort."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if before is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)


def _debug() -> bool:
    """Return True under `mdmkit --debug`."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.find_root().params.get("debug"))


@contextlib.contextmanager
def _said_elsewhere(debug: bool) -> Iterator[None]:
    """Keep what Ray says of its processes off standard output, which may hold rows; no option of Ray's does.

    With `debug` it goes to standard error.
    """
    import ray._private.worker

    private: Any = ray._private.worker

    def say(data: Mapping[str, Any], *_: Any, **__: Any) -> None:
        for line in data.get("lines", ()) if debug else ():
            print(f"ray: {line}", file=sys.stderr)

    before = getattr(private, "print_to_stdstream", None)  # no public name
    private.print_to_stdstream = say
    try:
        yield
    finally:
        private.print_to_stdstream = before
