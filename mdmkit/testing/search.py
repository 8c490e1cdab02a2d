"""The contract of a search: `move(step, actions, values, choice, look)` and `best(canvas, trace, kept)`."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import pytest
import torch

from mdmkit.canvas.prompt import Prompt
from mdmkit.canvas.trace import Trace
from mdmkit.errors import MdmkitError
from mdmkit.loop.sampler import Sampler
from mdmkit.loop.whole import fill_canvas
from mdmkit.settings.draw import Draw
from mdmkit.settings.plan import Plan
from mdmkit.stage.checking import check_part
from mdmkit.stage.memory import Memory
from mdmkit.testing.contract import Contract
from mdmkit.testing.laws import call_without_host, unmutated
from mdmkit.testing.reference import ByConfidence, TakeQuota
from mdmkit.testing.steps import make_moment
from mdmkit.testing.toy import ToyBackbone

PROMPTS = ("ab", "c__d_a", "_", "abcdefg")


class SearchContract(Contract):
    """Test a search. Set `component`, or define `make`. If the search needs other stages, define `sampler`."""

    component: ClassVar[Any] = None

    def make(self) -> Any:
        """Build the search under test."""
        assert self.component is not None, f"{type(self).__name__}: set `component`, or define `make`"
        return type(self).component()

    def sampler(self, search: Any, plan: Plan) -> Sampler:
        """Make a whole sampler with the search."""
        return Sampler(ByConfidence(), TakeQuota(), search=search, plan=plan, draw=Draw(temperature=0.8))

    def _decode(self, texts: tuple[str, ...], seeds: tuple[int, ...], plan: Plan) -> list[tuple[Any, ...]]:
        backbone = ToyBackbone(dtype=torch.float64)
        prompts = [Prompt(text=text, seed=seed) for text, seed in zip(texts, seeds, strict=True)]
        canvas, conditioning = backbone.encode(prompts, plan)
        filled, trace = fill_canvas(self.sampler(self.make(), plan), backbone, canvas, conditioning)
        assert not filled.open.any(), "an open place survives"
        assert len(filled.tokens) == len(texts), "one particle of each row is left at the end"
        return [
            (row[keep].tolist(), int(nfe), round(float(h), 6))
            for row, keep, nfe, h in zip(filled.tokens, filled.valid, trace.rows, trace.uncertainty, strict=True)
        ]

    def test_is_a_frozen_dataclass_with_defaults(self) -> None:
        search: Any = self.make()
        assert dataclasses.is_dataclass(type(search)), "write @dataclass(frozen=True) above the class"
        with pytest.raises(dataclasses.FrozenInstanceError):
            search.anything = None  # write @dataclass(frozen=True)
        kind: Any = type(search)
        assert kind() == kind(), "every field has a default, and two searches with equal parameters are equal"
        assert search.particles >= 1

    def test_its_constants_are_traits_of_its_kind(self) -> None:
        try:
            check_part("search", self.make())
        except MdmkitError as error:
            pytest.fail(str(error))

    @pytest.mark.parametrize("plan", [Plan(), Plan(block=3), Plan(block=4, tokens_per_step=2)])
    def test_rows_are_independent(self, plan: Plan) -> None:
        seeds = (0, 1, 2, 3)
        together = self._decode(PROMPTS, seeds, plan)
        alone = [self._decode((text,), (seed,), plan)[0] for text, seed in zip(PROMPTS, seeds, strict=True)]
        assert together == alone, "a row depends on its neighbours"
        assert self._decode(PROMPTS[::-1], seeds[::-1], plan)[::-1] == together, "the order of the rows matters"

    def test_same_seed_same_tokens(self) -> None:
        assert self._decode(PROMPTS, (5, 6, 7, 8), Plan()) == self._decode(PROMPTS, (5, 6, 7, 8), Plan())

    def test_never_waits_for_the_device(self) -> None:
        search = self.make()
        moment = make_moment(rows=3 * search.particles, temperature=0.8)
        step, actions, look = moment.step(), moment.actions(), moment.look()
        call_without_host(search.move, step, actions, None, actions.live.long().argmax(1), look)
        if hasattr(search, "prune"):
            call_without_host(search.prune, step, actions)

    def test_inputs_are_not_written_to(self) -> None:
        search = self.make()
        memory = Memory(rows=2 * search.particles)
        for seed in (0, 1):
            moment = make_moment(seed, rows=2 * search.particles, temperature=0.8).remembering(memory)
            step, actions, look = moment.step(), moment.actions(), moment.look()
            choice, valued = actions.live.long().argmax(1), self.sampler(search, Plan()).lookahead is not None
            values = torch.zeros(actions.live.shape, device=choice.device) if valued else None
            with torch.no_grad(), unmutated(step, actions, values, choice, look):
                if hasattr(search, "prune"):
                    search.prune(step, actions)
                search.move(step, actions, values, choice, look)

    def test_names_a_particle_of_each_row_from_what_is_there(self) -> None:
        """Test several rows at once, and an empty memory."""
        search = self.make()
        p = search.particles
        canvas = make_moment(rows=3 * p).canvas
        trace = Trace.blank(3 * p, canvas.tokens.shape[1], canvas.tokens.device)
        trace.uncertainty = torch.arange(3.0 * p, dtype=torch.float64, device=canvas.tokens.device).flip(0)
        best = search.best(canvas, trace, {})
        assert list(best.shape) == [3], "one particle for each row"
        assert best.dtype == torch.int64, "the result is int64"
        assert ((best >= 0) & (best < p)).all(), f"particles are counted from 0 to {p - 1} in each row"
        alone = [
            search.best(canvas.at(some), trace.at(some), {})[0]
            for some in torch.arange(3 * p, device=best.device).split(p)
        ]
        assert best.tolist() == [int(one) for one in alone], "the answer of a row depends on its neighbours"

    def test_particles_stay_with_their_row(self) -> None:
        search = self.make()
        seen = []

        class Watched:
            """The search, with its moves recorded."""

            def __getattr__(self, name: str) -> Any:
                return getattr(search, name)

            def best(self, canvas: Any, trace: Any, kept: Any) -> Any:
                assert len(canvas.tokens) == search.particles, "a row's own particles, once it is done"
                assert all(len(value) == search.particles for value in kept.values())
                return search.best(canvas, trace, kept)

            def move(self, step: Any, actions: Any, *rest: Any) -> Any:
                parents, choice = search.move(step, actions, *rest)
                seen.append((parents, choice, actions.live))
                return parents, choice

        backbone = ToyBackbone(dtype=torch.float64)
        canvas, conditioning = backbone.encode([Prompt(text=text) for text in PROMPTS], Plan())
        fill_canvas(self.sampler(Watched(), Plan()), backbone, canvas, conditioning)
        assert seen
        for parents, choice, live in seen:
            rows = torch.arange(len(parents), device=parents.device) // search.particles
            assert torch.equal(parents // search.particles, rows), "a particle moved to another row's state"
            busy = live[parents].any(1)
            assert live[parents, choice][busy].all(), "a particle moved to a state that was not proposed"
