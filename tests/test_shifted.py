"""Logits that are made only if a part reads them: beside those that are made at once."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

import mdmkit
from mdmkit import Belief, Constraint, MdmkitError, Shifted, ops
from mdmkit.stage import shifted as module
from mdmkit.testing import ToyBackbone
from mdmkit.testing.reference import ByConfidence, TakeQuota

VOCAB, CLASSES = 12, 4


def _some(*lead: int, dtype: torch.dtype = torch.float32) -> tuple[Shifted, torch.Tensor]:
    """Shifted logits [*lead, V], and the same made at once."""
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(*lead, VOCAB, generator=draw, dtype=torch.float64).to(dtype)
    class_of = torch.randint(0, CLASSES, (VOCAB,), generator=draw)
    values = torch.randn(*lead, CLASSES, generator=draw, dtype=torch.float64)
    values[..., 1] = -torch.inf
    return Shifted(logits, class_of, values), logits + values.to(dtype)[..., class_of]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("at_a_time", [1, 1 << 20])
def test_what_is_made_and_what_is_known_without(
    dtype: torch.dtype, at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CPU_BYTES", at_a_time)
    some, made = _some(3, 5, dtype=dtype)
    wanted = ops.stats(made)
    for each in (some, some.anew(), some[None][0], some[0][None], some.anew().unflatten(1, torch.Size((5, 1)))):
        kept = {name: x.reshape(-1) for name, x in vars(each.stats).items()}
        for name, x in vars(wanted).items():
            part = x if len(kept["top"]) == 15 else x[0]
            torch.testing.assert_close(kept[name], part.flatten(), rtol=0, atol=0)
    assert "made" not in vars(some), "the statistics need no logits"
    slot, tokens = torch.tensor([[14, 0], [3, 3]]), torch.tensor([[1, 2], [0, 11]])
    assert torch.equal(some.at(slot, tokens), made.flatten(0, 1)[slot, tokens])
    assert torch.equal(some.made, made)
    assert torch.equal(some[torch.tensor([2, 0])].made, made[[2, 0]])


def test_known_statistics_are_taken_along() -> None:
    some, made = _some(3, 5)
    known = Shifted(
        some.logits, some.class_of, some.values, ops.Stats(*(x + 1 for x in vars(ops.stats(made)).values()))
    )
    assert torch.equal(known.stats.top, some.stats.top + 1)
    assert torch.equal(known[1].stats.argmax, some.stats.argmax[1] + 1)
    assert torch.equal(known.unflatten(0, torch.Size((3, 1))).stats.lse[:, 0], some.stats.lse + 1)
    assert torch.equal(known.anew().stats.entropy, some.stats.entropy + 1)


@pytest.mark.parametrize("packed", [False, True])
def test_a_belief_of_them_is_that_of_the_logits(packed: bool) -> None:
    some, made = _some(*((8,) if packed else (2, 4)))
    slot = torch.tensor([[3, -1, 0, 7], [-1, -1, 5, 2]]) if packed else None
    places = slot.flatten().argsort(stable=True)[3:] if slot is not None else None
    own, plain = Belief(some, slot, places), Belief(made, slot, places)
    tokens = torch.randint(0, VOCAB, (2, 4), generator=torch.Generator().manual_seed(1))
    assert own.vocab == VOCAB
    read = slot >= 0 if slot is not None else torch.ones(2, 4, dtype=torch.bool)
    for what in ("argmax", "entropy", "confidence"):
        assert torch.equal(getattr(own, what), getattr(plain, what))
    assert torch.equal(own.logit_read(tokens)[read], plain.logit_read(tokens)[read])
    assert torch.equal(own.logp_of(tokens[..., None]), plain.logp_of(tokens[..., None]))
    assert torch.equal(own.at(torch.tensor([1])).entropy, plain.at(torch.tensor([1])).entropy)
    assert "made" not in vars(some)
    assert torch.equal(own.logits, plain.logits)
    assert torch.equal(own.top2, plain.top2)
    assert torch.equal(own.rank_read(tokens)[read], plain.rank_read(tokens)[read])


@dataclass(frozen=True, eq=False)
class Even(Constraint):
    """Forbids tokens with odd ids, and says so as `how` wants it."""

    how: Any

    def shape(self, logits: torch.Tensor, states: Any, columns: torch.Tensor) -> Any:
        values = torch.tensor([0.0, -torch.inf]).expand(*logits.shape[:-1], 2)
        return self.how(Shifted(logits, torch.arange(logits.shape[-1]) % 2, values))


def _decoded(how: Any, sampler: Any = None) -> list[tuple[str, Any]]:
    made = mdmkit.compose(constraint=Even(how), **(sampler or {"score": ByConfidence(), "select": TakeQuota()}))
    rows = mdmkit.decode(made, ToyBackbone(), ["ab", "c"]).rows
    return [(row.text, row.order) for row in rows]


def test_a_constraint_may_return_them() -> None:
    assert _decoded(lambda x: x) == _decoded(lambda x: x.made)


def test_a_constraint_of_whole_answers_may_return_them() -> None:
    @dataclass(frozen=True, eq=False)
    class Whole(Even):
        whole = True

    for sampler in ("confidence", "margin", "info_gain"):
        rows = [
            mdmkit.decode(mdmkit.compose(sampler, constraint=Whole(how)), ToyBackbone(), ["ab", "c"]).rows
            for how in (lambda x: x, lambda x: x.made)
        ]
        assert [row.text for row in rows[0]] == [row.text for row in rows[1]]


def test_what_the_model_forbids_stays_forbidden() -> None:
    """Also where the constraint gives other logits than those it got."""
    free = ToyBackbone()
    free.forbidden = (2, 4, 6)
    made = mdmkit.compose(
        score=ByConfidence(),
        select=TakeQuota(),
        constraint=Even(lambda x: replace(x, logits=torch.zeros_like(x.logits))),
    )
    tokens = {token for row in mdmkit.decode(made, free, ["ab"]).rows for token in row.tokens[2:]}
    assert tokens and not tokens & {2, 4, 6, free.mask_id}


@pytest.mark.parametrize(
    "how",
    [
        lambda x: replace(x, values=x.values[:, :1]),
        lambda x: replace(x, logits=x.logits[..., :3]),
        lambda x: replace(x, known=ops.Stats(*(y[:1] for y in vars(x.stats).values()))),
    ],
)
def test_other_sizes_are_refused(how: Any) -> None:
    with pytest.raises(MdmkitError, match=r"constraint Even.* returned Shifted with logits \["):
        _decoded(how)


def test_a_part_that_writes_into_them_is_named() -> None:
    class Writes(ByConfidence):
        def __call__(self, step: Any) -> Any:
            step.belief.logits[..., 0] = 0.0
            return super().__call__(step)

    with pytest.raises(MdmkitError, match=r"score Writes .*has written into step\.belief\.logits"):
        _decoded(lambda x: x, {"score": Writes(), "select": TakeQuota()})
