"""The contract of a backbone: what the loop relies on, checked on a float32 model and the author's own prompts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import torch
from torch import Tensor

from mdmkit.canvas.canvas import Canvas
from mdmkit.canvas.prompt import Prompt
from mdmkit.decoding.prompts import read_prompts
from mdmkit.errors import MdmkitError
from mdmkit.loop.sampler import Sampler
from mdmkit.loop.whole import fill_canvas
from mdmkit.model.cache import CACHES
from mdmkit.settings.plan import Plan
from mdmkit.testing.contract import Contract
from mdmkit.testing.reference import ByConfidence, TakeQuota

if TYPE_CHECKING:
    from mdmkit.model.backbone import Backbone


class BackboneContract(Contract):
    """Give `prompts` (two at least, of different lengths) and a fixture `backbone` that returns the model in float32.

    `plan` is encoded and decoded with; keep it short. `tolerance` bounds what padding and neighbours may change in the
    logits, absolutely and relatively: float32 rounding, which grows with depth and with the size of the logits.
    """

    tolerance: ClassVar[float] = 1e-5
    prompts: ClassVar[Any] = ()
    plan: ClassVar[Plan] = Plan(length=6, tokens_per_step=3)

    @pytest.fixture
    def backbone(self) -> Backbone:
        raise TypeError(f"{type(self).__name__}: define a fixture `backbone` that returns the model")

    def _encode(self, backbone: Backbone) -> tuple[list[Prompt], Canvas, Any]:
        prompts = read_prompts(self.prompts, seed=0)
        assert len(prompts) >= 2, f"{type(self).__name__}: give at least two `prompts`"
        canvas, conditioning = backbone.encode(prompts, self.plan)
        return prompts, canvas.to(backbone.device), conditioning

    def test_ids_and_caches_are_known(self, backbone: Backbone) -> None:
        assert 0 <= backbone.mask_id < backbone.vocab, f"mask id {backbone.mask_id} is outside the {backbone.vocab} ids"
        assert all(0 <= i < backbone.vocab for i in backbone.forbidden), "a forbidden id is outside the vocabulary"
        free = set(range(backbone.vocab)) - {backbone.mask_id, *backbone.forbidden}
        assert free, "every id is forbidden"
        assert "none" in backbone.caches, "every backbone supports cache 'none'"
        assert set(backbone.caches) <= set(CACHES), (
            f"caches {sorted(backbone.caches)}, but mdmkit knows {sorted(CACHES)}"
        )
        assert backbone.attention in ("full", "block"), f"attention is 'full' or 'block', not {backbone.attention!r}"

    def test_encode_lays_prompts_out(self, backbone: Backbone) -> None:
        prompts, canvas, _ = self._encode(backbone)
        shape = canvas.tokens.shape
        assert shape[0] == len(prompts), "one row per prompt"
        assert canvas.tokens.dtype == torch.int64, "tokens are int64"
        for name in ("editable", "valid"):
            assert getattr(canvas, name).shape == shape, f"{name} is [B, T]"
            assert getattr(canvas, name).dtype == torch.bool, f"{name} is bool"
        assert (canvas.valid[:, 1:] | ~canvas.valid[:, :-1]).all(), "padding is on the left only"
        assert not (canvas.editable & ~canvas.valid).any(), "padding is editable"
        assert ((canvas.tokens >= 0) & (canvas.tokens < backbone.vocab)).all(), "a token is outside the vocabulary"
        assert canvas.seed.tolist() == [prompt.seed for prompt in prompts], "each row carries its prompt's seed"
        assert canvas.mask_id == backbone.mask_id, "canvas and backbone agree on the mask"
        assert canvas.masked.any(1).all(), "every prompt leaves something to fill"
        assert canvas.grid is not None or not canvas.valid.all(), (
            "give prompts of different lengths, or padding stays untested"
        )

    def test_shapes_of_hidden_and_logits(self, backbone: Backbone) -> None:
        _, canvas, conditioning = self._encode(backbone)
        hidden = _hidden(backbone, canvas, conditioning)
        assert hidden.shape[:2] == canvas.tokens.shape, "hidden is [M, L, D]"
        assert hidden.dim() == 3, "hidden is [M, L, D]"
        assert hidden.is_floating_point(), "hidden is floating point"
        for part in (hidden, hidden[0], hidden[:, -1]):
            assert backbone.project(part).shape == (*part.shape[:-1], backbone.vocab), "logits are [..., V]"

    def test_head_works_on_single_positions(self, backbone: Backbone) -> None:
        _, canvas, conditioning = self._encode(backbone)
        hidden = _hidden(backbone, canvas, conditioning)
        with torch.inference_mode():
            whole, last = backbone.project(hidden), backbone.project(hidden[-1:, -1])
        _close(last, whole[-1:, -1], "the head read at one position", self.tolerance)

    def test_each_row_alone_is_as_in_the_padded_batch(self, backbone: Backbone) -> None:
        prompts, canvas, conditioning = self._encode(backbone)
        together = _logits(backbone, canvas, conditioning)
        for row, prompt in enumerate(prompts):
            alone, own = backbone.encode([prompt], self.plan)
            alone = alone.to(backbone.device)
            logits = _logits(backbone, alone, own)[0][alone.valid[0]]
            _close(logits, together[row][canvas.valid[row]], f"prompt {row} alone", self.tolerance)

    def test_order_of_rows_does_not_matter(self, backbone: Backbone) -> None:
        _, canvas, conditioning = self._encode(backbone)
        order = torch.arange(len(canvas.tokens), device=canvas.tokens.device).flip(0)
        turned = _take(canvas, order)
        logits = _logits(backbone, turned, backbone.select(conditioning, order))
        together = _logits(backbone, canvas, conditioning)[order]
        _close(logits[turned.valid], together[turned.valid], "reversed rows", self.tolerance)

    def test_padding_is_never_read(self, backbone: Backbone) -> None:
        _, canvas, conditioning = self._encode(backbone)
        other = canvas.tokens.roll(1, 0).roll(1, 1) % backbone.vocab
        junk = canvas.with_tokens(torch.where(canvas.valid, canvas.tokens, other))
        logits, expected = _logits(backbone, junk, conditioning), _logits(backbone, canvas, conditioning)
        _close(logits[canvas.valid], expected[canvas.valid], "other tokens in the padding", self.tolerance)

    def test_a_position_sees_the_token_that_follows_it(self, backbone: Backbone) -> None:
        _, canvas, conditioning = self._encode(backbone)
        pairs = canvas.masked[:, :-1] & canvas.masked[:, 1:]
        assert pairs.any(), "give a prompt with two neighbouring masks"
        row, column = pairs.nonzero()[0].tolist()
        before = _logits(backbone, canvas, conditioning)[row, column]
        tried = [i for i in range(backbone.vocab) if i not in {backbone.mask_id, *backbone.forbidden}][:8]
        after = []
        for token in tried:
            tokens = canvas.tokens.clone()
            tokens[row, column + 1] = token
            after.append(_logits(backbone, canvas.with_tokens(tokens), conditioning)[row, column])
        moved = max(float((logits - before).abs().max()) for logits in after)
        assert moved > 10 * self.tolerance, "logits ignore the token to the right: is the model run with a causal mask?"

    def test_decodes_to_the_end_and_says_one_thing_per_row(self, backbone: Backbone) -> None:
        prompts, canvas, conditioning = self._encode(backbone)
        sampler = Sampler(ByConfidence(), TakeQuota(), plan=self.plan)
        filled, trace = fill_canvas(sampler, backbone, canvas, conditioning)
        assert not filled.masked.any(), "masks survive"
        assert torch.equal(filled.tokens[~canvas.editable], canvas.tokens[~canvas.editable]), "given tokens changed"
        never = torch.tensor(sorted({backbone.mask_id, *backbone.forbidden}), device=filled.tokens.device)
        assert not torch.isin(filled.tokens[canvas.masked], never).any(), "a forbidden token was written"
        assert len(backbone.decode(filled)) == len(prompts), "decode returns one item per row"
        assert int(trace.rows.sum()) > 0, "forwards are counted"

    def test_ids_outside_the_vocabulary_are_refused(self, backbone: Backbone) -> None:
        for token in (backbone.vocab, -1):
            with pytest.raises(MdmkitError, match=str(token)):
                backbone.encode([Prompt(ids=(token,), length=2)], replace(self.plan, length=2))

    def test_samples_can_be_encoded_and_tokens_shown(self, backbone: Backbone) -> None:
        if backbone.samples:
            canvas, _ = backbone.encode(read_prompts(list(backbone.samples), seed=0), self.plan)
            assert canvas.masked.any(1).all(), "a sample prompt leaves nothing to fill"
        for token in {0, backbone.mask_id, backbone.vocab - 1}:
            assert isinstance(backbone.render(token), str), f"render({token}) is not a text"


def _hidden(backbone: Backbone, canvas: Canvas, conditioning: Any) -> Tensor:
    with torch.inference_mode():
        return backbone.forward(canvas.tokens, canvas.valid, conditioning, positions=canvas.positions)


def _logits(backbone: Backbone, canvas: Canvas, conditioning: Any) -> Tensor:
    with torch.inference_mode():
        return backbone.project(_hidden(backbone, canvas, conditioning))


def _take(canvas: Canvas, rows: Tensor) -> Canvas:
    parts = {name: getattr(canvas, name)[rows] for name in ("tokens", "editable", "valid", "seed", "infill")}
    return replace(canvas, **parts)


def _close(got: Tensor, expected: Tensor, what: str, tolerance: float) -> None:
    torch.testing.assert_close(
        got, expected, rtol=tolerance, atol=tolerance, msg=lambda m: f"{what}: logits differ. {m}"
    )
