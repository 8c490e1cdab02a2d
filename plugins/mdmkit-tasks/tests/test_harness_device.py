"""Without `--device`, `mdmkit lm-eval` chooses the device as the other commands do."""

from __future__ import annotations

from pathlib import Path

import pytest

from mdmkit_tasks.harness_device import with_device

OURS = ["--model", "mdmkit", "--tasks", "gsm8k"]


@pytest.mark.parametrize("arguments", [OURS, ["run", *OURS], ["-M", "mdmkit"], ["--model=mdmkit", "--limit", "2"]])
def test_a_device_is_chosen_where_none_is_named(arguments: list[str]) -> None:
    assert with_device(arguments) == [*arguments, "--device", "auto"]


@pytest.mark.parametrize(
    "arguments",
    [[*OURS, "--device", "cuda:0"], [*OURS, "--device=cpu"], ["--model", "hf"], ["ls", "tasks"], ["--help"], []],
)
def test_a_named_device_and_another_model_are_left_alone(arguments: list[str]) -> None:
    assert with_device(arguments) == arguments


@pytest.mark.parametrize(
    ("config", "added"),
    [("model: mdmkit", True), ("model: mdmkit\ndevice: cuda:0", False), ("model: hf", False), ("a: [", False)],
)
def test_a_configuration_file_is_read_too(config: str, added: bool, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(config)
    arguments = ["--config", str(tmp_path / "c.yaml")]
    assert with_device(arguments) == arguments + ["--device", "auto"] * added
