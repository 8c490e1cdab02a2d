"""Rows of different lengths with windows of their own: each is computed as if it were alone, by hand-made views."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from mdmkit.model.cache import CACHES, Reach, View
from mdmkit_text.backbone import TextBackbone

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

GOLDEN = Path(__file__).parents[3] / "tests" / "golden"
FULL, BLOCK = ("llada", "dream", "lladamoe"), ("sdar", "llada2", "llada21")
LENGTHS = (21, 9, 16, 12)
# What blocks of 4 each row is in, at two steps; the second of them is a new one for two rows.
BLOCKS = (((8, 12), (4, 8), (12, 16), (4, 8)), ((12, 16), (4, 8), (12, 16), (8, 12)))


@functools.cache
def golden(name: str, block: int = 4) -> Any:
    return TextBackbone.load(str(GOLDEN / name), mask_id=125, **({"block_length": block} if name in BLOCK else {}))


def rows(vocab: int, lengths: Sequence[int] = LENGTHS, seed: int = 0) -> list[Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return [torch.randint(5, min(vocab, 120), (length,), generator=draw) for length in lengths]


@dataclass
class Cached:
    """A backbone's forwards over one store, each state's columns as a reach says.

    `told`: the views say which rows stand side by side in the store, and where no mask is needed.
    """

    backbone: Any
    size: int = 4
    told: bool = True
    store: dict[Any, Any] = field(default_factory=dict)

    @torch.inference_mode()
    def __call__(
        self, states: Sequence[Tensor], reaches: Sequence[Reach], slots: Sequence[int] | None = None
    ) -> list[Tensor]:
        """The logits of what each state computes."""
        width = max(reach.length for reach in reaches)
        columns = max(reach.stop - reach.start for reach in reaches)
        tokens = torch.zeros(len(states), columns, dtype=torch.long)
        live, start = torch.zeros_like(tokens, dtype=torch.bool), torch.tensor([reach.start for reach in reaches])
        seen = torch.zeros(len(states), max(reach.last for reach in reaches), dtype=torch.bool)
        readable = seen.clone()
        for i, (state, reach) in enumerate(zip(states, reaches, strict=True)):
            size = reach.stop - reach.start
            tokens[i, :size], live[i, :size] = state[reach.start : reach.stop], True
            seen[i, : reach.left] = True
            if reach.right is not None:
                seen[i, reach.right : reach.length] = True
            readable[i] = seen[i]
            readable[i, reach.start : reach.stop] = True
        keep = [reach.keep for reach in reaches]
        numbers = [*range(len(states))] if slots is None else [*slots]
        beside = numbers == [*range(numbers[0], numbers[0] + len(numbers))]
        plain = bool(live.all()) and bool(readable.all())
        alike = len({(reach.start, reach.stop) for reach in reaches}) == 1
        view = View(
            store=self.store,
            slots=torch.tensor(numbers),
            size=self.size,
            width=width,
            start=start,
            live=live,
            seen=seen,
            readable=readable,
            keep=torch.tensor(keep),
            span=slice(reaches[0].start, reaches[0].stop) if alike else None,
            reads=bool(seen.any()),
            keeps=keep[0] if len(set(keep)) == 1 else None,
            first=numbers[0] if beside and self.told else None,
            starts=tuple(reach.start for reach in reaches) if plain and self.told else None,
        )
        positions = start[:, None] + torch.arange(columns)
        out = self.backbone.forward(tokens, live, None, positions=positions, cache=view)
        return [logits[own] for logits, own in zip(self.backbone.project(out.hidden), live, strict=True)]


@torch.inference_mode()
def alone(backbone: Any, state: Tensor) -> Tensor:
    valid, positions = torch.ones_like(state, dtype=torch.bool)[None], torch.arange(len(state))[None]
    return backbone.project(backbone.forward(state[None], valid, None, positions=positions).hidden)[0]


def close(got: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    for row, (one, other) in enumerate(zip(got, expected, strict=True)):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-5, msg=lambda m, row=row: f"row {row}: {m}")


@pytest.mark.parametrize("name", [*FULL, *BLOCK])
def test_right_padding_leaves_a_checkpoints_logits_as_they_are(name: str) -> None:
    backbone = golden(name)
    states = rows(backbone.vocab)
    tokens = torch.nn.utils.rnn.pad_sequence(states, batch_first=True, padding_value=backbone.pad_id)
    positions = torch.arange(tokens.shape[1]).expand_as(tokens)
    valid = positions < torch.tensor(LENGTHS)[:, None]
    junk = torch.where(valid, tokens, 77)
    for given in (tokens, junk):
        with torch.inference_mode():
            together = backbone.project(backbone.forward(given, valid, None, positions=positions).hidden)
        assert together.isfinite().all()
        close([row[own] for row, own in zip(together, valid, strict=True)], [alone(backbone, s) for s in states])


def policy(name: str, backbone: Any) -> Any:
    return CACHES[name](lead=backbone.lead)


def reaches(cache: Any, blocks: Sequence[tuple[int, int]], final: Sequence[int] | None) -> list[Reach]:
    """Of a first forward in the block, where it is said what is stored for good; else of a step."""
    cells = zip(blocks, LENGTHS, final or (0,) * len(blocks), strict=True)
    return [cache.step(*span, size) if final is None else cache.enter(*span, size, last) for span, size, last in cells]


def changed(states: Sequence[Tensor], parts: Sequence[Reach]) -> list[Tensor]:
    """Other tokens in the computed columns."""
    out = [state.clone() for state in states]
    for state, part in zip(out, parts, strict=True):
        state[part.start : part.stop] = (state[part.start : part.stop] * 7 + 3) % 120
    return out


@pytest.mark.parametrize(
    ("name", "cache"),
    [*((name, cache) for name in FULL for cache in ("prefix", "dual")), *((n, "block") for n in BLOCK)],
)
@pytest.mark.parametrize("told", [True, False])
def test_windows_of_ones_own_are_computed_as_if_alone(name: str, cache: str, told: bool) -> None:
    backbone = golden(name)
    kind, states = policy(cache, backbone), rows(backbone.vocab)
    together, solo = Cached(backbone, told=told), [Cached(backbone, size=1) for _ in states]
    truth = [alone(backbone, state) for state in states]

    def check(now: list[Tensor], parts: list[Reach], is_truth: bool) -> None:
        # The column that a window of shifted logits begins with is there for its right neighbour alone.
        cuts = [backbone.lead if part.start else 0 for part in parts]

        def cut(logits: list[Tensor]) -> list[Tensor]:
            return [each[first:] for each, first in zip(logits, cuts, strict=True)]

        got = cut(together(now, parts))
        close(got, cut([run([state], [part])[0] for run, state, part in zip(solo, now, parts, strict=True)]))
        if is_truth:  # nothing has changed, so that what is frozen is what would be computed
            close(got, cut([whole[part.start : part.stop] for whole, part in zip(truth, parts, strict=True)]))

    first = reaches(kind, BLOCKS[0], (0,) * 4)
    check(states, first, True)
    step = reaches(kind, BLOCKS[0], None)
    check(states, step, True)
    states = changed(states, step)
    check(states, step, False)
    truth = [alone(backbone, state) for state in states]
    # Two rows enter another block while the others stay: one call, in which some rows are stored.
    entering = reaches(kind, BLOCKS[1], [kind.final(low) if cache == "block" else 0 for low, _ in BLOCKS[0]])
    staying = reaches(kind, BLOCKS[1], None)
    mixed = [new if a != b else old for a, b, new, old in zip(*BLOCKS, entering, staying, strict=True)]
    assert {part.keep for part in mixed} == {True, False}
    check(states, mixed, False)
    check(changed(states, staying), staying, False)


@pytest.mark.parametrize(("name", "cache"), [("llada", "dual"), ("sdar", "block")])
def test_rows_side_by_side_are_not_copied_and_need_no_mask(name: str, cache: str, monkeypatch: Any) -> None:
    backbone = golden(name)
    kind, states = policy(cache, backbone), rows(backbone.vocab, (16, 16))
    cached, seen = Cached(backbone), []

    def attend(query: Tensor, key: Tensor, value: Tensor, attn_mask: Any = None, **more: Any) -> Tensor:
        seen.append((key.data_ptr(), attn_mask, more.get("is_causal")))
        return attention(query, key, value, attn_mask=attn_mask, **more)

    attention = torch.nn.functional.scaled_dot_product_attention
    cached(states, [kind.enter(8, 12, 16, 0)] * 2)
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", attend)
    cached(states, [kind.step(8, 12, 16)] * 2)
    stored = {keys.data_ptr() for keys, _ in cached.store.values()}
    assert len(seen) == len(stored)
    assert all(pointer in stored and mask is None and not causal for pointer, mask, causal in seen)


@pytest.mark.parametrize(("name", "cache"), [("llada", "dual"), ("lladamoe", "prefix"), ("sdar", "block")])
def test_states_of_one_row_share_what_is_stored(name: str, cache: str) -> None:
    """A lookahead's states read their row's columns, and what they compute is stored nowhere."""
    backbone = golden(name)
    kind, states = policy(cache, backbone), rows(backbone.vocab)
    first, step = reaches(kind, BLOCKS[0], (0,) * 4), reaches(kind, BLOCKS[0], None)
    other = changed(states, [Reach(0, part.last, 0, None, part.length) for part in first])
    together, solo = Cached(backbone), Cached(backbone)
    for cached in (together, solo):
        cached(states, first)
    # Of one row a state that is to be remembered and two that are not, in either order; of another only the latter.
    now = [(0, True), (0, False), (1, False), (1, False), (2, False), (2, True)]
    ahead = [other[i] if keep else changed([states[i]], [step[i]])[0] for i, keep in now]
    parts = [first[i] if keep else step[i] for i, keep in now]
    slots = [i for i, _ in now]
    got = together(ahead, parts, slots)
    for i in sorted(range(len(now)), key=lambda i: not now[i][1]):  # what is stored is there for the others at once
        close([got[i]], solo([ahead[i]], [parts[i]], [slots[i]]))
    remembered = [other[0], states[1], other[2], states[3]]
    close(together(remembered, step), solo(remembered, step))
    close(
        together(remembered, step),
        [alone(backbone, s)[p.start : p.stop] for s, p in zip(remembered, step, strict=True)],
    )


@pytest.mark.parametrize(("name", "cache"), [("llada", "dual"), ("sdar", "block")])
def test_a_longer_row_that_joins_widens_the_store(name: str, cache: str) -> None:
    backbone = golden(name)
    kind = policy(cache, backbone)
    short, long = rows(backbone.vocab, (12, 24))
    together, solo = Cached(backbone), Cached(backbone)
    together([short], [kind.enter(4, 8, 12, 0)])
    solo([short], [kind.enter(4, 8, 12, 0)])
    parts = [kind.step(4, 8, 12), kind.enter(8, 12, 24, 0)]
    got = together([short, long], parts, [0, 2])
    close(got, [solo([short], parts[:1])[0], alone(backbone, long)[: parts[1].stop]])
    got = together([short, long], [kind.step(4, 8, 12), kind.step(8, 12, 24)], [0, 2])
    close(got, [solo([short], parts[:1])[0], alone(backbone, long)[8:12]])


def test_columns_that_only_fill_up_may_lie_beyond_the_table_of_positions(loaded: Callable[[str], Any]) -> None:
    """OPT looks its positions up: a window at the end of a full row beside a wider one would reach behind the last."""
    backbone = loaded("opt")
    length = backbone.network.max_length
    states = [torch.randint(5, 25, (length,), generator=torch.Generator().manual_seed(i)) for i in range(2)]
    cached = Cached(backbone)
    cached(states, [Reach(0, length, 0, None, length, True)] * 2)
    parts = [Reach(4, 20, 4, 20, length), Reach(length - 4, length, length - 4, length, length)]
    got = cached(states, parts)
    close(got, [alone(backbone, s)[part.start : part.stop] for s, part in zip(states, parts, strict=True)])
