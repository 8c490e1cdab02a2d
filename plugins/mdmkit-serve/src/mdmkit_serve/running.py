"""The running batch of one sampler: an engine, the jobs in it, and what came of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mdmkit import Engine, MdmkitError, RowError, read_prompts
from mdmkit_serve.job import Answer, Begun, Failed
from mdmkit_serve.listening import Listener, finish
from mdmkit_serve.stops import cut

if TYPE_CHECKING:
    from collections.abc import Callable

    from mdmkit import Backbone, KeptBlocks, Row, Sampler
    from mdmkit_serve.job import Event, Job

GAVE_OUT = "the request ran out of time after {:g} seconds. Ask for fewer tokens, or at a quieter time."


class Running:
    """The jobs of one sampler that are in its engine: at work, or next in line for a slot.

    Args:
        tell: passes an event of a job on.
        kept: finished blocks of rows that have ended; None: they are not kept.

    Raises:
        MdmkitError: the model cannot run the sampler.
    """

    def __init__(
        self,
        sampler: Sampler,
        backbone: Backbone,
        slots: int,
        tell: Callable[[Job, Event], None],
        kept: KeptBlocks | None = None,
    ):
        self.tell, self.backbone = tell, backbone
        self.listener = Listener(tell)
        self.engine = Engine(sampler, backbone, slots, observers=[self.listener], kept=kept)

    @property
    def jobs(self) -> dict[int, Job]:
        """The jobs in the engine, by their rows' ids."""
        return self.listener.jobs

    def encode(self, job: Job) -> None:
        """Encode a job's prompt.

        Raises:
            MdmkitError: it cannot be encoded, or the request and the encoded prompt do not go together.
        """
        job.encoded = self.engine.encode(job.prompt)
        canvas = job.encoded.canvas
        if bool(canvas.infill.any()) and job.stop:
            raise MdmkitError(
                "this prompt holds masks, so its answer is the whole filled text, and stop would cut the prompt too: "
                "leave stop out."
            )
        job.takes, job.masks = self.engine.columns_of(job.encoded), int(canvas.open.sum())

    def check(self, job: Job) -> None:
        """Refuse an encoded job that `admit` would refuse. Any thread may call this.

        Raises:
            MdmkitError: its rule leaves it no text.
        """
        self.engine.check(job.encoded)

    def begin(self, job: Job) -> None:
        """Tell a job that it waits for a slot."""
        self.tell(job, Begun(int(job.encoded.canvas.fixed.sum())))

    def admit(self, job: Job) -> None:
        """Give a job to the engine."""
        self.jobs[self.engine.admit(job.encoded, checked=True)] = job

    def give_up(self, job: Job) -> None:
        """Take a job out of the engine; its slot is free at once."""
        for id_ in [id_ for id_, other in self.jobs.items() if other is job]:
            del self.jobs[id_]
            self.engine.cancel(id_)

    def step(self) -> None:
        """Take one step, and answer the jobs whose rows have ended.

        Raises:
            Exception: the step failed for all rows at work; `take_back` returns their jobs.
        """
        stepped = set(self.listener.stepped)
        for ended in self.engine.step():
            self._end(ended.id, ended.row, ended.error, ended.id in stepped)
        for id_ in self.listener.ended:
            if self.jobs.pop(id_, None) is not None:
                self.engine.cancel(id_)
        self.listener.ended.clear()

    def take_back(self, waiting: bool) -> list[Job]:
        """After a failed step: answer the jobs whose rows had ended, and return those that have to begin again.

        Args:
            waiting: True: also the jobs that wait for a slot.
        """
        at_work = set(self.engine.at_work)
        for ended in self.engine.abandon(waiting=waiting):
            if ended.row is not None or isinstance(ended.error, RowError):
                self._end(ended.id, ended.row, ended.error)
            else:
                at_work.add(ended.id)
        gone = [id_ for id_ in self.jobs if waiting or id_ in at_work]
        lost = [self.jobs.pop(id_) for id_ in gone]
        self.listener.ended.clear()
        return [job for job in lost if not job.over]

    def _end(self, id_: int, row: Row | None, error: MdmkitError | None, stepped: bool = True) -> None:
        job = self.jobs.pop(id_, None)
        if job is None or job.over:
            return
        if row is None:
            job.over = True
            # What is wrong before the first step is the request: a block, for example, that does not fit the model's.
            self.tell(job, Failed(str(error), 500 if stepped or isinstance(error, RowError) else 400))
            return
        text = str(row.text)
        cut_off = cut(text, job.stop) if job.stop else None
        if cut_off is not None:
            finish(job, cut_off, Answer(cut_off, "stop", _count(row, job, self.backbone), "stop", row), self.tell)
        else:
            reason = "length" if row.stopped == "length" else "stop"
            finish(job, text, Answer(text, reason, _count(row, job, self.backbone), row.stopped, row), self.tell)


def try_out(sampler: Sampler, backbone: Backbone) -> None:
    """Fill one mask, so that a sampler that does not fit the model is refused before anybody asks for it.

    Raises:
        MdmkitError: it does not fit.
    """
    engine = Engine(sampler, backbone, 1)
    odd = {*backbone.forbidden, *backbone.ends, backbone.mask_id}
    token = next(id_ for id_ in range(backbone.vocab) if id_ not in odd)
    engine.admit(read_prompts([{"prompt_ids": [token], "length": 1}], 0)[0])
    for ended in engine.drain():
        if ended.error is not None:
            raise ended.error


def shown_tokens(row: Row, backbone: Backbone) -> int:
    """How many of a row's tokens its text has: those before the end token. An infill is shown whole."""
    ends = set(backbone.ends)
    if not ends or row.stopped == "filled":
        return len(row.tokens)
    return next((at for at, token in enumerate(row.tokens) if token in ends), len(row.tokens))


def _count(row: Row, job: Job, backbone: Backbone) -> int:
    """The tokens of an answer: those that were decoded, up to the end token."""
    if bool(job.encoded.canvas.infill.any()):
        return sum(at >= 0 for at in row.order)
    return min(len(row.tokens), shown_tokens(row, backbone) + 1)
