"""The parts of this distribution. Imports neither torch nor transformers."""

from __future__ import annotations

from mdmkit import Component, hookimpl


@hookimpl
def mdmkit_backbone() -> list[Component]:
    return [
        Component(
            "text",
            "mdmkit_text.backbone:TextBackbone",
            "LLaDA, Dream, masked language models, bidirectional decoders: a directory or a hub id, safetensors only",
        )
    ]
