"""Everything that lasts from one step to the next: the rows at work and their data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mdmkit import ops
from mdmkit.canvas.blocks import cut
from mdmkit.canvas.canvas import Canvas, joined
from mdmkit.canvas.trace import Trace, stacked
from mdmkit.canvas.window import Window
from mdmkit.errors import MdmkitError
from mdmkit.loop.beliefs import Beliefs
from mdmkit.loop.guard import Guarded, Wrong, got, named, shaped
from mdmkit.loop.ledger import Ledger
from mdmkit.loop.observe import Watchers
from mdmkit.loop.particles import expand
from mdmkit.loop.place import Place, free_slots
from mdmkit.loop.previous import Previous
from mdmkit.loop.readiness import check_parts, extras_of, make_cache, prepared, reads_open_only
from mdmkit.loop.reuse import Reuse
from mdmkit.loop.runner import Runner
from mdmkit.stage.look import States
from mdmkit.stage.memory import Memory
from mdmkit.stage.search import Search
from mdmkit.stage.step import Step
from mdmkit.stage.traits import trait

if TYPE_CHECKING:
    from mdmkit.loop.kept import KeptBlocks
    from mdmkit.loop.left import Left
    from mdmkit.loop.sampler import Sampler
    from mdmkit.model.backbone import Backbone
    from mdmkit.stage.hidden import Hidden
    from mdmkit.stage.shifted import Shifted


class State:
    """R rows at work, each with its own cursor. Under a search of P particles all tensors have R·P rows.

    Attributes:
        canvas: [R·P, T].
        places: R; what the host knows about each row.
        constraint: the sampler's, with what it needs of the model; None: it has none.
        tick, taken, patience, done: int64 [R·P]; steps made; steps of the plan used in the block; steps that a full
            block may still take; why the row has ended (`RUNNING`, `BY_END`, `BY_RULE`).
        recorded: [R·P]; the trace without the last steps, which are in the `ledger`; see `trace`.
        memory: values that stages remember.
        previous: what the model said of each row's last state, if it has `feeds_back`.
        hidden: hidden states of the rows that have a belief.
        hidden_of_step: those of the rows that take the current step.
        rows_of_step: the rows that take the current step, as indices into `places`.
        index_of_step: the same rows as indices into the tensors, int64 [B].
        where: their windows.
        targets: int64 [B, steps + 1]; how many positions may be open after each step of the block.
        refill: lets waiting rows join; None: nobody waits.
        limits: int64 [B]; the columns that each row of the step may grow to.
        reuse: keeps finished blocks of rows that end.
        partial_index: `index_of_step` if some rows do not take the step, else None.
        left: rows that have left; `take_left` returns them.
    """

    places: list[Place]
    left: list[Left]
    rows_of_step: list[int]
    recorded: Trace
    where: Window
    targets: Tensor
    limits: Tensor
    index_of_step: Tensor
    hidden_of_step: Hidden
    _key: tuple[int, tuple[int, ...]]

    def __init__(
        self,
        sampler: Sampler,
        backbone: Backbone,
        slots: int,
        watchers: Watchers | None = None,
        kept: KeptBlocks | None = None,
    ):
        check_parts(sampler, backbone)
        self.sampler, self.backbone, self.slots = sampler, backbone, slots
        self.watchers = watchers or Watchers(())
        self.particles = 1 if sampler.search is None else trait("search", sampler.search, "particles")
        self.cache = make_cache(sampler, backbone)
        self.runner = Runner(self._beliefs(), self.cache, slots * self.particles, *extras_of(sampler))
        self.reuse = Reuse.of(kept, self.runner, self.particles, sampler.plan.room)
        self.rewrites = trait("commit", sampler.commit, "rewrites")
        self.lingers = trait("commit", sampler.commit, "lingers")
        self.compares = _compares(sampler)
        self.ends = tuple(sorted(backbone.ends)) if sampler.plan.early_stop else ()
        self.partial_index: Tensor | None = None
        self.refill: Callable[[], None] | None = None
        self.says = sampler.plan.logprobs is not None
        self.memory, self.ledger = Memory(), Ledger(self.says)
        self.previous = Previous(backbone.offers) if backbone.feeds_back else None
        self.hidden: Hidden | None = None
        self.places, self.left, self.rows_of_step = [], [], []
        self.step_now: Step | None = None
        self._epoch, self._key = 0, (-1, ())
        self._answers: tuple[int, Window] | None = None

    def _beliefs(self) -> Beliefs:
        """Make what makes beliefs, and the constraint that changes them."""
        sampler = self.sampler
        shape = None if sampler.constraint is None else self._shape
        whole = trait("constraint", sampler.constraint, "whole")
        beliefs = Beliefs(self.backbone, sampler.draw, sampler.guidance, shape, whole)
        self.constraint = prepared(sampler, self.backbone, beliefs.policy.never)
        return beliefs

    @cached_property
    def looks_at_open(self) -> bool:
        """True if no part reads the belief of a next state at filled positions: it is computed at open ones only."""
        return reads_open_only(self.sampler)

    @cached_property
    def reads_open(self) -> bool:
        """The same for the step's own belief, which observers and commits that rewrite read too."""
        return self.looks_at_open and not self.rewrites and not self.watchers.read_written

    @property
    def trace(self) -> Trace:
        """[R·P]: the trace of the rows at work, up to their last step."""
        self.ledger.close(self.recorded)
        return self.recorded

    @trace.setter
    def trace(self, trace: Trace) -> None:
        self.recorded = trace

    # -- rows join and leave -------------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """True if any row is at work."""
        return bool(self.places)

    @property
    def free(self) -> int:
        """The number of rows that may join."""
        return self.slots - sum(not place.ending for place in self.places)

    def join(
        self, canvas: Canvas, conditioning: Any, ids: Sequence[int], rules: Sequence[Mapping[str, Any] | None] = ()
    ) -> None:
        """Add rows, [n, T], with their prompts' rules. They take their first step when they have a belief.

        Raises:
            MdmkitError: the plan's block does not fit the model's blocks.
        """
        assert len(ids) <= self.free, "more rows than free slots"
        new = self._placed(canvas, ids)
        for place, rule in zip(new, rules, strict=False):
            place.rule = rule
        self.runner.join(conditioning, [place.slot for place in new], self.particles)
        self.reuse.begin(new, canvas)
        wide = expand(replace(canvas, room=self.sampler.plan.room).to(self.backbone.device), self.particles)
        first, self.places = not self.places, [*self.places, *new]
        self._append(wide, _width(self.places), first)
        self._epoch += 1

    def let_in(self, ending: list[int]) -> None:
        """Within a step, give the slots of rows whose last step needs no forward of them to rows that wait.

        The new rows are in the step's forward. Otherwise every slot would stand idle for one call between two rows.
        """
        if self.refill is None or trait("stop", self.sampler.stop, "fill") == "best":
            return
        self.reuse.keep(self.places, ending, self.canvas)
        for row in ending:
            self.places[row].ending = True
        before = len(self.places)
        self.refill()
        if len(self.places) > before:
            self.partial_index = self.index_of_step

    def widens(self, canvas: Canvas) -> bool:
        """True if the tensors need more columns for the row of a canvas [1, T]. Within a step they cannot get them."""
        return _width([*self.places, *self._placed(canvas, [0])]) > self.canvas.tokens.shape[1]

    def _placed(self, canvas: Canvas, ids: Sequence[int]) -> list[Place]:
        """Give each row of a canvas its blocks and a slot; it begins in its first block with an open position."""
        plan, room, new = self.sampler.plan, self.sampler.plan.room, []
        own = canvas.open.tolist(), canvas.lengths.tolist(), canvas.answers
        for id_, row, length, answer, slot in zip(ids, *own, free_slots(self.places, self.slots), strict=False):
            blocks = cut(row, length, plan, canvas.block, length + room if room else None)
            if not blocks.blocks:
                raise ValueError(f"row {id_} has nothing to fill")
            solid = all(row[answer[0] : answer[1]])
            new.append(Place(id_, slot, blocks, length + room, blocks.at(row.index(True)), answer, solid))
        return new

    def _append(self, wide: Canvas, columns: int, first: bool) -> None:
        """Append rows to all tensors, and make all rows `columns` wide."""
        count, device = len(wide.tokens), self.backbone.device
        none = torch.zeros(count, dtype=torch.long, device=device)
        cursor = {"tick": none, "taken": none, "patience": torch.full_like(none, self.lingers), "done": none}
        if first:
            self.canvas, self.trace, self.hidden = (
                wide.padded(columns),
                Trace.blank(count, columns, device, self.says),
                None,
            )
            self.memory.rows, self.memory.kept = 0, {}
        else:
            self.canvas = joined([self.canvas, wide]).padded(columns)
            across = self.canvas.tokens.shape[1]
            self.trace = stacked([self.trace.padded(across), Trace.blank(count, across, device, self.says)])
            cursor = {name: torch.cat((getattr(self, name), values)) for name, values in cursor.items()}
            self.hidden = None if self.hidden is None else self.hidden.joined(count)
        self.tick, self.taken, self.patience, self.done = cursor.values()
        self.memory.join(count)
        if self.previous is not None:
            self.previous.join(count)

    @torch.inference_mode()  # also between steps: what a step has stored can be wiped in this mode only
    def drop(self, rows: Sequence[int], sound: Sequence[int] = ()) -> None:
        """Remove these rows (indices into the rows at work); `sound`: those that have ended without an error."""
        gone = set(rows)
        stay = [row for row in range(len(self.places)) if row not in gone]
        # A row that has joined within the step may have an ending row's slot.
        kept = {self.places[row].slot for row in stay}
        if failed := [row for row in sorted(gone - set(sound)) if self.places[row].slot not in kept]:
            self.runner.wipe(failed, self.particles)
        self.runner.keep_rows(stay, self.particles)
        self.places = [self.places[row] for row in stay]
        index = self.index_of(stay)
        self.canvas, self.trace = self.canvas.at(index), self.trace.at(index)
        for name in ("tick", "taken", "patience", "done"):
            setattr(self, name, getattr(self, name)[index])
        self.memory.take(index)
        if self.previous is not None:
            self.previous.take(index)
        self.hidden = None if self.hidden is None or not stay else self.hidden.at(index)
        self._epoch += 1

    def take_left(self) -> list[Left]:
        """Return the rows that have left since the last call."""
        out, self.left = self.left, []
        return out

    # -- one step ------------------------------------------------------------------------------------------------------

    def _shape(self, logits: Tensor, states: States, columns: Tensor) -> Tensor | Shifted:
        """Let the constraint change logits [m, S, V]."""
        assert self.constraint is not None
        answer, infill = self.answers.at(states.rows), self.canvas.infill[states.rows]
        every = range(len(self.places))
        rules, behind = self.rules_of(every), self.behind(every)
        states = replace(states, answer=answer, infill=infill, rules=rules, behind=behind)
        with Guarded(self.sampler, "constraint", self.latest, states=states, columns=columns):
            return shaped(self.constraint.shape(logits, states, columns), logits)

    def rules_of(self, rows: Iterable[int]) -> list[Mapping[str, Any] | None] | None:
        """The rules of rows at work, one for each particle, for a constraint that reads them."""
        if not trait("constraint", self.constraint, "per_prompt"):
            return None
        return [self.places[row].rule for row in rows for _ in range(self.particles)]

    def behind(self, rows: Iterable[int]) -> int | None:
        """How many columns of an answer stand at most before its row's block; None: some answer held text."""
        places = [self.places[row] for row in rows]
        if not all(place.solid for place in places):
            return None
        return max((0, *(place.block.start - place.answer[0] for place in places)))

    @property
    def answers(self) -> Window:
        """The answers of all rows at work, one for each particle."""
        if self._answers is None or self._answers[0] != self._epoch:
            spans = [place.answer for place in self.places for _ in range(self.particles)]
            self._answers = self._epoch, Window.of(spans, self.backbone.device)
        return self._answers[1]

    def check(self, canvas: Canvas, name: str, rule: Mapping[str, Any] | None = None) -> None:
        """Refuse a row, a canvas [1, T], for which the constraint leaves no text, or does not read its rule.

        Raises:
            MdmkitError: there is none, or the constraint fails.
        """
        if rule is not None and not trait("constraint", self.constraint, "per_prompt"):
            own = (
                "no constraint" if self.constraint is None else f"{named(self.sampler, 'constraint')}, which reads none"
            )
            raise MdmkitError(
                f"{name} has a rule of its own, and the sampler has {own}: set constraint=by_prompt (of "
                "mdmkit-constrain), or take the key 'rule' out."
            )
        refuse = getattr(self.constraint, "refuse", None)
        if refuse is None or not bool(canvas.open.any()):
            return
        with Guarded(self.sampler, "constraint", 0):
            why = refuse(canvas.to("cpu"), Window.of(canvas.answers, torch.device("cpu")), rule)
            if not isinstance(why, str | None):
                raise Wrong(f"{got(why)} from refuse; it must return a text, or None.")
        if why is not None:
            raise MdmkitError(f"{name}: {named(self.sampler, 'constraint')}: {why}")

    @property
    def cursor(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """`tick`, `taken`, `patience` and `done`."""
        return self.tick, self.taken, self.patience, self.done

    @property
    def latest(self) -> int:
        """The largest tick among the rows of the step; errors that concern all rows report it."""
        return max((self.places[row].ticks for row in self.rows_of_step), default=0)

    def write_rows(self, canvas: Canvas, cursor: dict[str, Tensor]) -> None:
        """Store the new canvas and cursors of the rows of the step."""
        index = self.partial_index
        self.canvas = canvas if index is None else self.canvas.put(index, canvas)
        for name, values in cursor.items():
            setattr(self, name, values if index is None else getattr(self, name).index_copy(0, index, values))

    def follow(self, parents: Tensor, kept: set[str]) -> None:
        """Copy everything that is stored for the parents to their particles, except for the memory named in `kept`."""
        index = self.index_of_step
        every = torch.arange(len(self.tick), device=index.device).index_copy(0, index, index[parents])
        seed = self.canvas.seed
        self.canvas = replace(self.canvas.at(every), seed=seed)
        self.trace = self.trace.at(every)
        for name in ("tick", "taken", "patience", "done"):
            setattr(self, name, getattr(self, name)[every])
        self.memory.follow(every, kept)
        if self.previous is not None:
            self.previous.take(every)
        self.runner.follow(every)

    def set_done(self, over: Tensor) -> None:
        """Store why the rows of the step have ended."""
        index = self.partial_index
        self.done = over if index is None else self.done.index_copy(0, index, over)

    def enter_block(self, rows: list[int]) -> None:
        """Reset what lasts for one block (cursors and memory), for rows that have entered a block."""
        index = self.index_of(rows)
        self.taken = self.taken.index_fill(0, index, 0)
        self.patience = self.patience.index_fill(0, index, self.lingers)
        self.memory.enter_block(index)
        self._epoch += 1

    def place_step(self) -> None:
        """Compute windows, targets and indices of the step's rows, if a row has entered a block, joined or left."""
        self.rows_of_step = [row for row, place in enumerate(self.places) if place.believed]
        key = (self._epoch, tuple(self.rows_of_step))
        if self._key == key:
            return
        self._key = key
        blocks = [self.places[row].block for row in self.rows_of_step for _ in range(self.particles)]
        device, steps = self.backbone.device, max(len(block.targets) for block in blocks)
        self.where = Window.of([(block.start, block.stop) for block in blocks], device)
        table = [[*block.targets, *[0] * (steps + 1 - len(block.targets))] for block in blocks]
        self.targets = ops.uploaded(table, device)
        lengths = [self.places[row].length for row in self.rows_of_step for _ in range(self.particles)]
        self.limits = ops.uploaded(lengths, device)
        self.index_of_step = self.index_of(self.rows_of_step)
        self.partial_index = None if len(self.rows_of_step) == len(self.places) else self.index_of_step

    def index_of(self, rows: Sequence[int]) -> Tensor:
        """The indices into the tensors of all particles of these rows: int64 [len(rows)·P]."""
        p = self.particles
        every = [row * p + k for row in rows for k in range(p)]
        return ops.uploaded(every, self.backbone.device, torch.long)


def _compares(sampler: Sampler) -> bool:
    """True if next states are forwarded before one of them is chosen."""
    looks = sampler.search is not None and trait("search", sampler.search, "looks")
    prune = getattr(getattr(sampler.search, "prune", None), "__func__", Search.prune)
    # With `prune`, equal particles share one forward. So the forward comes before the particles move.
    return looks or prune is not Search.prune or trait("select", sampler.select, "alternatives") > 1


def _width(places: Sequence[Place]) -> int:
    """The number of columns of all rows' tensors.

    It has the width of one window more than the longest row, so that a window that starts at the last column has all
    its columns.
    """
    blocks = [block for place in places for block in place.blocks.blocks]
    return max(place.length for place in places) + max(block.stop - block.start for block in blocks)
