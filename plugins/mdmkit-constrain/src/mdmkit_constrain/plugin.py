"""The parts of this distribution."""

from __future__ import annotations

from mdmkit import Component, hookimpl


@hookimpl
def mdmkit_constraint() -> list[Component]:
    return [
        Component("regex", "mdmkit_constrain.regex:Regex", "the answer matches a regular expression"),
        Component("choices", "mdmkit_constrain.choices:Choices", "the answer is one of several texts"),
        Component("by_prompt", "mdmkit_constrain.by_prompt:ByPrompt", "each answer keeps the rule of its own prompt"),
        Component("json_schema", "mdmkit_constrain.json_schema:JsonSchema", "the answer is JSON that fits a schema"),
        Component("grammar", "mdmkit_constrain.grammar:Grammar", "the answer is a text of a grammar, up to a depth"),
        Component("tokens", "mdmkit_constrain.tokens:Tokens", "the answer consists of some tokens only"),
    ]
