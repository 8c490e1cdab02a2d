"""The objective equals a brute-force computation, one state at a time, in the paper's own terms."""

import itertools

import pytest
import torch

from mdmkit import Draw, Plan, Sampler
from mdmkit.testing import ToyBackbone
from mdmkit_info_gain.branch import Branch
from mdmkit_info_gain.lookahead import InfoGain

PROMPTS = [
    {"prompt": "ab", "length": 10, "seed": 5},
    {"prompt": "abcde", "length": 7, "seed": 6},
    {"prompt": "a__b_c___d", "seed": 7},
]


def uncertainties(backbone, tokens, valid):
    """By kind, the uncertainty of every position of one unpadded row, float64, by the definition; and log p."""
    tokens = tokens[valid][None]
    positions = torch.arange(tokens.shape[1])[None]
    hidden = backbone.forward(tokens, torch.ones_like(tokens).bool(), None, positions=positions).hidden
    logits = backbone.project(hidden)[0].clone()
    logits[:, [backbone.mask_id, *backbone.forbidden]] = -torch.inf
    p = logits.softmax(-1)
    h = {kind: torch.zeros(len(valid), dtype=torch.float64) for kind in ("entropy", "surprisal")}
    h["entropy"][valid] = -(p * p.clamp_min(1e-300).log()).sum(-1)
    h["surprisal"][valid] = -p.amax(-1).log()
    logp = torch.zeros(len(valid), p.shape[-1], dtype=torch.float64)
    logp[valid] = p.log()
    return h, logp


def brute_force(backbone, stage, canvas, row, block, place, tokens):
    """J of one action, by Apply and the definitions of arXiv:2602.18176 (and 2608.26580 for `matched`)."""
    before, valid = canvas.tokens[row], canvas.valid[row]
    masked = canvas.open[row]
    scope = masked & block if stage.scope == "block" else masked
    after_tokens = torch.where(place, tokens, before)
    all_now, logp = uncertainties(backbone, before, valid)
    now, later = all_now[stage.uncertainty], uncertainties(backbone, after_tokens, valid)[0][stage.uncertainty]
    if stage.positions is not None:  # the rest stays as it is
        seen = sorted(scope.nonzero()[:, 0].tolist(), key=lambda t: -now[t])[: stage.positions]
        later = now.clone().index_copy(0, torch.tensor(seen), later[seen])
    rest = scope & ~place
    k = int(place.sum())

    def average(h, where):
        total = float(h[where].sum())
        return total if stage.normalise == "sum" else total / int(where.sum()) if where.any() else 0.0

    gain = average(now, rest if stage.reference == "matched" else scope) - average(later, rest)
    gain *= k if stage.normalise == "k_mean" else 1
    cost = {
        "entropy": float(all_now["entropy"][place].sum()),
        "surprisal": -sum(float(logp[t, tokens[t]]) for t in place.nonzero()[:, 0]),
        "none": 0.0,
    }[stage.cost]
    return stage.gain_weight * gain - cost


class Checked:
    """The stage under test, with every value it gives compared to the brute force."""

    def __init__(self, stage, backbone):
        self.stage, self.backbone, self.compared = stage, backbone, 0

    def __call__(self, step, actions, look):
        values = self.stage(step, actions, look)
        wide = torch.zeros(actions.place.shape[:2] + step.canvas.tokens.shape[1:], dtype=torch.bool)
        tokens = torch.zeros(wide.shape, dtype=torch.long)
        for b, n, w in actions.place.nonzero().tolist():
            wide[b, n, step.position[b, w]] = True
            tokens[b, n, step.position[b, w]] = actions.tokens[b, n, w]
        for b, n in actions.live.nonzero().tolist():
            if actions.live[b].sum() > 1:
                block = torch.zeros(step.canvas.tokens.shape[1], dtype=torch.bool)
                block[step.position[b][step.open[b]]] = True
                expected = brute_force(self.backbone, self.stage, step.canvas, b, block, wide[b, n], tokens[b, n])
                assert values[b, n].item() == pytest.approx(expected, abs=1e-6)
                self.compared += 1
        return values


GRID = [
    InfoGain(scope=s, reference=r, normalise=n, cost=c, gain_weight=w)
    for s, r, n, c, w in itertools.product(
        ("block", "sequence"),
        ("paper", "matched"),
        ("mean", "k_mean", "sum"),
        ("entropy", "surprisal", "none"),
        (1.0, 0.3),
    )
]


GRID += [
    InfoGain(scope=s, reference=r, normalise=n, uncertainty=u, positions=p)
    for s, r, n, u, p in itertools.product(
        ("block", "sequence"),
        ("paper", "matched"),
        ("mean", "sum"),
        ("entropy", "surprisal"),
        (None, 1, 3, 50),
    )
]


@pytest.mark.parametrize("stage", GRID, ids=lambda s: "-".join(str(v) for v in vars(s).values()))
def test_j_equals_brute_force(stage, confidence, decode):
    backbone = ToyBackbone(dtype=torch.float64)
    checked = Checked(stage, backbone)
    select = Branch(candidates=5, position_temperature=0.3, bypass=None)
    sampler = Sampler(confidence, select, checked, plan=Plan(block=6, tokens_per_step=2), draw=Draw(temperature=0.7))
    decode(sampler, backbone, PROMPTS)
    assert checked.compared > 20


def test_few_positions_run_the_head_at_few_positions(confidence, decode):
    class Counting(ToyBackbone):
        heads = 0

        def project(self, hidden):
            self.heads += hidden[..., 0].numel()
            return super().project(hidden)

    def heads(positions):
        backbone = Counting(dtype=torch.float64)
        sampler = Sampler(confidence, Branch(candidates=5, bypass=None), InfoGain(positions=positions))
        decoded = decode(sampler, backbone, [{"prompt": "ab", "length": 16, "seed": 5}])
        return backbone.heads, decoded.rows[0].nfe

    (some, rows), (everywhere, all_rows) = heads(2), heads(None)
    beliefs = sum(range(1, 17))  # of 16 steps, each at what is still open
    assert some - beliefs <= 2 * rows
    assert 5 * (all_rows - 1) < everywhere - beliefs <= sum(5 * (still - 1) for still in range(2, 17))
