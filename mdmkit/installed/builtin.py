"""The parts of the core, registered as a plugin registers its parts."""

from __future__ import annotations

from mdmkit.installed.hookspecs import Component, hookimpl


@hookimpl
def mdmkit_commit() -> list[Component]:
    return [Component("write", "mdmkit.stage.write:Write", "write the chosen tokens; what is written stays")]


@hookimpl
def mdmkit_observer() -> list[Component]:
    return [Component("stream", "mdmkit.watch.text_stream:TextStream", "print the text as soon as it is final")]


@hookimpl
def mdmkit_engine() -> list[Component]:
    return [Component("here", "mdmkit.decoding.engine:Here", "decode one unit after the other in this process")]


@hookimpl
def mdmkit_command() -> list[Component]:
    return [
        Component("decode", "mdmkit.cli.decode:decode", "fill prompts with a sampler and a model"),
        Component("chat", "mdmkit.cli.chat:chat", "talk with a model in the terminal"),
        Component("join", "mdmkit.cli.join:join", "join the outputs of `decode --shard` into one"),
        Component("trace", "mdmkit.cli.trace:trace", "show traces step by step, in a page for the browser"),
        Component("plugins", "mdmkit.cli.plugins:plugins", "list what is installed, and what is broken"),
        Component("samplers", "mdmkit.cli.samplers:samplers", "list the presets, their needs, and when to use them"),
        Component("show", "mdmkit.cli.show:show", "print a sampler's whole configuration"),
        Component("bench", "mdmkit.cli.bench:bench", "measure what a model costs here: time, forwards, memory"),
        Component("check", "mdmkit.cli.check:check", "try every installed part, and a model"),
    ]
