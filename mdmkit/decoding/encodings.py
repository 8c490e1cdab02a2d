"""Each prompt is encoded once: what came of it is kept until its unit has ended."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from mdmkit.loop.encoded import Encoded

if TYPE_CHECKING:
    from mdmkit.canvas.canvas import Canvas
    from mdmkit.canvas.prompt import Prompt
    from mdmkit.model.backbone import Backbone
    from mdmkit.settings.plan import Plan

# A conditioning may be on the model's device, as text embeddings of an image model are. That of thousands of prompts
# would fill it, so no more than this number are kept; of a further prompt only the size is, and its unit encodes it
# again.
CONDITIONED = 256


class Size(NamedTuple):
    """How long a prompt is, in tokens: all of its row, and the masks in it; and whether it holds these itself."""

    length: int
    masks: int
    infill: bool


class Encodings:
    """Encode prompts, and keep the result of each by the prompt's index; canvases are on the host.

    Attributes:
        infills: how many of the prompts whose size was asked hold their masks themselves.
    """

    def __init__(self, backbone: Backbone, plan: Plan):
        self.backbone, self.plan = backbone, plan
        self._kept: dict[int, Encoded] = {}
        self._sizes: dict[int, Size] = {}
        self._conditioned: set[int] = set()  # those kept that have a conditioning
        self.infills = 0

    def of(self, prompt: Prompt) -> Encoded:
        """Return the prompt as the model has it.

        Raises:
            MdmkitError: it cannot be encoded.
        """
        known = self._kept.get(prompt.index)
        return known if known is not None else self._encode(prompt)

    def canvas(self, prompt: Prompt) -> Canvas | None:
        """Return the prompt's canvas [1, T], if it is kept."""
        known = self._kept.get(prompt.index)
        return None if known is None else known.canvas

    def size(self, prompt: Prompt) -> Size:
        """Return the prompt's size; it is encoded where that is not known.

        Raises:
            MdmkitError: it cannot be encoded.
        """
        if prompt.index not in self._sizes:
            self._encode(prompt)
            self.infills += self._sizes[prompt.index].infill
        return self._sizes[prompt.index]

    def forget(self, prompts: Iterable[Prompt]) -> None:
        """Drop the encodings of prompts whose rows have ended."""
        for prompt in prompts:
            self._kept.pop(prompt.index, None)
            self._sizes.pop(prompt.index, None)
            self._conditioned.discard(prompt.index)

    def _encode(self, prompt: Prompt) -> Encoded:
        encoded = Encoded.of(prompt, self.backbone, self.plan)
        self._sizes[prompt.index] = Size(
            encoded.columns, int(encoded.canvas.open.sum()), bool(encoded.canvas.infill.all())
        )
        if encoded.conditioning is None or len(self._conditioned) < CONDITIONED:
            self._kept[prompt.index] = encoded
            if encoded.conditioning is not None:
                self._conditioned.add(prompt.index)
        return encoded
