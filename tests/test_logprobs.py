"""Log-probabilities and ranks of the tokens of a row: at the step that wrote them, and under the finished row."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

import mdmkit
from mdmkit import Engine, MdmkitError, Prompt, compose, decode
from mdmkit.cli.main import main
from mdmkit.testing import ToyBackbone

LENGTH = 8


def says(kind: str | None, sampler: str = "confidence", **more: Any) -> mdmkit.Sampler:
    plan = {"length": LENGTH, "block": 4, "tokens_per_step": 2, "early_stop": False, "logprobs": kind}
    return compose(sampler, plan=plan, draw={"temperature": 1.0}, **more)


def logits(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    """What the model says of a whole row, float32 [T, V]; ids that are never chosen are −inf."""
    positions = torch.arange(tokens.shape[1])[None]
    out = model.project(model.forward(tokens, tokens >= 0, None, positions=positions).hidden).float()[0]
    out[:, [model.mask_id, *model.forbidden]] = -torch.inf
    return out


def expected(model: Any, row: mdmkit.Row, final: bool) -> list[tuple[float, int]]:
    """By brute force: one forward for each step, or one of the finished row."""
    canvas, whole = row.trace["tokens"], []
    start = len(canvas) - len(row.tokens)
    for at, tick in enumerate(row.order):
        seen = [
            token if t < start or final or 0 <= row.trace["order"][t] < tick else model.mask_id
            for t, token in enumerate(canvas)
        ]
        z = logits(model, torch.tensor([seen]))[start + at]
        own = z[row.tokens[at]]
        whole.append((float(z.log_softmax(-1)[row.tokens[at]]), int((z > own).sum()) + 1))
    return whole


@pytest.mark.parametrize("sampler", ["confidence", "info_gain", "random", "beam", "wino"])
def test_they_are_what_a_forward_of_each_step_says(sampler: str) -> None:
    model = ToyBackbone()
    row = decode(says("final", sampler), model, [[5, 3, 4]], seed=4).rows[0]
    assert row.logprobs is not None and set(row.logprobs) == {"logprob", "rank", "final_logprob", "final_rank"}
    for final, name in ((False, ""), (True, "final_")):
        if sampler == "wino" and not final:  # its tokens are written again, and what it saw is not in the trace
            continue
        both = zip(row.logprobs[f"{name}logprob"], row.logprobs[f"{name}rank"], strict=True)
        for (logprob, rank), (value, place) in zip(both, expected(model, row, final), strict=True):
            assert logprob == pytest.approx(value, abs=1e-4) and rank == place
    confidence = row.trace["confidence"][3:]
    assert [math.exp(x) for x in row.logprobs["logprob"]] == pytest.approx(confidence, abs=1e-5)


@pytest.mark.parametrize("kind", [None, "reveal"])
@pytest.mark.parametrize("sampler", ["confidence", "info_gain", "beam"])
def test_they_change_nothing_else(kind: str | None, sampler: str) -> None:
    model, prompts = ToyBackbone(), [[5, 3, 4], [2], [7, 7, 3, 2, 5]]
    other = decode(says(kind, sampler), model, prompts, seed=1)
    final = decode(says("final", sampler), model, prompts, seed=1)
    for row, said in zip(other.rows, final.rows, strict=True):
        assert (row.tokens, row.order, row.text, row.uncertainty) == (
            said.tokens,
            said.order,
            said.text,
            said.uncertainty,
        )
        assert said.nfe > row.nfe  # one more forward
        assert (row.logprobs is None) == (kind is None)
        if row.logprobs is not None and said.logprobs is not None:
            assert set(row.logprobs) == {"logprob", "rank"}
            assert all(said.logprobs[name] == row.logprobs[name] for name in row.logprobs)
    nothing = decode(says(None, sampler), model, prompts, seed=1)
    assert [row.nfe for row in other.rows] == [row.nfe for row in nothing.rows]


@pytest.mark.parametrize("sampler", ["confidence", "info_gain", "beam"])
@pytest.mark.parametrize("cache", ["none", "dual"])
def test_a_row_says_the_same_in_any_company(sampler: str, cache: str) -> None:
    golden = Path(__file__).resolve().parent / "golden" / "llada"
    model = mdmkit.load(str(golden), device="cpu") if cache == "dual" else ToyBackbone()
    every = [(5, 3, 4), (2,), (7, 7, 3, 2, 5), (9, 8)]
    prompts = [Prompt(ids=ids, seed=i, index=i) for i, ids in enumerate(every)]
    sampler_ = says("final", sampler, cache=cache)
    engine, late = Engine(sampler_, model, 2), {}
    for prompt in prompts:
        engine.admit(prompt)
        late |= {ended.id: ended.row for ended in engine.step()}
    late |= {ended.id: ended.row for ended in engine.drain()}
    for i, prompt in enumerate(prompts):
        alone = decode(sampler_, model, [prompt]).rows[0]
        row = late[i]
        assert row.tokens == alone.tokens
        for name, values in alone.logprobs.items():
            assert row.logprobs[name] == pytest.approx(values, abs=1e-3), name


def test_prompt_tokens_of_an_infill_have_none() -> None:
    model = ToyBackbone()
    mask = model.mask_id
    row = decode(says("final"), model, [[5, mask, 3, mask]], seed=0).rows[0]
    assert row.logprobs is not None
    for values in row.logprobs.values():
        assert [value is None for value in values] == [True, False, True, False]
    full = decode(says("final"), model, [Prompt(ids=(5, 3), length=0)]).rows[0]
    assert full.tokens == [] or set(full.logprobs["logprob"]) <= {None}


def test_what_is_behind_an_early_end_says_nothing() -> None:
    model = ToyBackbone()
    model.ends = (3,)
    sampler = compose("confidence", plan={"length": 8, "block": 2, "logprobs": "final"}, draw={"temperature": 1.0})
    rows = decode(sampler, model, [[5, 4]] * 8, seed=0).rows
    early = [row for row in rows if len(row.tokens) < 8]
    assert early
    for row in early:
        assert {len(values) for values in row.logprobs.values()} == {len(row.tokens)}


def test_the_rule_shapes_the_belief_of_the_step_but_not_of_the_finished_row() -> None:
    model = ToyBackbone()
    rule = {"name": "tokens", "allowed": [5]}
    row = decode(says("final", constraint=rule), model, [[2, 3]]).rows[0]
    assert set(row.tokens) == {5} and row.logprobs is not None
    assert row.logprobs["logprob"] == [0.0] * LENGTH and row.logprobs["rank"] == [1] * LENGTH
    assert all(value < 0 for value in row.logprobs["final_logprob"])


def test_rows_of_the_command_line_hold_them_and_are_read_again(tmp_path: Path) -> None:
    prompts, out = tmp_path / "p.jsonl", tmp_path / "o.jsonl"
    prompts.write_text('{"prompt": "7*8=_______"}\n{"prompt": "_*7=_______"}\n')
    line = ["decode", "--model", "zoo:puzzles", "--prompts", str(prompts), "--output", str(out)]
    line += ["--set", "plan.logprobs=final", "--sampler", "confidence"]
    assert CliRunner().invoke(main, line).exit_code == 0
    rows = [json.loads(row) for row in out.read_text().splitlines()]
    for row in rows:
        assert {len(values) for values in row["logprobs"].values()} == {len(row["tokens"])}
    out.write_text(out.read_text().splitlines(keepends=True)[0])
    done = CliRunner().invoke(main, [*line, "--resume"])
    assert done.exit_code == 0, done.output
    assert [json.loads(row) for row in out.read_text().splitlines()] == rows


def test_bad_input() -> None:
    with pytest.raises(MdmkitError, match=r"plan\.logprobs='last': it must be reveal or final, or null"):
        says("last")
