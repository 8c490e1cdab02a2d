"""Masks that a prompt holds are filled where that is asked for, and the command says how many prompts held some."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from mdmkit import MdmkitError, Prompt, lay_out
from mdmkit.cli import main

SIZES = {"mask_id": 5, "pad_id": 0, "vocab": 9, "plan_length": 1, "default_length": None, "max_length": None}


def decode(*options):
    base = ["decode", "--sampler", "confidence", "--device", "cpu", "--no-live", "--set", "plan.length=2"]
    result = CliRunner().invoke(main, [*base, *options])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize(
    ("prompts", "said"),
    [(["2*7=__", "2*7=14", "3*7=__"], " 2 rows were infills."), (["2*7=__"], " 1 row was an infill."), (["2*7="], "")],
)
def test_the_last_line_counts_the_infills(prompts, said):
    line = decode(*[word for prompt in prompts for word in ("--prompt", prompt)]).splitlines()[-1]
    assert line.endswith(said) and ("infill" in line) == bool(said)


def test_a_switch_takes_the_masks_of_all_prompts_as_text_and_a_prompt_may_say_otherwise(tmp_path):
    file = tmp_path / "p.jsonl"
    rows = ['"2*7=__"', '{"prompt": "2*7=__", "infill": true}', "[9, 10, 11]"]
    file.write_text("\n".join(rows))
    out = json.loads(decode("--prompts", str(file), "--no-infill", "--json"))["rows"]
    assert [row["stopped"] for row in out] == ["length", "filled", "length"]
    assert [len(row["text"]) for row in out][:2] == [2, 6]
    out = json.loads(decode("--prompts", str(file), "--json"))["rows"]
    assert [row["stopped"] for row in out] == ["filled", "filled", "length"]


def test_a_position_to_fill_is_told_from_a_token_with_the_masks_id():
    def laid(infill, *ids):
        prompt = Prompt(text="", infill=infill)
        canvas = lay_out([prompt], [ids], [[]], **SIZES)
        return canvas.tokens[0].tolist(), canvas.open[0].long().tolist(), canvas.infill[0].item()

    assert laid(None, 5, 2) == laid(True, 5, 2) == ([5, 2], [1, 0], True)
    assert laid(False, 5, 2) == ([5, 2, 5], [0, 0, 1], False)
    assert laid(False, 5, -1, 2) == ([5, 5, 2], [0, 1, 0], True)
    assert laid(True, 5, -1, 2) == ([5, 5, 2], [1, 1, 0], True)
    with pytest.raises(MdmkitError, match="token id -1 is outside"):  # in ids of the user, it is a mistake
        lay_out([Prompt(ids=(5, -1))], [(5, -1)], [[]], **SIZES)
