"""The processes that share one model: the first one leads, the others follow.

The loop, the sampler, and all that reads or writes run in the first process only. Whenever it calls the model, it sends
the arguments to the others, who make the same call with their part of the weights. So every command and every program
works over several processes as it is.

A message is a method's name, whose it is (the network's, or a store's), and its arguments: what is small goes as an
object between the hosts, tensors go from device to device, so the first process never waits for its GPU. Stores of
frozen columns exist once in every process, and are named by numbers.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import pickle
import signal
import sys
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed

from mdmkit import MdmkitError, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mdmkit_text.network import Network

# Every tensor of a message begins at a multiple of so many bytes, so that it can be read with its own dtype.
_ALIGNED = 16
# Seconds. Each thread needs microseconds; on a machine with many more programs than cores it waits for its turn.
_DROPPED = 0.3
_CPU = torch.device("cpu")


class Peers:
    """The processes that follow this one. Calls of several threads come one after the other."""

    def __init__(self) -> None:
        self._lock, self._stores, self._gone = threading.RLock(), 0, deque[int]()
        self._lost = ""
        atexit.register(self._end)

    def new_store(self) -> PeerStore:
        """Return an empty store; the others make theirs when they first hear of it, and forget it with this one."""
        self._stores += 1
        store = PeerStore(self, self._stores)
        # A collector may run in the middle of a message, so the number only waits for the next one.
        weakref.finalize(store, self._gone.append, self._stores).atexit = False
        return store

    def together(self, name: str, call: Callable[..., Any], *arguments: Any, of: PeerStore | None = None) -> Any:
        """Call a method of the network, or `of` a store, in the others by its name, and here as `call`.

        Ctrl-C waits for its end.

        Raises:
            MdmkitError: it failed here, or failed before; the processes are then out of step for good.
        """
        with self._lock, uncut():
            if self._lost:
                raise MdmkitError(self._lost)
            try:
                self._send(name, arguments, of)
                return call(*arguments)
            except Exception as error:
                self._lost = _lost(error)
                raise MdmkitError(self._lost) from error

    def _send(self, name: str, arguments: Sequence[Any] = (), of: PeerStore | None = None) -> None:
        gone = [self._gone.popleft() for _ in range(len(self._gone))]
        packed, tensors = pack((of, name, arguments, gone))
        distributed.broadcast_object_list([packed, None if tensors is None else len(tensors)], src=0, device=_CPU)
        if tensors is not None:
            distributed.broadcast(tensors, src=0)

    def _end(self) -> None:
        # A thread that ends with the process, such as a server's engine, may be in a call: it ends first.
        with self._lock:
            if not self._lost:
                self._lost = "this process is about to end, so the model that it shares with others is not called."
                try:
                    self._send("end")
                except Exception:  # they have ended already
                    return
            if distributed.is_initialized():
                leave()


@contextlib.contextmanager
def uncut() -> Iterator[None]:
    """Let Ctrl-C wait for the end: if a call is cut here, the others wait in the middle of theirs, for ever."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            signal.raise_signal(signal.SIGINT)


class PeerStore(Store):
    """A store whose rows are wiped and copied in every process. Each has its own part of the heads in it."""

    def __init__(self, peers: Peers, number: int):
        super().__init__()
        self.peers, self.number = peers, number

    # A weak reference needs a hash, which a dict has not.
    __hash__ = object.__hash__  # type: ignore[assignment]

    def wipe(self, slots: Sequence[int]) -> None:
        self.peers.together("wipe", super().wipe, [*slots], of=self)

    def follow(self, slots: Tensor, sources: Tensor) -> None:
        self.peers.together("follow", super().follow, slots, sources, of=self)


def lead_or_follow(network: Network, device: torch.device) -> None:
    """Make the first process the one that leads. In the others this call does not return."""
    if distributed.get_rank() == 0:
        network.peers = Peers()
    else:
        follow(network, device)


