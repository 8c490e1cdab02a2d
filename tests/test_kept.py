"""Finished blocks that are kept: the next turn of a conversation has the same tokens, and computes fewer columns."""

from __future__ import annotations

import random
import re
from typing import ClassVar

import families
import pytest
import torch

import mdmkit
from mdmkit import Engine, KeptBlocks, MdmkitError, Store, Write
from mdmkit.decoding.prompts import read_prompts

BLOCK = 8
ROOM = 1 << 24


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("models"))
    return lambda name: families.load(name, folder)


def conversations(engine, turns=3, count=3):
    """The rows of several conversations, all of which begin with the same 20 tokens."""
    draw = random.Random(0)
    spoken, out = [[7] * 20 + [draw.randrange(5, 110) for _ in range(size)] for size in (1, 9, 15)[:count]], []
    for turn in range(turns):
        asked = [{"prompt_ids": ids, "length": draw.randrange(9, 30)} for ids in spoken]
        ids = [engine.admit(prompt) for prompt in read_prompts(asked, turn)]
        ended = {each.id: each.row for each in engine.drain()}
        out += (rows := [ended[id_] for id_ in ids])
        spoken = [[*row.prompt_ids, *row.tokens, 9, turn + 5] for row in rows]
    return out


@pytest.mark.parametrize(
    ("name", "preset", "nodes", "slots"),
    [
        ("sdar", "confidence", {}, 1),
        ("sdar", "info_gain", {"draw": {"temperature": 0.7}, "plan": {"tokens_per_step": 3}}, 2),
        ("fast_dllm_v2", "info_gain", {"plan": {"tokens_per_step": 3, "block": 4}}, 2),
        ("llada2", "confidence", {"plan": {"tokens_per_step": 3}}, 3),
    ],
)
def test_rows_are_the_same_and_compute_fewer_columns_by_the_number_counted(model, name, preset, nodes, slots):
    sampler, kept = mdmkit.compose(preset, cache="block", **nodes), KeptBlocks(ROOM)
    plain = conversations(Engine(sampler, model(name), slots))
    again = conversations(Engine(sampler, model(name), slots, kept=kept))
    for before, after in zip(plain, again, strict=True):
        assert (after.tokens, after.order, after.nfe, after.text) == (
            before.tokens,
            before.order,
            before.nfe,
            before.text,
        )
        assert after.uncertainty == pytest.approx(before.uncertainty, abs=2e-4)
    saved = [before.row_tokens - after.row_tokens for before, after in zip(plain, again, strict=True)]
    assert sum(saved) == kept.columns and sum(each > 0 for each in saved) == kept.rows
    # From the second turn on every row finds the whole blocks of the turn before, but not its last block.
    lead = model(name).lead
    for row, fewer in list(zip(plain, saved, strict=True))[3:]:
        known = len(row.prompt_ids) - 2
        assert known - 2 * BLOCK - lead < fewer <= known


def test_other_samplers_and_engines_find_them_too_and_what_ends_early_counts(model):
    kept, backbone = KeptBlocks(ROOM), model("sdar")
    engines = [Engine(mdmkit.compose(preset, cache="block"), backbone, 1, kept=kept) for preset in ("random", "margin")]
    for engine in engines:  # an engine has no place for them before its first forward
        engine.admit(read_prompts([{"prompt_ids": [3], "length": 4}], 0)[0])
        engine.drain()
    first, second = engines
    (prompt,) = read_prompts([{"prompt_ids": list(range(5, 30)), "length": 20}], 0)
    gone = first.admit(prompt)
    for _ in range(3):
        first.step()
    assert first.cancel(gone) and kept.held and kept.rows == 0
    (asked,) = read_prompts([{"prompt_ids": [*range(5, 30), 40, 41], "length": 5}], 0)
    second.admit(asked)
    second.drain()
    assert (kept.rows, kept.columns) == (1, 24)


class Growing(Write):
    """It could add positions, and adds none."""

    rewrites: ClassVar[bool] = True
    grows: ClassVar[bool] = True


@pytest.mark.parametrize(
    ("preset", "nodes"),
    [
        ("confidence", {"cache": "none"}),
        ("confidence", {"cache": "block", "plan": {"room": 4}, "commit": Growing()}),
        ("confidence", {"cache": "block", "guidance": {"scale": 1.5}}),
        ("beam", {"cache": "block"}),
    ],
)
def test_nothing_is_kept_of_rows_whose_columns_are_not_those_of_every_other_row(model, preset, nodes):
    kept = KeptBlocks(ROOM)
    engine = Engine(mdmkit.compose(preset, **nodes), model("sdar"), 2, kept=kept)
    engine.admit(read_prompts([{"prompt_ids": list(range(5, 30)), "length": 9}], 0)[0])
    assert engine.drain()[0].row is not None and kept.held == 0


