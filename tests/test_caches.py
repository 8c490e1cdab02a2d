"""Caches: what they may not change, what they cost, and that rows stay independent, for every family."""

import functools
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from safetensors.torch import load_file

import mdmkit
from mdmkit import Commit, MdmkitError

GOLDEN = Path(__file__).parent / "golden"
FULL, BLOCK = ("none", "prefix", "dual"), ("none", "block")
# family -> the golden checkpoint it is made from, what changes in config.json, the options to load it with.
FAMILIES = {
    "llada": ("llada", {}, {}),
    "dream": ("dream", {}, {}),
    "llada_moe": ("lladamoe", {}, {"mask_id": 125}),
    "a2d": ("sdar", {"architectures": [], "model_type": "a2d-qwen3", "block_size": None}, {}),
    "decoder": ("sdar", {"architectures": [], "model_type": "qwen3", "is_causal": False, "block_size": None}, {}),
    "sdar": ("sdar", {}, {}),
    "sdar-moe": ("lladamoe", {"architectures": [], "model_type": "sdar_moe"}, {"mask_id": 125}),
    "llada2": ("llada2", {}, {"mask_id": 125, "block_length": 8}),
    "llada2.1": ("llada21", {}, {"mask_id": 125, "block_length": 8}),
    "fast_dllm_v2": ("dream", {"architectures": [], "model_type": "Fast_dLLM_Qwen", "bd_size": 8}, {}),
}
BLOCKWISE = ("sdar", "sdar-moe", "llada2", "llada2.1", "fast_dllm_v2")
PAIRS = [(name, cache) for name in FAMILIES for cache in (BLOCK if name in BLOCKWISE else FULL)]
PROMPTS = [
    {"prompt_ids": [11, 25, 83, 27, 94], "length": 7, "seed": 0},
    {"prompt_ids": [7], "length": 5, "seed": 1},
    {"prompt_ids": [125, 40, 125, 125, 9, 31, 77, 125, 2, 3, 4, 5, 125], "seed": 2},  # an infill, its first token open
    {"prompt_ids": [60, 61, 62, 3, 9, 8, 1, 2, 33], "length": 10, "seed": 3},
    {"prompt_ids": [5, 6, 7], "length": 1, "seed": 4},
]
SAMPLERS = {
    "confidence": ("confidence", {}),
    "info_gain": ("info_gain", {"select": {"candidates": 4, "bypass": 0.3}}),
    "drawn": ("info_gain", {"draw": {"temperature": 0.7}, "plan": {"tokens_per_step": 2}}),
}


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    @functools.cache
    def loaded(name):
        source, changes, options = FAMILIES[name]
        folder = tmp_path_factory.mktemp("family") / name
        shutil.copytree(GOLDEN / source, folder)
        config = json.loads((folder / "config.json").read_text())
        if name == "sdar-moe":
            config |= {"moe_intermediate_size": config["expert_intermediate_size"], "intermediate_size": 64}
        config = {k: v for k, v in (config | changes).items() if v is not None}
        (folder / "config.json").write_text(json.dumps(config))
        return mdmkit.load(str(folder), device="cpu", **options)

    return loaded


def compose(sampler, cache, **more):
    preset, nodes = SAMPLERS[sampler]
    block = {} if cache in ("block", "none*") else {"block": 4}
    return mdmkit.compose(
        preset, cache=cache, **{**nodes, **more, "plan": {**block, **nodes.get("plan", {}), **more.get("plan", {})}}
    )


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(("name", "cache"), PAIRS)
def test_alone_together_and_shuffled_decode_to_the_same(load, name, cache, sampler):
    composed, backbone = compose(sampler, cache), load(name)

    def decode(prompts):
        return mdmkit.decode(composed, backbone, prompts).rows

    order = [2, 0, 4, 3, 1]
    shuffled = decode([PROMPTS[i] for i in order])
    for i, row in enumerate(decode(PROMPTS)):
        for other in (decode([PROMPTS[i]])[0], shuffled[order.index(i)]):
            assert (other.tokens, other.nfe, other.row_tokens) == (row.tokens, row.nfe, row.row_tokens)
            assert other.uncertainty == pytest.approx(row.uncertainty, abs=2e-4)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("plan_block", [None, 2])
