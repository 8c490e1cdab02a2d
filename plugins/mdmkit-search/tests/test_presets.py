"""Every preset composes, fills masks wherever they are, in a batch as alone, and costs what its page says."""

import pytest

import mdmkit
from mdmkit import MdmkitError
from mdmkit.testing import ToyBackbone

PRESETS = ("best_of_n", "ebon", "esmc", "beam", "lookum", "lookum_smc", "lopa", "freedave")
PROMPTS = ("a__b___c_", "___", "abc", "_b_")


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_every_preset_fills_masks_anywhere_in_a_batch_as_alone(registry, name, temperature):
    sampler = mdmkit.compose(
        name, registry=registry, draw={"temperature": temperature}, plan={"block": 3, "tokens_per_step": 2}
    )
    asked = [{"prompt": prompt, "seed": i} for i, prompt in enumerate(PROMPTS)]
    together = mdmkit.decode(sampler, ToyBackbone(), asked).rows
    assert all(ToyBackbone().mask_id not in row.tokens for row in together)
    for row, prompt in zip(together, asked, strict=True):
        (alone,) = mdmkit.decode(sampler, ToyBackbone(), [prompt]).rows
        assert (row.tokens, row.order, row.nfe) == (alone.tokens, alone.order, alone.nfe)


@pytest.mark.parametrize(
    ("name", "calls", "least", "most"),
    [
        ("best_of_n", 8, 64, 64),
        ("ebon", 8, 64, 64),
        ("esmc", 8, 64, 64),
        ("beam", 8, 8 + 1, 2 + 8 * 7),
        ("lookum", 8, 8, 1 + 2 * 7),
        ("lookum_smc", 8, 16, 16),
        ("lopa", 8, 4, 1 + 4 * 7),
        ("freedave", 8, 8, 1 + 4 * 7),
    ],
)
def test_a_preset_costs_what_its_page_says(registry, name, calls, least, most):
    """Eight masks, one a step: calls of the model, and rows that went through it."""
    decoded = mdmkit.decode(mdmkit.compose(name, registry=registry), ToyBackbone(), ["ab"])
    assert decoded.nfe["calls"] <= calls
    assert least <= decoded.nfe["rows"] <= most


def test_a_search_goes_with_every_other_sampler(registry):
    """A search beside a lookahead chooses among trajectories, and the lookahead among alternatives."""
    backbone = ToyBackbone()
    plain = mdmkit.decode(mdmkit.compose("lookum", registry=registry), backbone, ["abc", "ab"], seed=5)
    best = mdmkit.decode(
        mdmkit.compose("lookum", search="best_of_n", registry=registry), backbone, ["abc", "ab"], seed=5
    )
    assert all(b.uncertainty <= p.uncertainty for b, p in zip(best.rows, plain.rows, strict=True))
    assert best.nfe["rows"] > 4 * plain.nfe["rows"]


def test_a_search_goes_with_every_sampler_that_is_installed(registry):
    search = {"name": "esmc", "particles": 2, "every": 1}
    prompts = [{"prompt": "ab", "length": 5, "seed": 1}, {"prompt": "c_d_", "seed": 2}]
    names = [part.name for part in registry.of_kind("sampler")]
    # `beam` without its search lacks what chooses, and the table of `pc` is of another vocabulary.
    names = [name for name in names if name not in ("beam", "pc")]
    assert len(names) >= 14
    own = {
        "adablock": {"select": {"delimiters": [3, 4]}},
        "daedal": {"commit": {"end": 1}, "plan": {"room": 5}},
    }
    for name in names:
        # The toy has no end token that a penalty could mean.
        draw = {"temperature": 0.7, "end_penalty": 0.0}
        given = {"search": search, "draw": draw, "cache": "none"} | own.get(name, {})
        sampler = mdmkit.compose(name, registry=registry, **given)
        together = mdmkit.decode(sampler, ToyBackbone(), prompts).rows
        alone = [mdmkit.decode(sampler, ToyBackbone(), [prompt]).rows[0] for prompt in prompts]
        assert [(r.tokens, r.nfe) for r in together] == [(r.tokens, r.nfe) for r in alone], name


def test_beam_takes_no_lookahead(registry):
    sampler = mdmkit.compose("lookum", search="beam", registry=registry)
    with pytest.raises(MdmkitError, match="set lookahead to null"):
        mdmkit.decode(sampler, ToyBackbone(), ["abc"])
