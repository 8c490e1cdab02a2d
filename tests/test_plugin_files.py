"""The plugin files of the pages: what the stop rule and the constraint promise, and how short a part is."""

from __future__ import annotations

import ast
import runpy
from pathlib import Path

import pytest

import mdmkit
from mdmkit import Plan, Sampler
from mdmkit.testing import ByConfidence, ConstraintContract, StopContract, TakeQuota, ToyBackbone

HOOKS = Path(__file__).resolve().parents[1] / "examples" / "hooks"
STOP = runpy.run_path(str(HOOKS / "stop.py"))["SureOfTheRest"]
CONSTRAINT = runpy.run_path(str(HOOKS / "constraint.py"))["NoRepeat"]


class TestStop(StopContract):
    component = STOP


class TestConstraint(ConstraintContract):
    component = CONSTRAINT


def test_no_token_stands_beside_itself_under_the_constraint():
    def twins(constraint):
        sampler = Sampler(ByConfidence(), TakeQuota(), constraint=constraint, plan=Plan(length=12, tokens_per_step=3))
        rows = mdmkit.decode(sampler, ToyBackbone(), ["ab", "c", "dd"]).rows
        return sum(a == b for row in rows for a, b in zip(row.tokens, row.tokens[1:], strict=False))

    assert twins(None) > 0
    assert twins(CONSTRAINT()) == 0


@pytest.mark.parametrize(
    ("name", "most"), {"score": 20, "selecting": 20, "stop": 20, "constraint": 20, "engine": 27}.items()
)
def test_a_part_takes_some_twenty_lines(name, most):
    source = (HOOKS / f"{name}.py").read_text()
    said = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            said |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    lines = [line for number, line in enumerate(source.splitlines(), 1) if line.strip() and number not in said]
    assert sum(not line.lstrip().startswith("#") for line in lines) <= most