@pytest.mark.parametrize("name", BLOCKWISE)
def test_the_block_cache_is_exact_and_cheaper(load, name, plan_block, sampler):
    exact, cached = (
        mdmkit.decode(compose(sampler, cache, plan={"block": plan_block}), load(name), PROMPTS) for cache in BLOCK
    )
    assert cached.tokens == exact.tokens
    assert [r.nfe for r in cached.rows] == [r.nfe for r in exact.rows]
    for ours, truth in zip(cached.rows, exact.rows, strict=True):
        assert ours.uncertainty == pytest.approx(truth.uncertainty, abs=2e-4)
    assert sum(r.row_tokens for r in cached.rows) < 0.8 * sum(r.row_tokens for r in exact.rows)


@pytest.mark.parametrize("cache", ["prefix", "dual"])
@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in BLOCKWISE])
def test_refreshed_every_step_an_approximate_cache_is_exact(load, name, cache):
    """With one alternative per step nothing is then ever read from a frozen column."""
    exact = mdmkit.decode(compose("confidence", "none"), load(name), PROMPTS)
    fresh = mdmkit.decode(compose("confidence", {"name": cache, "refresh_every": 1}), load(name), PROMPTS)
    assert fresh.tokens == exact.tokens
    assert [r.nfe for r in fresh.rows] == [r.nfe for r in exact.rows]


@pytest.mark.parametrize("name", ["llada", "dream"])
def test_rarer_refreshes_cost_less(load, name):
    costs = []
    for every in (1, 2, None):
        cache = {"name": "dual", **({"refresh_every": every} if every else {})}
        rows = mdmkit.decode(compose("confidence", cache, plan={"block": 8}), load(name), PROMPTS).rows
        costs.append(sum(row.row_tokens for row in rows))
    assert costs[0] > costs[1] > costs[2]


@pytest.mark.parametrize("block", [2, 3, 4, 6])
def test_everything_is_computed_in_the_first_step_of_a_block_and_in_every_third_after_it(load, block):
    prompt = {"prompt_ids": [11, 25, 83, 27, 94], "length": 12}
    cache = {"name": "dual", "refresh_every": 3}
    (row,) = mdmkit.decode(compose("confidence", cache, plan={"block": block}), load("llada"), [prompt]).rows
    whole = sum(step % 3 == 0 for step in range(block))
    assert row.row_tokens == 12 // block * (whole * 17 + (block - whole) * block)


@pytest.mark.parametrize("every", [2, 3])
@pytest.mark.parametrize("cache", ["prefix", "dual"])
def test_a_row_with_one_next_state_is_refreshed_at_the_same_steps_before_the_commit_as_after_it(load, cache, every):
    """A sampler that might compare looks before the commit; with one alternative in each step it must cost the same."""
    from mdmkit.testing import ByConfidence, LeastEntropyLeft, Spread, TakeQuota

    class Lone(Spread):
        def __call__(self, step, scores):
            actions = super().__call__(step, scores)
            return actions.without((torch.arange(self.candidates) > 0).expand_as(actions.live))

    plan = mdmkit.Plan(block=8)
    after, before = (
        mdmkit.decode(mdmkit.Sampler(*stages, plan=plan, cache=cache, refresh_every=every), load("llada"), PROMPTS)
        for stages in ((ByConfidence(), TakeQuota()), (ByConfidence(), Lone(2), LeastEntropyLeft()))
    )
    assert before.tokens == after.tokens
    assert [row.nfe for row in before.rows] == [row.nfe for row in after.rows]
    assert [row.row_tokens for row in before.rows] == [row.row_tokens for row in after.rows]


@pytest.mark.parametrize("name", ["llada", "dream"])
@pytest.mark.parametrize("cache", ["prefix", "dual"])
def test_what_is_frozen_unchanged_is_read_back_exactly(load, name, cache):
    """A window forwarded beside frozen columns of the very same row gives the row's own logits, wherever it stands."""
    from mdmkit.loop.calls import Call
    from mdmkit.model.cache import CACHES, View

    backbone = load(name)
    tokens = load_file(GOLDEN / "llada" / "logits.safetensors")["input_ids"][:1].repeat(2, 1)
    tokens[1] = tokens[1].flip(0)
    width = tokens.shape[1]
    lengths, blocks = [width, width - 3], [(8, 12), (3, 6)]
    policy, store = CACHES[cache](backbone.lead), {}

    def forward(reaches):
        call = Call.over(reaches, width, tokens.device)
        span = call.span if call.full else None
        view = View(
            store,
            torch.tensor([1, 0]),
            2,
            width,
            call.start,
            call.inside,
            call.seen,
            call.readable,
            call.keep,
            span,
            call.reads,
            call.keeps,
        )
        return backbone.project(
            backbone.forward(call.take(tokens), call.inside, None, positions=call.columns, cache=view).hidden
        )

    with torch.inference_mode():
        of = list(zip(blocks, lengths, strict=True))
        whole = forward([policy.enter(low, high, length, 0) for (low, high), length in of])
        steps = [policy.step(low, high, length) for (low, high), length in of]
        window = forward(steps)
    assert window.shape[1] < width
    for b, (low, high) in enumerate(blocks):
        own = window[b, low - steps[b].start : high - steps[b].start]
        torch.testing.assert_close(own, whole[b, low:high], atol=2e-5, rtol=0)


