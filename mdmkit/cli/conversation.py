"""A conversation with a model: its messages, the sampler that answers, and the commands that change them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdmkit.config.layers import config_layer
from mdmkit.config.resolution import STAGES
from mdmkit.errors import MdmkitError, unknown
from mdmkit.installed import registry

if TYPE_CHECKING:
    from mdmkit.canvas.prompt import Prompt
    from mdmkit.canvas.row import Row
    from mdmkit.decoding.encodings import Encodings
    from mdmkit.loop.observe import Observer
    from mdmkit.loop.sampler import Sampler
    from mdmkit.model.backbone import Backbone

DEFAULT_LENGTH = 128


@dataclass(frozen=True)
class Recipe:
    """The arguments that a sampler is composed from, so that one of them can be changed."""

    preset: str | None
    config: Path | Mapping[str, Any] | None = None
    overrides: tuple[str, ...] = ()

    def compose(self) -> Sampler:
        from mdmkit.config.compose import compose

        return compose(self.preset, config=self.config, overrides=self.overrides)

    def named(self, preset: str) -> Recipe:
        """Use another preset. Settings of plan, draw and the like are kept; settings of stages are dropped."""
        layer = config_layer(self.config)[1]
        config = {key: value for key, value in layer.items() if key not in (*STAGES, "sampler", "parts")}
        return Recipe(preset, config, tuple(pair for pair in self.overrides if _key(pair) not in STAGES))


def _key(pair: str) -> str:
    return pair.partition("=")[0].partition(".")[0].strip()


@dataclass
class Conversation:
    """Messages, and the sampler and model that answer them. A question without an answer is not kept."""

    backbone: Backbone
    recipe: Recipe
    sampler: Sampler
    system: str | None = None
    chat_options: Mapping[str, Any] | None = None
    messages: tuple[tuple[str, str], ...] = ()
    asked: int = 0

    def __post_init__(self) -> None:
        self._try(self.system)

    def ask(self, text: str, observers: Iterable[Observer] = ()) -> Row:
        """Decode the answer to a message. The n-th question has the random numbers of row n of a run.

        Raises:
            MdmkitError: the conversation cannot be encoded, or the decode fails.
        """
        from mdmkit.decoding.run import decode_batches

        prompt = self._prompt((*self.messages, ("user", text)))
        encodings = self._check(prompt)
        self.asked += 1
        done = decode_batches(self.sampler, self.backbone, [prompt], observers=observers, encodings=encodings)
        (row,) = [row for rows, _ in done for row in rows]
        self.messages = (*(prompt.messages or ()), ("assistant", str(row.text)))
        return row

    @property
    def length(self) -> int:
        """Masks of an answer: the plan's number, else the model's, else 128."""
        return self.sampler.plan.length or self.backbone.length or DEFAULT_LENGTH

    def _prompt(self, messages: tuple[tuple[str, str], ...], **changes: Any) -> Prompt:
        from mdmkit.canvas.prompt import Prompt
        from mdmkit.noise import row_seed

        told: dict[str, Any] = {
            "text": messages[-1][1],
            "messages": messages,
            "system": self.system,
            "chat_options": self.chat_options or None,
            "seed": row_seed(self.sampler.seed, self.asked),
            "length": self.length,
            "infill": False,  # masks that a person types in a conversation are not filled
            "index": self.asked,
        }
        return Prompt(**told | changes)

    def _try(self, system: str | None) -> None:
        """Encode a very short prompt, so that a model without a template is refused before anything is typed."""
        self.backbone.encode([self._prompt((("user", ""),), system=system, length=1)], self.sampler.plan)

    def _check(self, prompt: Prompt) -> Encodings:
        """Encode a prompt. If it is too long only because of earlier turns, the error says how to forget them."""
        from mdmkit.decoding.encodings import Encodings

        encodings = Encodings(self.backbone, self.sampler.plan)
        try:
            encodings.of(prompt)
        except MdmkitError as error:
            alone = self._prompt((prompt.messages or ())[-1:])
            try:
                self.backbone.encode([alone], self.sampler.plan)
            except MdmkitError:
                raise error from None
            raise MdmkitError(
                f"{error} It fits without the earlier turns: /clear forgets all of them, /undo the last one."
            ) from error
        return encodings

    # -- commands ----------------------------------------------------------------------------------------------------

    def obey(self, line: str) -> str:
        """Carry out a line such as `/set draw.temperature=0.5`; return what to tell the user.

        Raises:
            MdmkitError: there is no such command, or it cannot be done. Then nothing has changed.
        """
        name, _, rest = line.removeprefix("/").partition(" ")
        if name not in COMMANDS:
            raise MdmkitError(unknown("command", f"/{name}", [f"/{known}" for known in COMMANDS]))
        return COMMANDS[name].run(self, rest.strip())

    def _sampler(self, name: str) -> str:
        if not name:
            known = ", ".join(sorted({part.name for part in registry.default().of_kind("sampler")}))
            return f"The sampler is {self.sampler.name}. Installed: {known}."
        self._change(self.recipe.named(name))
        return f"The sampler is {self.sampler.name}."

    def _set(self, pair: str) -> str:
        if not pair:
            raise MdmkitError("write it as /set KEY=VALUE, e.g. /set draw.temperature=0.5 or /set plan.length=64.")
        self._change(replace(self.recipe, overrides=(*self.recipe.overrides, pair)))
        return f"{pair} is set."

    def _change(self, recipe: Recipe) -> None:
        sampler = recipe.compose()
        self.sampler, self.recipe = sampler, recipe

    def _system(self, text: str) -> str:
        self._try(text or None)
        self.system = text or None
        return "The system message is set." if text else "There is no system message."

    def _clear(self, rest: str) -> str:
        self.messages = ()
        return "The conversation begins anew."

    def _undo(self, rest: str) -> str:
        if not self.messages:
            raise MdmkitError("nothing was said yet.")
        self.messages = self.messages[:-2]
        return f"The last turn is forgotten; {len(self.messages) // 2} are left."

    def _help(self, rest: str) -> str:
        width = max(len(command.usage) for command in COMMANDS.values())
        return "\n".join(f"{command.usage:{width}}  {command.summary}" for command in COMMANDS.values())

    def _quit(self, rest: str) -> str:
        raise EOFError


@dataclass(frozen=True)
class Command:
    usage: str
    summary: str
    run: Callable[[Conversation, str], str]


COMMANDS = {
    command.usage.split()[0].removeprefix("/"): command
    for command in (
        Command("/sampler NAME", "let another sampler answer; without a name, list them", Conversation._sampler),
        Command("/set KEY=VALUE", "change one key of its configuration, e.g. plan.length=64", Conversation._set),
        Command("/system TEXT", "set the system message; without a text, have none", Conversation._system),
        Command("/undo", "forget the last question and its answer", Conversation._undo),
        Command("/clear", "forget the conversation", Conversation._clear),
        Command("/help", "show this", Conversation._help),
        Command("/quit", "end, as Ctrl-D does; Ctrl-C stops an answer", Conversation._quit),
    )
}
