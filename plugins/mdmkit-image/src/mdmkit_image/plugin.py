"""What this distribution registers. Imports neither torch nor diffusers."""

from __future__ import annotations

from mdmkit.hookspecs import Component, hookimpl


@hookimpl
def mdmkit_backbone() -> list[Component]:
    return [
        Component("amused", "mdmkit_image.amused:Amused", "aMUSEd: text to image, a diffusers directory or a hub id"),
        Component(
            "maskgit", "mdmkit_image.maskgit:MaskGit", "class to image, a diffusers directory in aMUSEd's layout"
        ),
    ]
