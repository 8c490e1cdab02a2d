"""What `mdmkit check` says about a checkpoint: which fields of its config are honoured, ignored or unknown."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from mdmkit.cli import main
from mdmkit_text.backbone import TextBackbone

if TYPE_CHECKING:
    from collections.abc import Callable

GOLDEN = Path(__file__).parents[3] / "tests" / "golden"
PUBLISHED = Path(__file__).parent / "published"


def lines(backbone: Any) -> dict[str, tuple[str, str]]:
    return {each.subject: (each.verdict, each.detail) for each in backbone.inspect()}


def checkpoint(folder: Path, name: str, **more: Any) -> Path:
    """A published config with golden weights."""
    published = json.loads((PUBLISHED / f"{name}.json").read_text())
    shutil.copy(GOLDEN / published["weights"] / "model.safetensors", folder)
    (folder / "config.json").write_text(json.dumps(published["config"] | more))
    return folder


@pytest.mark.parametrize("name", [path.stem for path in sorted(PUBLISHED.glob("*.json"))])
def test_every_field_of_a_published_config_is_known(name: str, tmp_path: Path) -> None:
    found = lines(TextBackbone.load(str(checkpoint(tmp_path, name)), mask_id=125))
    assert "config: unknown" not in found
    assert "vocab_size" in found["config: honoured"][1]
    assert found["weights"][0] == "ok"


def test_a_field_that_nothing_reads_is_a_note(tmp_path: Path) -> None:
    found = lines(TextBackbone.load(str(checkpoint(tmp_path, "llada", new_trick=3)), mask_id=125))
    assert found["config: unknown"] == ("note", "nothing here reads new_trick")
    assert "rope_scaling" not in found["config: covered"][1]
    assert "alibi" in found["config: covered"][1]
    assert "init_std" in found["config: without effect"][1]


@pytest.mark.parametrize(("value", "count"), [(float("nan"), 4), (float("inf"), 1), (-1e30, 0)])
def test_weights_that_are_no_numbers_are_found(value: float, count: int) -> None:
    backbone = TextBackbone.load(str(GOLDEN / "llada"), mask_id=125)
    layers = [name for name, _ in backbone.network.model.named_parameters() if name.endswith("weight")][-count - 1 : -1]
    for name in layers if count else layers[-1:]:
        backbone.network.model.get_parameter(name).data.view(-1)[-1] = value
    verdict, said = lines(backbone)["numbers"]
    assert verdict == ("FAIL" if count else "ok")
    assert [name in said for name in layers[:3]] == [count > 0] * len(layers[:3])
    assert ("and 1 more" in said) == (count == 4)


def test_an_end_token_that_does_not_exist_is_a_note(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, "llada", eos_token_id=[5, -1])
    (folder / "generation_config.json").write_text('{"eos_token_id": 4000}')
    backbone = TextBackbone.load(str(folder), mask_id=125)
    said = f"eos_token_id -1, 4000: outside the vocabulary of {backbone.vocab} ids, so it never ends an answer"
    assert lines(backbone)["config: ends"] == ("note", said)
    assert backbone.ends == [5]


def test_a_class_of_transformers_knows_its_own_fields(build: Callable[..., Path]) -> None:
    folder = build("bert")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"new_trick": 3}))
    found = lines(TextBackbone.load(str(folder)))
    assert found["config: unknown"] == ("note", "nothing here reads new_trick")
    assert "type_vocab_size" in found["config: honoured"][1]


def test_a_checkpoint_is_checked_from_the_command_line(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, "sdar")
    done = CliRunner().invoke(main, ["check", str(folder), "--model-option", "mask_id=125", "--json"])
    assert done.exit_code == 0, done.output
    prefix = f"model {folder}: "
    found = {
        each["subject"].removeprefix(prefix): each["verdict"]
        for each in json.loads(done.stdout)
        if each["subject"].startswith(prefix)
    }
    assert set(found.values()) == {"ok"}
    expected = {"weights", "tokens", "attention", "forward", "rows: order", "rows: batch", "rows: padding", "decode"}
    assert expected <= {*found}


def test_what_is_stored_beside_the_parameters_is_looked_at_too() -> None:
    backbone = TextBackbone.load(str(GOLDEN / "llada2"), mask_id=125)
    model = backbone.network.model
    (name, bias), *_ = [each for each in model.named_buffers() if each[0].endswith("correction_bias")]
    assert lines(backbone)["numbers"][0] == "ok"
    bias.view(-1)[-1] = float("nan")
    assert lines(backbone)["numbers"] == ("FAIL", f"weights that are infinite or no numbers (NaN): {name}")
