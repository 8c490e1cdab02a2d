"""Where a model comes from: directories as they are, hub ids through the hub's client, nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import huggingface_hub
import pytest

from mdmkit import MdmkitError
from mdmkit_text.backbone import TextBackbone

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_directories_with_a_config_and_hub_ids_are_accepted(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    assert TextBackbone.accepts(str(tmp_path / "model"))
    assert TextBackbone.accepts("organisation/some-model.v1")
    for ref in (str(tmp_path), str(tmp_path / "absent"), "zoo:puzzles", "bert", "./a/b", "a/b/c", "a/b.", "~absent/x"):
        assert TextBackbone.accepts(ref) == (ref == "a/b."), ref


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Calls that would have reached the hub; each fails as without network."""
    calls: list[tuple[str, dict[str, Any]]] = []

    def fail(ref: str, **options: Any) -> str:
        calls.append((ref, options))
        raise OSError("Cannot reach the hub.\nmore lines")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    return calls


@pytest.mark.parametrize("ref", ["./absent/model", "/absent/model", "absent", "a/b/c"])
def test_a_missing_directory_is_never_looked_for_on_the_hub(ref: str, hub: list[Any]) -> None:
    with pytest.raises(MdmkitError, match=r"there is no directory .*hub id \(organisation/name\)"):
        TextBackbone.load(ref)
    assert hub == []


def test_a_directory_without_a_config_and_a_file_are_explained(tmp_path: Path, hub: list[Any]) -> None:
    with pytest.raises(MdmkitError, match=r"holds no config\.json"):
        TextBackbone.load(str(tmp_path))
    (tmp_path / "model.safetensors").write_text("")
    with pytest.raises(MdmkitError, match="is a file"):
        TextBackbone.load(str(tmp_path / "model.safetensors"))
    assert hub == []


def test_a_hub_id_without_network_says_what_was_tried_and_what_to_do(hub: list[Any]) -> None:
    with pytest.raises(MdmkitError) as caught:
        TextBackbone.load("some/model", revision="v2")
    message = str(caught.value)
    for part in ("as a directory", "hub id at revision 'v2'", "Cannot reach the hub.", "give its path"):
        assert part in message
    assert "\n" not in message


def test_of_a_hub_model_only_safetensors_and_plain_files_are_fetched(hub: list[Any]) -> None:
    from huggingface_hub.utils import filter_repo_objects

    with pytest.raises(MdmkitError):
        TextBackbone.load("some/model")
    ((ref, options),) = hub
    files = ["config.json", "model-00001-of-00002.safetensors", "vocab.txt", "tokenizer.json", "spiece.model"]
    others = ["pytorch_model.bin", "modeling_x.py", "onnx/config.json", "consolidated.safetensors", "model.onnx"]
    assert ref == "some/model"
    assert options["revision"] is None
    kept = filter_repo_objects(
        files + others, allow_patterns=options["allow_patterns"], ignore_patterns=options["ignore_patterns"]
    )
    assert list(kept) == files


def test_a_hub_id_loads_from_what_the_client_returns(
    checkpoint: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda ref, **_: str(checkpoint("bert")))
    assert TextBackbone.load("some/model").mask_id == 4


def test_a_manifest_sets_length_samples_and_further_forbidden_ids(build: Callable[..., Path]) -> None:
    folder = build("bert")
    assert (TextBackbone.load(str(folder)).length, TextBackbone.load(str(folder)).samples) == (None, ())
    content = {"length": 12, "samples": ["ab", "a[MASK]"], "forbidden": [9, 5]}
    (folder / "mdmkit.json").write_text(json.dumps(content))
    backbone = TextBackbone.load(str(folder))
    assert (backbone.length, backbone.samples) == (12, ("ab", "a[MASK]"))
    assert backbone.forbidden == [0, 1, 2, 3, 4, 5, 9, 25, 26, 27]


@pytest.mark.parametrize(
    ("content", "pattern"),
    [
        ("[1]", "must hold a JSON object, and holds a list"),
        ('{"lenght": 3}', "unknown key 'lenght'. Did you mean 'length'"),
        ('{"length": 0}', "length is 0, but must be a whole number of tokens, at least 1"),
        ('{"length": true}', "length is True"),
        ('{"samples": "ab"}', "samples is 'ab', but must be a list of texts"),
        ('{"forbidden": [1.5]}', r"forbidden is \[1\.5\], but must be a list of token ids"),
        ('{"forbidden": [28]}', "forbidden id 28 is outside"),
    ],
)
def test_a_bad_manifest_names_the_key(content: str, pattern: str, build: Callable[..., Path]) -> None:
    folder = build("bert")
    (folder / "mdmkit.json").write_text(content)
    with pytest.raises(MdmkitError, match=pattern):
        TextBackbone.load(str(folder))
