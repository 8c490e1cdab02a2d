"""The parts of this distribution. Imports neither torch nor diffusers."""

from __future__ import annotations

from mdmkit import Component, hookimpl


@hookimpl
def mdmkit_backbone() -> list[Component]:
    return [
        Component("amused", "mdmkit_image.amused:Amused", "aMUSEd: text to image, a diffusers directory or a hub id"),
        Component("lumina_dimoo", "mdmkit_image.llada:LuminaDimoo", "Lumina-DiMOO: text to image, LLaDA's trunk"),
        Component("mmada", "mdmkit_image.llada:Mmada", "MMaDA: text to image, LLaDA's trunk and MAGVIT-v2"),
        Component(
            "maskgit", "mdmkit_image.maskgit:MaskGit", "class to image, a diffusers directory in aMUSEd's layout"
        ),
    ]


@hookimpl
def mdmkit_score() -> list[Component]:
    return [
        Component("halton", "mdmkit_image.scores:Halton", "a fixed order that spreads over the grid"),
        Component("maskgit", "mdmkit_image.scores:MaskGit", "log-probability with Gumbel noise that fades"),
    ]


@hookimpl
def mdmkit_sampler() -> list[Component]:
    return [
        Component("halton", "mdmkit_image:presets/halton.yaml", "cells in an order that spreads over the grid"),
        Component("maskgit", "mdmkit_image:presets/maskgit.yaml", "MaskGIT: confident cells first, with fading noise"),
        Component("amused", "mdmkit_image:presets/amused.yaml", "aMUSEd's decoder: MaskGIT's under guidance"),
    ]


@hookimpl
def mdmkit_command() -> list[Component]:
    return [Component("image", "mdmkit_image.command:image", "draw images for a benchmark's own judge")]
