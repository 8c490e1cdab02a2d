"""The entry point lists the backbone at no cost."""

from __future__ import annotations

import subprocess
import sys

from mdmkit_text.plugin import mdmkit_backbone


def test_the_backbone_is_registered_as_text() -> None:
    (component,) = mdmkit_backbone()
    assert (component.name, component.target) == ("text", "mdmkit_text.backbone:TextBackbone")


def test_listing_imports_neither_torch_nor_transformers() -> None:
    code = "import sys, mdmkit_text.plugin as p; p.mdmkit_backbone(); print({'torch', 'transformers'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