def test_guidance_keeps_the_frozen_columns_of_both_branches_apart(load):
    """Refreshed at every step a cached decode with guidance is the uncached one; a mixed-up store would show."""
    for name, caches in (("llada", ("prefix", "dual")), ("sdar", ("block",))):
        exact = mdmkit.decode(compose("confidence", "none", guidance={"scale": 2.0}), load(name), PROMPTS)
        for cache in caches:
            node = cache if cache == "block" else {"name": cache, "refresh_every": 1}
            again = mdmkit.decode(compose("confidence", node, guidance={"scale": 2.0}), load(name), PROMPTS)
            assert again.tokens == exact.tokens


def test_auto_is_the_models_own_exact_cache(load):
    for name, cache in (("llada", "none"), ("sdar", "block")):
        auto = mdmkit.decode(mdmkit.compose("confidence"), load(name), PROMPTS)
        named = mdmkit.decode(mdmkit.compose("confidence", cache=cache), load(name), PROMPTS)
        assert [r.json() for r in auto.rows] == [r.json() for r in named.rows]


@dataclass(frozen=True)
class Lengthen(Commit):
    """Write; as long as there is room, add a position to each row that has just filled its last one."""

    rewrites: ClassVar[bool] = True
    grows: ClassVar[bool] = True

    def __call__(self, step, actions, choice):
        canvas = step.written(*actions.take(choice))
        grown = step.recall("lengthen", fill=0)
        wants = ~canvas.open.any(1) & (grown < step.plan.room) & step.active
        step.keep("lengthen", grown + wants)
        next_ = torch.arange(canvas.valid.shape[1]) == canvas.lengths[:, None]
        return canvas.grown(next_ & wants[:, None])


@pytest.mark.parametrize("name", ["llada", "sdar"])
def test_a_row_that_grows_is_the_same_under_a_cache(load, name):
    """Columns that it may grow to are stored with the others, and are not read before they are in the row."""
    from mdmkit.testing import ByConfidence, TakeQuota

    infills = [{"prompt_ids": [125, 40, 125, 9, 31, 77, 125, 2, 3, 4, 5, 125][:n], "seed": n} for n in (9, 12, 5)]
    infills = [{**row, "prompt_ids": [*row["prompt_ids"], 125]} for row in infills]
    stages = {"score": ByConfidence(), "select": TakeQuota(), "commit": Lengthen()}
    plan = mdmkit.Plan(block=4 if name == "sdar" else None, room=2)
    nodes = [("none", None), ("block", None)] if name == "sdar" else [("none", None), ("prefix", 1), ("dual", 1)]
    exact, *cached = (
        mdmkit.decode(mdmkit.Sampler(**stages, plan=plan, cache=cache, refresh_every=every), load(name), infills).rows
        for cache, every in nodes
    )
    assert [len(row.trace["tokens"]) for row in exact] == [12, 15, 8]
    for rows in cached:
        assert [row.trace["tokens"] for row in rows] == [row.trace["tokens"] for row in exact]
        for ours, truth in zip(rows, exact, strict=True):
            assert ours.uncertainty == pytest.approx(truth.uncertainty, abs=2e-4)


@pytest.mark.parametrize(("name", "cache"), [("sdar", "dual"), ("llada", "block")])
def test_a_cache_that_the_family_cannot_have_is_refused(load, name, cache):
    with pytest.raises(MdmkitError, match=f"cache={cache}, but backbone 'TextBackbone' offers for this model: .*none"):
        mdmkit.decode(mdmkit.compose("confidence", cache=cache), load(name), PROMPTS)


