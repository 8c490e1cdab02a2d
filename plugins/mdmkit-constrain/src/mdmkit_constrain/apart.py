"""Make automata in a process of their own, so that one that grows without end takes neither time nor memory for ever.

Run as a program, it reads patterns and grammars from its input, one JSON text in each line, and writes each automaton.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np

from mdmkit import MdmkitError, shown
from mdmkit_constrain.automaton import Automaton
from mdmkit_constrain.kept.automata import Wanted, automaton_of
from mdmkit_constrain.patterns import made_of

# The most time and memory that one pattern may take.
SECONDS, BYTES = 20.0, 4 << 30


class TooSlow(MdmkitError):
    """A pattern that takes longer than it may to become an automaton."""


@functools.lru_cache(maxsize=256)
def of_pattern(pattern: str) -> Automaton:
    """Make the automaton of the texts that `re.fullmatch(pattern, text, re.ASCII)` matches.

    Raises:
        TooSlow: its automaton grows too large.
        MdmkitError: it is no pattern, or not one of a regular language that the library reads as Python does.
    """
    return automaton_of(pattern, "interegular", _maker.make)


@functools.lru_cache(maxsize=64)
def of_grammar(text: str, start: str, depth: int) -> Automaton:
    """Make the automaton of a grammar's texts in which no rule stands in itself more than `depth` times.

    Raises:
        TooSlow: it grows too large.
        MdmkitError: it is no grammar, or one that cannot be expanded.
    """
    return automaton_of([text, start, depth], "lark", _maker.make)


class Maker:
    """A process that makes automata, one at a time. It begins with the first one, and ends with this process.

    Args:
        seconds: the most that one pattern may take.
    """

    def __init__(self, seconds: float = SECONDS):
        self.seconds = seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def make(self, wanted: Wanted) -> Automaton:
        """Make an automaton; errors as for `of_pattern` and `of_grammar`."""
        with self._lock:
            process = self._begun()
            late = threading.Event()
            with _ends(process, self.seconds, late):
                answer = _asked(process, wanted)
            if answer is None:
                process.wait()
        if isinstance(answer, Automaton):
            return answer
        if answer is not None:
            raise MdmkitError(answer)
        if not late.is_set():
            raise MdmkitError(
                f"the process that makes automata ended with code {process.returncode}, at pattern {shown(wanted)}."
            )
        raise TooSlow(
            f"pattern {shown(wanted)} needs more than {self.seconds:g} seconds to become an automaton. Put fewer "
            "choices before a count: [ab]{20} takes no time, and (a|b)*a(a|b){20} doubles the automaton twenty times."
        )

    def _begun(self) -> subprocess.Popen[bytes]:
        # A process that has been forked must not read the answers to another's questions.
        if self._process is None or self._process.poll() is not None or self._owner != os.getpid():
            command = [sys.executable, "-P", "-c", "from mdmkit_constrain.apart import main; main()"]
            env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(command, env=env, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
            self._owner = os.getpid()
        return self._process


@contextlib.contextmanager
def _ends(process: subprocess.Popen[bytes], seconds: float, late: threading.Event) -> Iterator[None]:
    """End the process after some seconds, or if its answer is not read."""

    def end() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(seconds, end)
    timer.start()
    try:
        yield
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        timer.cancel()


_maker = Maker()


def _asked(process: subprocess.Popen[bytes], wanted: Wanted) -> Automaton | str | None:
    """The automaton, what is wrong with the pattern, or None if the process has ended."""
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(json.dumps(wanted).encode() + b"\n")
        process.stdin.flush()
    except BrokenPipeError:
        return None
    line = process.stdout.readline()
    if not line:
        return None
    said = json.loads(line)
    if isinstance(said, str):
        return said
    moves, final = process.stdout.read(1024 * said), process.stdout.read(said)
    if len(final) < said:
        return None
    return Automaton(np.frombuffer(moves, np.int32).reshape(said, 256).copy(), np.frombuffer(final, bool).copy())


def _made(wanted: Wanted) -> Automaton:
    if isinstance(wanted, str):
        return made_of(wanted)
    from mdmkit_constrain.grammars.expansion import made_of_grammar

    return made_of_grammar(*wanted)


def main() -> None:
    """Answer each line: what is wrong with it, a JSON text; or its number of states N, and then its tables."""
    with contextlib.suppress(ImportError, OSError, ValueError):  # not on every system
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (BYTES if hard == resource.RLIM_INFINITY else min(BYTES, hard), hard))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks
    alarm = getattr(signal, "alarm", lambda seconds: None)
    out = sys.stdout.buffer
    for line in sys.stdin.buffer:
        alarm(2 * int(SECONDS))  # ends this process if the one that asks is gone
        try:
            automaton = _made(json.loads(line))
        except MdmkitError as error:
            out.write(json.dumps(str(error)).encode() + b"\n")
        else:
            out.write(b"%d\n" % len(automaton.moves))
            out.write(automaton.moves.astype(np.int32).tobytes() + automaton.final.tobytes())
        out.flush()
        alarm(0)
