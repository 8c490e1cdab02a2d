"""The public names for plugins that bring a command: `mdmkit`'s own commands use them too.

    from mdmkit.cli.commands import composing, limit_threads, write_json

Everything else that a plugin needs is in `mdmkit` itself. Importing this module imports no torch: each name is fetched
when it is first asked for. Only `as_engine`, `decode_batches`, `is_remote` and `opened` import torch: import them
inside the command's function.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mdmkit.cli.contents import contents
    from mdmkit.cli.live import LiveView
    from mdmkit.cli.locking import held
    from mdmkit.cli.matching import check_belongs, stop_rule
    from mdmkit.cli.options import (
        batch_option,
        composing,
        computing,
        engine_option,
        loading,
        names,
        names_sampler,
        pairs,
        plugin_option,
    )
    from mdmkit.cli.output import RowFile, has_begun, record_of, write_json, write_text, write_whole
    from mdmkit.cli.recorded import is_record, read_record, require_contents
    from mdmkit.cli.requests import check_prompts
    from mdmkit.cli.resuming import Slots, differences, write_record
    from mdmkit.cli.rows import is_cost, is_count, is_number, is_result, read_row
    from mdmkit.cli.run import limit_threads, watching
    from mdmkit.cli.saying import say, styled
    from mdmkit.cli.target import Target
    from mdmkit.config.facts import facts
    from mdmkit.config.layers import config_layer, read_yaml
    from mdmkit.config.resolution import DEFAULT_MODEL, DEFAULT_SAMPLER, resolve
    from mdmkit.decoding.batch import chosen_batch
    from mdmkit.decoding.engine import as_engine, is_remote, opened
    from mdmkit.decoding.run import decode_batches
    from mdmkit.from_json import from_json
    from mdmkit.installed.registry import default as default_registry
    from mdmkit.model.peak import Peak
    from mdmkit.task import make_task, read_verdict, without_reference
    from mdmkit.terminal import to_json, visible
    from mdmkit.whole_file import read_whole


__all__ = [
    "DEFAULT_MODEL",
    "DEFAULT_SAMPLER",
    "LiveView",
    "Peak",
    "RowFile",
    "Slots",
    "Target",
    "as_engine",
    "batch_option",
    "check_belongs",
    "check_prompts",
    "chosen_batch",
    "composing",
    "computing",
    "config_layer",
    "contents",
    "decode_batches",
    "default_registry",
    "differences",
    "engine_option",
    "facts",
    "from_json",
    "has_begun",
    "held",
    "is_cost",
    "is_count",
    "is_number",
    "is_record",
    "is_remote",
    "is_result",
    "limit_threads",
    "loading",
    "make_task",
    "names",
    "names_sampler",
    "opened",
    "pairs",
    "plugin_option",
    "read_record",
    "read_row",
    "read_verdict",
    "read_whole",
    "read_yaml",
    "record_of",
    "require_contents",
    "resolve",
    "say",
    "stop_rule",
    "styled",
    "to_json",
    "visible",
    "watching",
    "without_reference",
    "write_json",
    "write_record",
    "write_text",
    "write_whole",
]

_HOME = {
    "DEFAULT_MODEL": "config.resolution:DEFAULT_MODEL",
    "DEFAULT_SAMPLER": "config.resolution:DEFAULT_SAMPLER",
    "LiveView": "cli.live:LiveView",
    "Peak": "model.peak:Peak",
    "RowFile": "cli.output:RowFile",
    "Slots": "cli.resuming:Slots",
    "Target": "cli.target:Target",
    "as_engine": "decoding.engine:as_engine",
    "batch_option": "cli.options:batch_option",
    "check_belongs": "cli.matching:check_belongs",
    "check_prompts": "cli.requests:check_prompts",
    "chosen_batch": "decoding.batch:chosen_batch",
    "composing": "cli.options:composing",
    "computing": "cli.options:computing",
    "config_layer": "config.layers:config_layer",
    "contents": "cli.contents:contents",
    "decode_batches": "decoding.run:decode_batches",
    "default_registry": "installed.registry:default",
    "differences": "cli.resuming:differences",
    "engine_option": "cli.options:engine_option",
    "facts": "config.facts:facts",
    "from_json": "from_json:from_json",
    "has_begun": "cli.output:has_begun",
    "held": "cli.locking:held",
    "is_cost": "cli.rows:is_cost",
    "is_count": "cli.rows:is_count",
    "is_number": "cli.rows:is_number",
    "is_record": "cli.recorded:is_record",
    "is_remote": "decoding.engine:is_remote",
    "is_result": "cli.rows:is_result",
    "limit_threads": "cli.run:limit_threads",
    "loading": "cli.options:loading",
    "make_task": "task:make_task",
    "names": "cli.options:names",
    "names_sampler": "cli.options:names_sampler",
    "opened": "decoding.engine:opened",
    "pairs": "cli.options:pairs",
    "plugin_option": "cli.options:plugin_option",
    "read_record": "cli.recorded:read_record",
    "read_row": "cli.rows:read_row",
    "read_verdict": "task:read_verdict",
    "read_whole": "whole_file:read_whole",
    "read_yaml": "config.layers:read_yaml",
    "record_of": "cli.output:record_of",
    "require_contents": "cli.recorded:require_contents",
    "resolve": "config.resolution:resolve",
    "say": "cli.saying:say",
    "stop_rule": "cli.matching:stop_rule",
    "styled": "cli.saying:styled",
    "to_json": "terminal:to_json",
    "visible": "terminal:visible",
    "watching": "cli.run:watching",
    "without_reference": "task:without_reference",
    "write_json": "cli.output:write_json",
    "write_record": "cli.resuming:write_record",
    "write_text": "cli.output:write_text",
    "write_whole": "cli.output:write_whole",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _HOME[name].partition(":")
    value = getattr(importlib.import_module(f"mdmkit.{module}"), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