@pytest.mark.parametrize(
    ("cache", "message"),
    [
        ("duel", "Did you mean 'dual'"),
        ({"name": "dual", "refresh": 2}, "refresh_every"),
        ({"name": "dual", "refresh_every": 0}, "at least 1"),
        ({"name": "none", "refresh_every": 2}, "prefix, dual"),
        ({"refresh_every": 2}, "the cache is auto"),
        (3, "cache.name must be a name"),
    ],
)
def test_bad_cache_nodes_are_refused(cache, message):
    with pytest.raises(MdmkitError, match=message):
        mdmkit.compose("confidence", cache=cache)


def test_a_cache_node_is_a_name_or_a_mapping():
    sampler = mdmkit.compose("confidence", overrides=["cache=dual", "cache.refresh_every=4"])
    assert (sampler.cache, sampler.refresh_every) == ("dual", 4)
    assert sampler.config["cache"] == {"name": "dual", "refresh_every": 4}
    assert mdmkit.compose(config=sampler.config).config == sampler.config
    assert mdmkit.compose(config=sampler.config, cache="prefix").refresh_every is None


def test_a_lookahead_under_a_cache_hears_only_of_what_was_recomputed(load):
    seen = []

    class Spy(mdmkit.Observer):
        pass

    def lookahead(step, actions, look):
        seen.append((look._windows["sequence"], look.remaining("sequence").any(1), step.where))
        return look(lambda belief: belief.entropy).sum(-1)

    from mdmkit.testing import ByConfidence, Spread

    for cache in ("none", "prefix", "dual"):
        seen.clear()
        sampler = mdmkit.Sampler(ByConfidence(), Spread(3), lookahead, plan=mdmkit.Plan(block=4), cache=cache)
        mdmkit.decode(sampler, load("llada"), [PROMPTS[0]])
        sequence, remaining, block = seen[0]
        behind = remaining[0] & (sequence.columns[0] >= block.columns[0, -1] + 1)
        assert bool(behind.any()) == (cache != "dual")
        assert int(sequence.start) == (0 if cache == "none" else int(block.start))


def test_a_plan_block_that_does_not_divide_the_models_is_refused(load):
    with pytest.raises(
        MdmkitError, match=r"plan.block=3 does not divide the model's attention block of 4: use one of 1"
    ):
        mdmkit.decode(mdmkit.compose("confidence", plan={"block": 3}), load("sdar"), PROMPTS)


@dataclass(frozen=True)
class GrowsBehind(Commit):
    """Write; add two positions behind the row's last block in its second step."""

    rewrites: ClassVar[bool] = True
    grows: ClassVar[bool] = True

    def __call__(self, step, actions, choice):
        canvas = step.written(*actions.take(choice))
        more = canvas.positions - canvas.lengths[:, None]
        return canvas.grown((more >= 0) & (more < 2) & ((step.tick == 1) & step.active)[:, None])


@pytest.mark.parametrize("every", [None, 2])
@pytest.mark.parametrize("cache", ["prefix", "dual"])
@pytest.mark.parametrize("name", ["llada", "dream"])
def test_a_column_that_joins_a_row_after_its_block_was_entered_is_not_read_before_it_is_stored(
    load, name, cache, every
):
    node = cache if every is None else {"name": cache, "refresh_every": every}
    plan = mdmkit.Plan(block=2, room=2)
    sampler = replace(mdmkit.compose("confidence", cache=node), commit=GrowsBehind(), plan=plan)
    asked = [{"prompt_ids": [11, 12, 13], "length": 6}, {"prompt_ids": [21], "length": 6}]
    backbone = load(name)
    alone = [mdmkit.decode(sampler, backbone, [prompt], seed=1).rows[0] for prompt in mdmkit.read_prompts(asked, 1)]
    for batch in (1, 2):
        for row, own in zip(mdmkit.decode(sampler, backbone, asked, seed=1, batch=batch).rows, alone, strict=True):
            assert (row.tokens, row.order, row.nfe) == (own.tokens, own.order, own.nfe)
            assert len(row.tokens) == 8


@pytest.mark.parametrize(("name", "cache"), [("llada", "dual"), ("sdar", "block")])
def test_a_row_with_frozen_columns_can_be_given_up_between_two_steps(load, name, cache):
    engine = mdmkit.Engine(compose("confidence", cache), load(name), 2)
    gone, stays = (engine.admit(mdmkit.Prompt(ids=(5,) * 9, length=20)) for _ in range(2))
    for _ in range(12):
        engine.step()
    assert engine.cancel(gone)
    assert [(ended.id, ended.row is None) for ended in engine.drain()] == [(gone, True), (stays, False)]
