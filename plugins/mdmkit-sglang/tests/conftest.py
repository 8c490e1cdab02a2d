"""SGLang's own algorithms from its wheel, without the rest of SGLang.

`make test-sglang` installs the wheel into `.venv-extras/sglang`. Modules that would need a GPU are stubs.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from families import load

sys.path.insert(0, str(Path(__file__).parent))  # modules that these tests share

ROOT = Path(__file__).resolve().parents[3]
WHEEL = Path(os.environ.get("SGLANG_WHEEL", ROOT / ".venv-extras" / "sglang"))


class Finish:
    """In place of SGLang's FINISH_ABORT."""

    def __init__(self, message: str, status_code: int, err_type: str):
        self.message, self.status_code, self.err_type = message, status_code, err_type


NOT_SET = SimpleNamespace(get=lambda: None)
# What SGLang's own files import, and cannot be had without a GPU: module -> names.
STUBS: dict[str, dict[str, Any]] = {
    "arg_groups.overrides": {"resolving_view": lambda args: args},
    "configs.model_config": {"ModelConfig": SimpleNamespace(from_server_args=lambda args, **more: args.model)},
    "environ": {"envs": SimpleNamespace(SGLANG_PLUGINS=NOT_SET, SGLANG_PLATFORM=NOT_SET)},
    "layers.logits_processor": {"LogitsProcessorOutput": object},
    "managers.schedule_batch": {"FINISH_ABORT": Finish},
    "model_executor.forward_batch_info": {"ForwardBatch": object},
    "model_executor.model_runner": {"ModelRunner": object},
    "server_args": {"ServerArgs": object},
    "utils": {"is_npu": lambda: False},
}


def is_ours(name: str) -> bool:
    return name.split(".")[0] == "sglang" or name == "mdmkit_sglang.algorithm"


@pytest.fixture(scope="session")
def sglang() -> Any:
    """The package `sglang.srt.dllm.algorithm` of the wheel, with the algorithm `Mdmkit` registered."""
    if not (WHEEL / "sglang" / "srt" / "dllm").is_dir():
        pytest.fail(f"there is no sglang in {WHEEL}: run `make test-sglang`, or set SGLANG_WHEEL to its folder")
    before = {name: module for name, module in sys.modules.items() if is_ours(name)}
    for name in before:
        del sys.modules[name]
    for name in ("", ".srt"):
        package = ModuleType(f"sglang{name}")
        package.__path__ = [str(WHEEL / f"sglang{name}".replace(".", "/"))]
        sys.modules[package.__name__] = package
    for name, content in STUBS.items():
        module = ModuleType(f"sglang.srt.{name}")
        vars(module).update(content)
        sys.modules[module.__name__] = module
    from mdmkit_sglang.register import register

    register()
    yield importlib.import_module("sglang.srt.dllm.algorithm")
    for name in [name for name in sys.modules if is_ours(name)]:
        del sys.modules[name]
    sys.modules.update(before)


@pytest.fixture(scope="session")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The golden checkpoints of the block-causal families, in float64, with blocks of 8."""
    folder = tmp_path_factory.mktemp("models")
    return lambda name: load(name, str(folder))
