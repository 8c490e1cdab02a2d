"""One prompt as the model has it, so that it is encoded only once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mdmkit.canvas.prompt import Prompt
from mdmkit.errors import MdmkitError
from mdmkit.loop.asking import Asking
from mdmkit.loop.guard import named

if TYPE_CHECKING:
    from mdmkit.canvas.canvas import Canvas
    from mdmkit.loop.sampler import Sampler
    from mdmkit.model.backbone import Backbone
    from mdmkit.settings.plan import Plan


@dataclass(frozen=True)
class Encoded:
    """One prompt after `Backbone.encode`, so that it is encoded only once.

    Attributes:
        canvas: [1, T], on the host.
        conditioning: what `forward` needs beside the canvas, for this row.
        tokens: int64 [1, T]; a copy of the tokens of `canvas`, which no part can reach.
    """

    prompt: Prompt
    canvas: Canvas
    conditioning: Any
    tokens: Tensor

    @classmethod
    def of(cls, prompt: Prompt, backbone: Backbone, plan: Plan) -> Encoded:
        """Encode one prompt.

        Raises:
            MdmkitError: it is no `Prompt`, or it cannot be encoded.
        """
        if not isinstance(prompt, Prompt):
            raise MdmkitError(
                f"the engine takes a prompt, not {prompt!r}: wrap a text as mdmkit.Prompt(text=…) and token ids as "
                "mdmkit.Prompt(ids=…), or read prompts of any form with mdmkit.read_prompts."
            )
        with Asking(backbone, "encode"):
            canvas, conditioning = backbone.encode([prompt], plan)
        canvas = canvas.to("cpu")
        return cls(prompt, canvas, conditioning, canvas.tokens.clone())

    def kept_in(self, canvas: Canvas) -> bool:
        """Whether the row's canvas [1, T'] still holds every prompt token."""
        fixed = self.canvas.fixed
        return torch.equal(canvas.tokens[:, : self.columns][fixed], self.tokens[fixed])

    @property
    def columns(self) -> int:
        return self.canvas.tokens.shape[1]


def overwritten(sampler: Sampler, prompt: Prompt) -> MdmkitError:
    """The error of a row in which a prompt token has changed."""
    parts = ", ".join(named(sampler, kind) for kind in sampler.stages())
    return MdmkitError(
        f"prompt {prompt.index}: its own tokens have changed, so a part has written into one of its arguments, "
        f"such as step.canvas.tokens. Parts must work on copies. These were at work: {parts}; the contract suites of "
        "mdmkit.testing tell which of them does it."
    )
