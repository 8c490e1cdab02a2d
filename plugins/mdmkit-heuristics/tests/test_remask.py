"""The commits that take tokens back or change them: each equals its rule written out, and each ends."""

import math

import pytest
import torch

import mdmkit
from mdmkit import Actions, Draw, MdmkitError, Plan, Sampler, noise
from mdmkit.testing import ToyBackbone, make_step
from mdmkit_heuristics.edit import Edit
from mdmkit_heuristics.remask import P2Fill, P2Remask, ReMDM, SaberBacktrack, SaberFill
from mdmkit_heuristics.scores import Confidence, Random
from mdmkit_heuristics.selects import Threshold, TopK

PROMPTS = ["ab", "c__d_a", "_", "abcdefg", ""]


@pytest.mark.parametrize("eta", [0.5, 1.0, 2.0])
def test_p2(compare, eta):
    """All positions of the block compete, and the best stay or are filled."""

    def kept(m):
        worth = {}
        for i in range(m.size):
            token = m.best[i] if i in m.open else m.tokens[i]
            worth[i] = math.log(m.p[i][token]) * (1 if i in m.open else eta)
        stay = m.size - (len(m.open) - m.quota)
        return sorted(worth, key=lambda i: (-worth[i], i))[:stay]

    taken_back = []

    def remask(m, fill):
        again = [i for i in m.written if i not in kept(m)]
        taken_back.extend(again)
        return again

    counts = compare(
        lambda m: [i for i in m.open if i in kept(m)], Confidence(), P2Fill(eta), P2Remask(eta), remask, length=8
    )
    assert max(counts) == 8  # the plan's steps, whatever was masked again
    assert taken_back