def follow(network: Network, device: torch.device) -> None:
    """Do what the first process says, until it ends; then end this process, too."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the first process decides what they mean
        signal.signal(number, signal.SIG_IGN)
    stores: dict[int, Store] = {}
    with torch.inference_mode():
        while True:
            owner, name, arguments, gone = _receive(stores, device)
            for number in gone:
                stores.pop(number, None)
            if name == "end":
                break
            try:
                getattr(network if owner is None else owner, name)(*arguments)
            except Exception as error:  # the first process is gone in the middle of a call, or memory is too small here
                _give_up(error)
    leave()
    sys.exit(0)


def leave() -> None:
    """Leave the process group, so that the process may end.

    Gloo's threads live on, and each drops the tensors of its last message after the message has arrived. If Python has
    begun to end by then, that aborts the process (pytorch/pytorch#190489); so they are given the time for it.
    """
    distributed.destroy_process_group()
    time.sleep(_DROPPED)


def _give_up(error: Exception) -> None:
    said = " ".join(str(error).split()) or type(error).__name__
    print(f"Process {distributed.get_rank()}, which shares the model, ends: {said}", file=sys.stderr, flush=True)
    os._exit(1)


def _receive(stores: dict[int, Store], device: torch.device) -> Any:
    given: list[Any] = [None, None]
    try:
        distributed.broadcast_object_list(given, src=0, device=_CPU)
        packed, size = given
        tensors = None if size is None else torch.empty(size, dtype=torch.uint8, device=device)
        if tensors is not None:
            distributed.broadcast(tensors, src=0)
    except RuntimeError:  # the first process is gone, and has said why
        os._exit(1)
    return unpack(packed, tensors, stores)


def pack(message: Any) -> tuple[bytes, Tensor | None]:
    """Return a message without its tensors, and its tensors as bytes on their device, uint8; None: it has none."""
    tensors: list[Tensor] = []

    class Pickler(pickle.Pickler):
        def persistent_id(self, thing: Any) -> Any:
            if isinstance(thing, PeerStore):
                return "store", thing.number
            if isinstance(thing, Tensor):
                tensors.append(thing)
                return "tensor", thing.dtype, tuple(thing.shape)
            return None

    written = io.BytesIO()
    Pickler(written).dump(message)
    return written.getvalue(), torch.cat([_bytes(each) for each in tensors]) if tensors else None


def _bytes(tensor: Tensor) -> Tensor:
    # A contiguous tensor of one element may have any stride, and then has no view as bytes.
    flat = torch.empty(tensor.numel(), dtype=tensor.dtype, device=tensor.device).copy_(tensor.reshape(-1))
    each = flat.view(torch.uint8)
    return torch.nn.functional.pad(each, (0, -len(each) % _ALIGNED))


def unpack(packed: bytes, tensors: Tensor | None, stores: dict[int, Store]) -> Any:
    """Return the message. A store that is not known is made, and put into `stores`."""
    place = 0

    class Unpickler(pickle.Unpickler):
        def persistent_load(self, saved: Any) -> Any:
            nonlocal place
            if saved[0] == "store":
                return stores.setdefault(saved[1], Store())
            _, dtype, shape = saved
            size = torch.Size(shape).numel() * dtype.itemsize
            begin, place = place, place + size + -size % _ALIGNED
            assert tensors is not None
            return tensors[begin : begin + size].view(dtype).reshape(shape)

    return Unpickler(io.BytesIO(packed)).load()


def _lost(error: Exception) -> str:
    advice = ""
    if isinstance(error, torch.OutOfMemoryError):
        advice = " Memory was too small: use a smaller --batch, or more processes."
    reason = " ".join(str(error).split()) or type(error).__name__
    return (
        f"a call of the model that several processes share has failed, so this run cannot go on: {reason}.{advice} "
        "Rows that are written are whole: --resume continues."
    )