class Counted:
    """What `KeptBlocks.keep` takes: one byte for each column, that says which one it is. It notes what was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, start, stop):
        self.asked.append((start, stop))
        return torch.arange(start, stop, dtype=torch.uint8)[:, None]


def test_what_was_not_used_for_longest_is_given_up_first_from_its_end():
    kept, take = KeptBlocks(12), Counted()
    kept.keep([1, 1, 2, 2, 3, 3, 9], 2, take)
    kept.keep([1, 1, 2, 2, 4, 4], 2, take)
    kept.keep([5, 5, 6, 6], 2, take)  # 12 bytes: all have their place
    assert take.asked == [(0, 6), (4, 6), (0, 4)] and kept.held == 12
    assert kept.find([1, 1, 2, 2, 3, 3, 8], 2).flatten().tolist() == [0, 1, 2, 3, 4, 5]
    kept.keep([7, 7, 8, 8], 2, take)
    assert kept.held == 12
    assert len(kept.find([1, 1, 2, 2, 4, 4], 2)) == 4  # the block 4 4 was the oldest
    assert len(kept.find([5, 5, 6, 6], 2)) == 2  # then the end of this one
    assert kept.find([1, 2, 2, 2], 2) is None and kept.find([1], 2) is None
    kept.keep(list(range(10, 40)), 2, take)
    assert kept.held == 12 and len(kept.find(list(range(10, 40)), 2)) == 12  # what does not fit keeps its beginning


def test_after_memory_was_too_small_nothing_is_held_and_half_as_much_is_kept(model):
    kept = KeptBlocks(ROOM)
    engine = Engine(mdmkit.compose("confidence", cache="block"), model("sdar"), 2, kept=kept)
    conversations(engine, turns=1)
    held = kept.held
    assert held and engine.halve() and (kept.held, kept.most) == (0, held // 2)
    assert not kept.shrink() and kept.most == held // 2


def test_a_row_that_was_at_work_when_a_forward_failed_leaves_nothing(model, monkeypatch):
    kept, backbone = KeptBlocks(ROOM), model("sdar")
    engine = Engine(mdmkit.compose("confidence", cache="block"), backbone, 2, kept=kept)
    id_ = engine.admit(read_prompts([{"prompt_ids": list(range(5, 30)), "length": 20}], 0)[0])

    def fail(*given, **more):
        raise torch.OutOfMemoryError

    with monkeypatch.context() as patched:
        patched.setattr(backbone, "forward", fail)
        with pytest.raises(torch.OutOfMemoryError):
            engine.step()
    assert engine.cancel(id_) and kept.held == 0


def test_keys_of_one_model_are_for_no_other(model):
    kept, sampler = KeptBlocks(ROOM), mdmkit.compose("confidence", cache="block")
    Engine(sampler, model("sdar"), 1, kept=kept)
    with pytest.raises(MdmkitError, match="give every model its own"):
        Engine(sampler, model("llada2"), 1, kept=kept)
    with pytest.raises(MdmkitError, match=re.escape("KeptBlocks(0): it is the most bytes")):
        KeptBlocks(0)


def test_columns_of_a_store_are_taken_and_put_as_bytes():
    store = Store(columns=2)
    assert store.take(0, 0, 1) is None and not store.put(0, torch.zeros(1, 1, dtype=torch.uint8))
    store["a"] = torch.randn(2, 3, 5, 4, dtype=torch.bfloat16), torch.randn(2, 1, 5, 2, dtype=torch.float64)
    first, second = (each.clone() for each in store["a"])
    columns = store.take(0, 1, 4)
    assert columns.shape == (3, 3 * 4 * 2 + 2 * 8)
    assert store.put(1, columns)
    assert torch.equal(store["a"][0][1, :, :3], first[0, :, 1:4]) and torch.equal(
        store["a"][0][1, :, 3:], first[1, :, 3:]
    )
    assert torch.equal(store["a"][1][1, :, :3], second[0, :, 1:4]) and torch.equal(store["a"][1][0], second[0])
    assert store.put(0, columns.repeat(3, 1)) and store["a"][0].shape == (2, 3, 9, 4)  # it is widened
    assert Store().take(0, 0, 1) is None
