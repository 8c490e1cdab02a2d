"""An engine: decode units in other processes of this machine."""

import signal
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from typing import ClassVar

from mdmkit import Component, decode_unit, hookimpl


@dataclass(frozen=True)
class Processes:
    """Decode in `workers` processes; each loads the model once."""

    remote: ClassVar[bool] = True  # observers of this process see no steps
    workers: int = 2

    def __call__(self, work):
        # The workers ignore Ctrl-C: this process ends them.
        pool = ProcessPoolExecutor(self.workers, get_context("spawn"), signal.signal, (signal.SIGINT, signal.SIG_IGN))
        units, running = iter(work), set()
        try:
            while True:
                more = islice(units, 2 * self.workers - len(running))  # two for each worker: one is decoded, one waits
                running |= {pool.submit(decode_unit, work.recipe, unit) for unit in more}
                if not running:
                    return
                ended, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (each.result() for each in ended)
        finally:
            pool.shutdown(cancel_futures=True)


@hookimpl
def mdmkit_engine():
    return [Component("processes", Processes, "decode in other processes of this machine")]
