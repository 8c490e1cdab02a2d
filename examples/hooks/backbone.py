"""A backbone without weights: it knows the alphabet, and believes that texts follow it."""

from __future__ import annotations

import torch

from mdmkit import Backbone, Component, MdmkitError, Output, hookimpl, lay_out

LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Alphabet(Backbone):
    """Letters stand in alphabetical order: near-certain beside a known letter, vaguer further away."""

    vocab, mask_id = 27, 26  # 26 letters and the mask, written `_`
    length = 6
    samples = ("a", "x_____", "__d___k__")

    @classmethod
    def accepts(cls, ref):
        return ref == "alphabet"

    @classmethod
    def load(cls, ref, *, device, dtype):
        return cls()

    def encode(self, prompts, plan):
        heads = [self._ids(p) for p in prompts]
        canvas = lay_out(
            prompts,
            before=heads,
            after=[()] * len(heads),
            mask_id=self.mask_id,
            pad_id=self.mask_id,
            vocab=self.vocab,
            plan_length=plan.length,
            default_length=self.length,
        )
        return canvas, None

    def forward(self, tokens, valid, conditioning, *, positions, cache=None, **more):
        known = valid & (tokens != self.mask_id)  # [M, L]
        left = self._from_left(tokens, known, step=1)
        right = self._from_left(tokens.flip(1), known.flip(1), step=-1).flip(1)
        return Output(left + right)  # [M, L, D = V]

    def _from_left(self, tokens, known, step):
        """What the nearest known letter on the left says about each position; nothing where there is none."""
        column = torch.arange(tokens.shape[1]).expand_as(tokens)
        last = torch.where(known, column, -1).cummax(1).values
        distance = column - last
        expected = (tokens.gather(1, last.clamp_min(0)) + step * distance) % 26
        strength = torch.where(last >= 0, 8.0 / distance.clamp_min(1), 0.0)
        return torch.nn.functional.one_hot(expected, self.vocab) * strength[..., None]

    def project(self, hidden):
        return hidden

    def decode(self, canvas):
        return ["".join(map(self.render, row[keep])) for row, keep in zip(canvas.tokens, canvas.shown, strict=True)]

    def render(self, token):
        return (LETTERS + "_")[token]

    def _ids(self, prompt):
        if prompt.ids is not None:
            return prompt.ids
        strange = set(prompt.text) - set(LETTERS + "_")
        if strange:
            raise MdmkitError(f"prompt {prompt.index}: {min(strange)!r} is not a letter from a to z, nor `_`.")
        return [(LETTERS + "_").index(c) for c in prompt.text]


@hookimpl
def mdmkit_backbone():
    return [Component("alphabet", Alphabet, "letters in alphabetical order")]