@pytest.mark.parametrize("least", [2, 4])
def test_saber(compare, least):
    def rule(m):
        past = m.memory.setdefault("row sure", [])
        bar = sum(past) / len(past) if past else 1.0
        chosen = {*m.top(least), *(i for i in m.open if m.c[i] > bar)}
        past.extend(m.c[i] for i in sorted(chosen))
        return chosen

    def remask(m, fill):
        before = m.memory.setdefault("before", {})
        now = {i: m.p[i][m.tokens[i]] for i in m.written} | {i: m.p[i][token] for i, token in fill.items()}
        drop = {i: before[i] - now[i] for i in m.written}
        number = min(max(math.ceil(len(fill) / 8), least // 2), len(fill) - 1)
        m.memory["before"] = now
        return sorted(drop, key=lambda i: (-drop[i], i))[:number]

    counts = compare(rule, Confidence(), SaberFill(least), SaberBacktrack(least), remask, steps=(None,), length=12)
    assert max(counts) <= 12


@pytest.mark.parametrize("threshold", [0.2, 0.5, 1.0])
def test_edit_replaces_written_tokens_of_the_block_only(threshold):
    step = make_step(3, rows=20)
    actions = Actions.single(step.open & (step.position % 2 == 0), step.tokens)
    after = Edit(threshold)(step, actions, torch.zeros(step.rows, dtype=torch.long))
    after, before, edited = step.window(after.tokens), step.window(step.canvas.tokens), 0
    for b in range(step.rows):
        for w in range(step.width):
            p = step.belief.logits[b, w].double().softmax(-1)
            expected = int(before[b, w])
            if actions.place[b, 0, w]:
                expected = int(step.tokens[b, w])
            elif (
                step.open[b].any()
                and step.member[b, w]
                and step.canvas.editable[b, step.position[b, w]]
                and not step.open[b, w]
                and float(p.max()) > threshold
            ):
                edited += int(p.argmax()) != expected
                expected = int(p.argmax())
            assert int(after[b, w]) == expected
    assert (edited > 0) == (threshold < 1)


def remdm_step(commit, seed=5):
    step = make_step(seed, rows=20)
    actions = TopK()(step, Random()(step))
    after = commit(step, actions, torch.zeros(step.rows, dtype=torch.long))
    own = step.member & step.window(step.canvas.editable)
    again = step.window(after.open) & own & ~step.open
    assert torch.equal(after.tokens[after.open], torch.full_like(after.tokens[after.open], step.canvas.mask_id))
    return step, own, again


@pytest.mark.parametrize(("strategy", "eta"), [("cap", 0.3), ("cap", 1.0), ("rescale", 0.6)])
def test_remdm_masks_with_the_papers_probability(strategy, eta):
    step, own, again = remdm_step(ReMDM(strategy, eta))
    drawn = noise.uniform(step.canvas.seed, step.tick, "remdm", 1, step.position)[:, 0]
    for b in range(step.rows):
        size, masks = int(own[b].sum()), int(step.open[b].sum())
        if not masks:
            assert not again[b].any()
            continue
        alpha_now, alpha_next = 1 - masks / size, 1 - (masks - int(step.quota[b])) / size
        most = min(1.0, (1 - alpha_next) / alpha_now) if alpha_now else 1.0
        sigma = min(eta, most) if strategy == "cap" else eta * most
        for w in range(step.width):
            written = bool(own[b, w] and not step.open[b, w])
            assert bool(again[b, w]) == (written and float(drawn[b, w]) < sigma)
    assert again.any()


def test_remdm_conf_shares_by_the_confidence_at_writing():
    """Of two written tokens the one that was surer when written is masked less often, as softmax(−ψ) says."""
    commit = ReMDM("rescale", 1.0, confidence=True)
    step = make_step(5, rows=20)
    sure = torch.rand(step.open.shape, generator=torch.Generator().manual_seed(0))
    kind = {"like": "window", "until": "block", "dtype": step.belief.entropy.dtype}
    step.recall("remdm.sure", **kind)
    step.keep("remdm.sure", sure)
    actions = TopK()(step, Random()(step))
    after = step.window(commit(step, actions, torch.zeros(step.rows, dtype=torch.long)).open)
    own = step.member & step.window(step.canvas.editable)
    drawn = noise.uniform(step.canvas.seed, step.tick, "remdm", 1, step.position)[:, 0]
    for b in range(step.rows):
        written = [w for w in range(step.width) if own[b, w] and not step.open[b, w]]
        masks, size = int(step.open[b].sum()), int(own[b].sum())
        if not masks or not written:
            continue
        left = masks - int(step.quota[b])
        most = min(1.0, (left / size) / ((size - masks) / size))
        weights = {w: math.exp(-float(sure[b, w])) for w in written}
        for w in written:
            sigma = most * weights[w] / sum(weights.values())
            assert bool(after[b, w]) == (float(drawn[b, w]) < sigma)
    kept = step.recall("remdm.sure", **kind)
    placed = actions.place[:, 0]
    assert torch.allclose(kept[placed], step.confidence[placed].to(kept.dtype))
    assert torch.equal(kept[~placed], sure[~placed].to(kept.dtype))


def test_remdm_loop_masks_only_where_it_dwells():
    plan = Plan(length=20, steps=40, schedule="dwell")
    sampler = Sampler(Random(), TopK(), commit=ReMDM("loop", 0.3), plan=plan, draw=Draw(temperature=1.0))
    opened = []

    class Watch(mdmkit.Observer):
        def on_step(self, step, actions, choice):
            opened.append(int(step.open.sum()))

    decoded = mdmkit.decode(sampler, ToyBackbone(), ["ab"], observers=[Watch()])
    assert ToyBackbone().mask_id not in decoded.tokens[0]
    # 18 steps reach 2 masks of 20. From then on more than that are open at every step, until the last tenth fills.
    assert opened[:2] == [20, 19]
    assert all(3 <= number <= 20 for number in opened[19:37])
    assert len(opened) == decoded.nfe["rows"] <= 40
    plain = mdmkit.decode(Sampler(Random(), TopK(), plan=plan), ToyBackbone(), ["ab"])
    assert plain.nfe["rows"] == 20


@pytest.mark.parametrize(("threshold", "lingers"), [(0.2, 0), (0.2, 2), (0.2, 9), (1.0, 9)])
def test_edit_goes_on_in_a_full_block_until_nothing_changes(threshold, lingers):
    seen = []

    class Watch(mdmkit.Observer):
        def on_step(self, step, actions, choice):
            seen.append((int(step.open.sum()), step.canvas.tokens[step.canvas.valid]))

    sampler = Sampler(Confidence(), TopK(), commit=Edit(threshold, lingers), plan=Plan(length=10, tokens_per_step=5))
    decoded = mdmkit.decode(sampler, ToyBackbone(), ["ab"], observers=[Watch()])
    full = [tokens for masks, tokens in seen if masks == 0]
    assert len(full) <= lingers
    assert decoded.nfe["rows"] == len(seen) == 2 + len(full)
    after = [*full[1:], torch.tensor([1, 2, *decoded.tokens[0]])]
    changed = [not torch.equal(a, b) for a, b in zip(full, after, strict=bool(full))]
    assert all(changed[:-1])  # each look but the last changes something
    assert len(full) == lingers or not changed[-1]
    assert bool(changed and changed[0]) == (lingers > 0 and threshold < 1)


BOUNDED = {
    "cap": (TopK(), ReMDM("cap", 1.0)),
    "rescale": (TopK(), ReMDM("rescale", 1.0)),
    "conf": (TopK(), ReMDM("rescale", 1.0, confidence=True)),
    "loop": (TopK(), ReMDM("loop", 1.0)),
    "p2": (P2Fill(), P2Remask()),
    "p2, much": (P2Fill(50.0), P2Remask(50.0)),
    "edit": (TopK(), Edit(0.0, lingers=0)),
}


@pytest.mark.parametrize("name", BOUNDED)
@pytest.mark.parametrize("schedule", ["linear", "cosine", "dwell"])
def test_a_block_takes_the_plans_steps_at_most(name, schedule):
    select, commit = BOUNDED[name]
    for length, block, steps in ((12, None, 5), (12, 4, 6), (7, 3, 20), (1, None, 1)):
        plan = Plan(length=length, block=block, steps=steps, schedule=schedule)
        for seed in range(3):
            sampler = Sampler(Confidence(), select, commit=commit, plan=plan, draw=Draw(temperature=1.0))
            decoded = mdmkit.decode(sampler, ToyBackbone(), PROMPTS, seed=seed)
            for row in decoded.rows:
                assert ToyBackbone().mask_id not in row.tokens
                # One step per block at least, however few were asked for.
                assert row.nfe <= max(steps, math.ceil(len(row.trace["tokens"]) / (block or 99)))


@pytest.mark.parametrize("least", [1, 2, 5])
def test_saber_takes_a_step_per_position_at_most(least):
    for threshold in (0.0, 0.9):
        for select in (SaberFill(least), Threshold(threshold), TopK()):
            sampler = Sampler(Confidence(), select, commit=SaberBacktrack(least), plan=Plan(length=12, block=5))
            decoded = mdmkit.decode(sampler, ToyBackbone(), PROMPTS)
            for row in decoded.rows:
                assert ToyBackbone().mask_id not in row.tokens
                assert row.nfe <= sum(t == ToyBackbone().mask_id for t in row.trace["prompt_tokens"])


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (lambda: ReMDM(eta=1.5), "eta=1.5"),
        (lambda: ReMDM(strategy="max"), "strategy='max'"),
        (lambda: P2Fill(-1.0), "select p2: eta=-1.0"),
        (lambda: P2Remask(math.inf), "commit p2: eta=inf"),
        (lambda: SaberFill(0), "select saber: least=0"),
        (lambda: SaberBacktrack(0), "commit saber: least=0"),
        (lambda: Edit(1.1), "threshold=1.1"),
        (lambda: Edit(lingers=-1), "lingers=-1"),
    ],
)
def test_parameters_out_of_range_are_refused(part, words):
    with pytest.raises(MdmkitError, match=words):
        part()
