"""The head runs once for a hidden state, also if a look and then the next belief read it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

import mdmkit
from mdmkit.loop import beliefs
from mdmkit.loop.recent import Recent
from mdmkit.stage.belief import Belief
from mdmkit.testing import ToyBackbone
from mdmkit.testing.reference import ByConfidence, LeastEntropyLeft, Spread

if TYPE_CHECKING:
    from torch import Tensor

GOLDEN = Path(__file__).parent / "golden"


class Never(Recent):
    """Remembers nothing."""

    def keep(self, hidden: Tensor, logits: Tensor) -> None:
        pass


def test_what_was_kept_is_found_once() -> None:
    hidden, logits = torch.randn(6, 8), torch.randn(6, 3)
    recent = Recent()
    recent.keep(hidden, logits)
    asked = torch.stack((hidden[4], torch.randn(8), hidden[1], hidden[1]))
    taken = recent.take(asked)
    assert taken is not None
    found, known = taken
    assert found.tolist() == [0, 2, 3]
    assert torch.equal(known, logits[[4, 1, 1]])
    known.zero_()  # whoever asks may change them
    assert logits.abs().min() > 0
    assert recent.take(hidden) is None


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_hidden_states_that_differ_in_one_bit_are_not_found(dtype: torch.dtype) -> None:
    hidden, recent = torch.randn(5, 8).to(dtype), Recent()
    recent.keep(hidden, torch.randn(5, 3))
    other = hidden.clone()
    other[:, 3] *= 1 + 2 * torch.finfo(dtype).eps
    assert recent.take(other) is None
    recent.keep(hidden, torch.randn(5, 3))
    assert recent.take(hidden.float() if dtype != torch.float32 else hidden.double()) is None


def measured(monkeypatch: pytest.MonkeyPatch, recent: type[Recent], cache: str, lengths: tuple[int, ...]) -> Any:
    """Decode with a lookahead; the rows, and how many calls of the head and places in them there were."""
    monkeypatch.setattr(beliefs, "Recent", recent)
    backbone = mdmkit.load(str(GOLDEN / "llada"), device="cpu", mask_id=125)
    project, places = backbone.project, []

    def counted(hidden: Tensor) -> Tensor:
        places.append(hidden.shape[0] * hidden.shape[1])
        return project(hidden)

    backbone.project = counted
    sampler = mdmkit.compose("info_gain", cache=cache, plan={"block": 8, "early_stop": False}, select={"bypass": None})
    prompts = [{"prompt_ids": [7, 9 + i, 11], "length": length} for i, length in enumerate(lengths)]
    return mdmkit.decode(sampler, backbone, prompts, seed=2), len(places), sum(places)


@pytest.mark.parametrize("cache", ["none", "dual"])
def test_one_call_of_the_head_a_step(cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    twice, calls, places = measured(monkeypatch, Never, cache, (16,))
    once, fewer, least = measured(monkeypatch, Recent, cache, (16,))
    assert once.tokens == twice.tokens and once.nfe == twice.nfe
    # The last two steps of a block compare nothing: one position is left, or none.
    assert (fewer, calls) == (16, 16 + 14)
    assert least == places - sum(range(1, 8)) * 2


def test_rows_that_compare_nothing_are_projected_beside_those_that_did(monkeypatch: pytest.MonkeyPatch) -> None:
    twice, _, places = measured(monkeypatch, Never, "dual", (16, 9, 3))
    once, _, least = measured(monkeypatch, Recent, "dual", (16, 9, 3))
    assert once.tokens == twice.tokens
    expected = [row.uncertainty for row in twice.rows]
    assert [row.uncertainty for row in once.rows] == pytest.approx(expected, abs=2e-4)
    assert least < places


@dataclass(frozen=True)
class Writing(LeastEntropyLeft):
    """Changes the logits that it reads, in its own copy or in the look's."""

    own: bool

    def __call__(self, step, actions, look):
        def tilted(belief):
            logits = belief.logits.clone() if self.own else belief.logits
            logits[..., 1] += 4.0
            return Belief(logits).entropy

        return -look(tilted).sum(-1)


def test_what_a_lookahead_writes_into_logits_reaches_no_belief() -> None:
    prompts = [{"prompt": "ab", "length": 9}, {"prompt": "c", "length": 6}]
    found = [
        mdmkit.decode(mdmkit.Sampler(ByConfidence(), Spread(), each), ToyBackbone(), prompts).tokens
        for each in (Writing(own=True), Writing(own=False))
    ]
    assert found[0] == found[1]
