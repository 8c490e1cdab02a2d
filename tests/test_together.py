"""What the distributions promise together: the paper's sampler on exact and trained models, through the front door."""

import itertools
import subprocess
import sys

import pytest
import torch

import mdmkit
from mdmkit.noise import row_seed
from mdmkit.testing import ToyBackbone

# Twenty prompts: generations of different lengths, and infills.
RAGGED = [{"prompt": "abcdefg"[: 1 + i % 7], "length": 1 + (5 * i) % 11, "seed": 40 + i} for i in range(12)] + [
    {"prompt": p, "seed": 80 + i}
    for i, p in enumerate(("a__b", "___", "ab_c__d____e", "_", "abcd__f", "a_b_c_d", "__a__", "a______b"))
]
PRESETS = ("confidence", "entropy", "margin", "random", "left_to_right", "threshold", "info_gain", "future_entropy")


@pytest.mark.parametrize(("name", "temperature"), [("confidence", 0.0), ("info_gain", 0.0), ("info_gain", 0.7)])
def test_twenty_ragged_prompts_decode_the_same_however_they_are_batched(name, temperature):
    backbone = ToyBackbone()
    sampler = mdmkit.compose(name, draw={"temperature": temperature}, plan={"block": 5, "tokens_per_step": 2})
    together = mdmkit.decode(sampler, backbone, RAGGED).rows
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0)).tolist()
    shuffled = mdmkit.decode(sampler, backbone, [RAGGED[i] for i in order]).rows
    threes = mdmkit.decode(sampler, backbone, RAGGED, batch=3).rows
    for i, row in enumerate(together):
        for other in (mdmkit.decode(sampler, backbone, [RAGGED[i]]).rows[0], shuffled[order.index(i)], threes[i]):
            assert other.tokens == row.tokens
            assert other.nfe == row.nfe
            # fp32: padding and batch change the order of additions inside the model, nothing else
            assert other.uncertainty == pytest.approx(row.uncertainty, abs=1e-4)
    assert mdmkit.decode(sampler, backbone, RAGGED).tokens == [row.tokens for row in together]


def test_a_text_prompt_draws_from_its_own_seed():
    sampler = mdmkit.compose("info_gain", draw={"temperature": 1.0})
    first = mdmkit.decode(sampler, ToyBackbone(), ["ab", "ab"], seed=5).rows
    assert [row.seed for row in first] == [row_seed(5, 0), row_seed(5, 1)]
    again = mdmkit.decode(sampler, ToyBackbone(), [{"prompt": "ab", "seed": first[1].seed}]).rows[0]
    assert again.tokens == first[1].tokens
    assert mdmkit.decode(sampler, ToyBackbone(), ["ab", "ab"], seed=6).tokens != [row.tokens for row in first]


@pytest.mark.parametrize("name", PRESETS)
def test_no_mask_is_left_by_any_preset_on_any_plan(name):
    backbone = ToyBackbone()
    prompts = ["ab", "a__b___c_d", "_"]
    for length, block, steps in itertools.product((1, 6, 7), (None, 1, 4, 30), (None, 1, 3, 20)):
        sampler = mdmkit.compose(name, plan={"length": length, "block": block, "steps": steps})
        for row, prompt in zip(mdmkit.decode(sampler, backbone, prompts).rows, prompts, strict=True):
            assert backbone.mask_id not in row.tokens
            if "_" in prompt:
                assert all(p in ("_", t) for p, t in zip(prompt, row.text, strict=True))
            else:
                assert len(row.tokens) == length


def test_with_block_scope_later_blocks_never_change_a_choice():
    """On the exact chain masks further right carry no information, so the first block must come out the same."""
    backbone = mdmkit.load("zoo:bigram")
    sampler = mdmkit.compose("info_gain", plan={"block": 6, "tokens_per_step": 2}, select={"bypass": None})
    short, *longer = (
        mdmkit.decode(sampler, backbone, [{"prompt": "and he said", "length": n, "seed": 1}]).rows[0]
        for n in (6, 12, 18)
    )
    for row in longer:
        assert row.tokens[:6] == short.tokens
        assert row.order[:6] == short.order
    assert any(values is not None for values in short.trace["values"])


def test_sequence_scope_does_see_later_blocks():
    backbone = mdmkit.load("zoo:bigram")
    sampler = mdmkit.compose(
        "info_gain", plan={"block": 6, "tokens_per_step": 2}, lookahead={"scope": "sequence"}, select={"bypass": None}
    )
    short, long = (
        mdmkit.decode(sampler, backbone, [{"prompt": "and he said", "length": n, "seed": 1}]).rows[0] for n in (6, 18)
    )
    assert short.trace["values"][0] != long.trace["values"][0][: len(short.trace["values"][0])]


def test_listing_imports_no_torch():
    for arguments in (["--help"], ["plugins"], ["samplers"], ["show", "info_gain@gsm8k"]):
        code = (
            "import sys\nfrom mdmkit.cli import main\n"
            f"try:\n    main({arguments!r})\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
            "heavy = {'torch', 'transformers', 'numpy'} & set(sys.modules)\nassert not heavy, heavy\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_first_party_names_are_those_that_the_distributions_register():
    """The hint `pip install mdmkit-… provides it` is only as good as this list."""
    import json
    from importlib import resources

    from mdmkit.installed.registry import Registry

    listed = json.loads(resources.files("mdmkit.installed").joinpath("first_party.json").read_text())
    registered: dict = {}
    for part in Registry().parts:
        if part.distribution in listed:
            registered.setdefault(part.distribution, {}).setdefault(part.kind, []).append(part.name)
    assert {d: {k: sorted(v) for k, v in kinds.items()} for d, kinds in registered.items()} == listed
