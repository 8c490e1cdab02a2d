"""One prompt as the model has it, so that it is encoded only once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mdmkit.canvas.prompt import Prompt
from mdmkit.errors import MdmkitError
from mdmkit.loop.asking import Asking

if TYPE_CHECKING:
    from mdmkit.canvas.canvas import Canvas
    from mdmkit.model.backbone import Backbone
    from mdmkit.settings.plan import Plan


@dataclass(frozen=True)
class Encoded:
    """One prompt after `Backbone.encode`, so that it is encoded only once.

    Attributes:
        canvas: [1, T], on the host.
        conditioning: what `forward` needs beside the canvas, for this row.
    """

    prompt: Prompt
    canvas: Canvas
    conditioning: Any

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
        return cls(prompt, canvas.to("cpu"), conditioning)

    @property
    def columns(self) -> int:
        return self.canvas.tokens.shape[1]
