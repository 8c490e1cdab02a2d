"""The contract of a backbone: what the loop relies on, checked with a float32 model and prompts of the author."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mdmkit import noise
from mdmkit.canvas.canvas import Canvas, joined
from mdmkit.canvas.prompt import Prompt
from mdmkit.decoding.prompts import read_prompts
from mdmkit.decoding.run import decode_batches
from mdmkit.errors import MdmkitError
from mdmkit.loop.asking import checked
from mdmkit.loop.sampler import Sampler
from mdmkit.loop.whole import fill_canvas
from mdmkit.model.backbone import Output, unwrapped
from mdmkit.model.cache import CACHES
from mdmkit.model.shadow import Shadow
from mdmkit.settings.plan import Plan
from mdmkit.testing.contract import Contract
from mdmkit.testing.reference import ByConfidence, TakeQuota

if TYPE_CHECKING:
    from mdmkit.model.backbone import Backbone


class BackboneContract(Contract):
    """Set `prompts` (at least two, of different lengths) and define a fixture `backbone` with the model in float32.

    `plan` is used to encode and decode; keep it short. `tolerance` is the largest change of the logits, absolute and
    relative, that padding and other rows may cause. It allows for float32 rounding, which grows with the model's depth
    and the size of the logits.
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

    # -- what it says of itself ----------------------------------------------------------------------------------------

    def test_ids_and_caches_are_known(self, backbone: Backbone) -> None:
        mask = backbone.mask_id
        assert mask is None or 0 <= mask < backbone.vocab, f"mask id {mask} is outside the {backbone.vocab} ids"
        assert all(0 <= i < backbone.vocab for i in backbone.forbidden), "a forbidden id is outside the vocabulary"
        assert all(0 <= i < backbone.vocab for i in backbone.ends), "an end token is outside the vocabulary"
        free = set(range(backbone.vocab)) - _never(backbone)
        assert free, "every id is forbidden"
        assert "none" in backbone.caches, "every backbone supports cache 'none'"
        assert set(backbone.caches) <= set(CACHES), (
            f"caches {sorted(backbone.caches)}, but mdmkit knows {sorted(CACHES)}"
        )
        assert backbone.cache in backbone.caches, f"cache 'auto' is {backbone.cache!r}, which is not among its caches"
        assert not CACHES[backbone.cache].approximate, f"cache 'auto' is {backbone.cache!r}, which is not exact"
        assert backbone.attention in ("full", "block"), f"attention is 'full' or 'block', not {backbone.attention!r}"
        kinds = {"row", "column", "key"}
        assert set(backbone.offers.values()) <= kinds, f"the kind of an extra is one of {sorted(kinds)}"

    # -- encoding ------------------------------------------------------------------------------------------------------

    def test_encode_lays_prompts_out(self, backbone: Backbone) -> None:
        prompts, canvas, _ = self._encode(backbone)
        shape = canvas.tokens.shape
        assert shape[0] == len(prompts), "one row per prompt"
        assert canvas.tokens.dtype == torch.int64, "tokens are int64"
        for name in ("open", "editable", "valid", "surplus"):
            assert getattr(canvas, name).shape == shape, f"{name} is [B, T]"
            assert getattr(canvas, name).dtype == torch.bool, f"{name} is bool"
        assert (canvas.valid[:, :-1] | ~canvas.valid[:, 1:]).all(), "padding is on the right only"
        assert canvas.valid[:, 0].all(), "every row begins at column 0"
        assert not (canvas.open & ~canvas.editable).any(), "an open place is not editable"
        assert not (canvas.editable & ~canvas.valid).any(), "padding is editable"
        assert (canvas.tokens[canvas.open] == canvas.blank_id).all(), "something stands at an open place"
        assert ((canvas.tokens >= 0) & (canvas.tokens < backbone.vocab)).all(), "a token is outside the vocabulary"
        assert canvas.seed.tolist() == [prompt.seed for prompt in prompts], "each row carries its prompt's seed"
        assert canvas.mask_id == backbone.mask_id, "canvas and backbone agree on the mask"
        assert canvas.open.any(1).all(), "every prompt leaves something to fill"
        assert canvas.grid is not None or not canvas.valid.all(), (
            "give prompts of different lengths, or padding stays untested"
        )

    def test_prompts_are_joined_as_they_are_encoded_together(self, backbone: Backbone) -> None:
        prompts, canvas, conditioning = self._encode(backbone)
        each = [backbone.encode([prompt], self.plan) for prompt in prompts]
        together = joined([one.to(backbone.device) for one, _ in each]).padded(canvas.tokens.shape[1])
        parts = [_of(backbone, own, [0]) for _, own in each]
        for name in ("open", "editable", "valid", "infill", "seed"):
            assert torch.equal(getattr(together, name), getattr(canvas, name)), f"{name} differs"
        for row in range(len(prompts)):
            for own in (canvas, together):
                assert (own.tokens[row] == canvas.tokens[row])[own.valid[row]].all(), f"tokens of prompt {row} differ"
        expected = _logits(backbone, canvas, conditioning)
        given = None if all(part is None for part in parts) else backbone.join(parts)
        found = _logits(backbone, canvas, given)
        _close(found[canvas.valid], expected[canvas.valid], "conditionings that were joined", self.tolerance)

    def test_ids_outside_the_vocabulary_are_refused(self, backbone: Backbone) -> None:
        for token in (backbone.vocab, -1):
            with pytest.raises(MdmkitError, match=str(token)):
                backbone.encode([Prompt(ids=(token,), length=2)], replace(self.plan, length=2))

    def test_samples_can_be_encoded_and_tokens_shown(self, backbone: Backbone) -> None:
        if backbone.samples:
            canvas, _ = backbone.encode(read_prompts(list(backbone.samples), seed=0), self.plan)
            assert canvas.open.any(1).all(), "a sample prompt leaves nothing to fill"
        for token in {0, backbone.vocab - 1, *_never(backbone)}:
            assert isinstance(backbone.render(token), str), f"render({token}) is not a text"

    def test_texts_of_tokens_join_to_the_text_of_a_row(self, backbone: Backbone) -> None:
        texts = backbone.texts()
        if not texts:
            return
        assert len(texts) == backbone.vocab, f"texts are [V]: {len(texts)} of {backbone.vocab}"
        _, canvas, _ = self._encode(backbone)
        canvas = canvas.to("cpu")
        usable = [i for i, text in enumerate(texts) if text and _is_text(text) and i not in backbone.ends]
        free = torch.tensor([i for i in usable if i not in _never(backbone)])
        assert len(free), "no token that may be chosen has a text"
        picks = torch.randint(len(free), canvas.tokens.shape, generator=torch.Generator().manual_seed(0))
        filled = canvas.filled(canvas.open, free[picks])
        for row, text in enumerate(backbone.decode(filled)):
            if canvas.infill[row]:
                continue
            tokens = filled.tokens[row][filled.shown[row]].tolist()
            joined_ = b"".join(texts[token] or b"" for token in tokens).decode()
            assert text == (joined_.removeprefix(" ") if backbone.drops_space else joined_), (
                f"texts() of the tokens of row {row} make {joined_!r}, and decode() makes {text!r} of them"
            )

    # -- columns that the others do not see ----------------------------------------------------------------------------

    def test_extras_are_returned_with_their_axes(self, backbone: Backbone) -> None:
        if not backbone.offers:
            return
        _, canvas, conditioning = self._encode(backbone)
        row = canvas.at([0]).narrowed(int(canvas.lengths[0]))
        given = {} if backbone.feeds_back else {"extras": tuple(backbone.offers)}
        out = _forward(backbone, row, _of(backbone, conditioning, [0]), **given)
        checked(backbone, out, row.tokens, {"extras": tuple(backbone.offers)})
        for name, kind in backbone.offers.items():
            if kind == "key":
                last = (out.extra or {})[name].shape[-1]
                assert last <= row.tokens.shape[1], f"extra {name!r} has {last} keys for a row of fewer columns"

    def test_shadows_are_seen_by_nobody_and_say_what_an_open_place_says(self, backbone: Backbone) -> None:
        if not backbone.shadows:
            return
        prompts, canvas, conditioning = self._encode(backbone)
        conditioning = _of(backbone, conditioning, list(range(len(prompts))))
        if not backbone.pads:
            canvas, conditioning = canvas.at([0]).narrowed(int(canvas.lengths[0])), _of(backbone, conditioning, [0])
        plain, columns = _forward(backbone, canvas, conditioning), canvas.positions
        for mutual in (False, True):
            shadow = Shadow(torch.full_like(columns, canvas.blank_id), columns, canvas.valid, mutual)
            out = _forward(backbone, canvas, conditioning, shadow=shadow)
            assert out.hidden.shape == plain.hidden.shape, "shadows are no columns of `hidden`: they go into `extra`"
            own, said = (backbone.project(x) for x in (out.hidden, (out.extra or {})["shadow"]))
            before = backbone.project(plain.hidden)
            _close(own[canvas.valid], before[canvas.valid], "shadow columns beside the row's own", self.tolerance)
            if not mutual:
                open_ = canvas.open
                _close(said[open_], before[open_], "what the shadow of an open place says", self.tolerance)
                given = canvas.fixed
                assert not torch.allclose(said[given], before[given]), "a shadow of a filled place sees that place"

    # -- forward and head ----------------------------------------------------------------------------------------------

    def test_shapes_of_hidden_and_logits(self, backbone: Backbone) -> None:
        _, canvas, conditioning = self._encode(backbone)
        own = canvas.at([0]).narrowed(int(canvas.lengths[0]))
        out = _forward(backbone, own, _of(backbone, conditioning, [0]))
        assert isinstance(out, Output), f"forward returns mdmkit.Output(hidden), not {type(out).__name__}"
        assert out.hidden.dim() == 3, "hidden is [M, L, D]"
        assert out.hidden.shape[:2] == own.tokens.shape, "hidden is [M, L, D]"
        assert out.hidden.is_floating_point(), "hidden is floating point"
        for part in (out.hidden, out.hidden[0], out.hidden[:, -1]):
            assert backbone.project(part).shape == (*part.shape[:-1], backbone.vocab), "logits are [..., V]"

    def test_head_works_on_single_positions(self, backbone: Backbone) -> None:
        _, canvas, conditioning = self._encode(backbone)
        hidden = _hidden(backbone, canvas, conditioning)
        row, column = len(hidden) - 1, int(canvas.lengths[-1]) - 1
        with torch.inference_mode():
            whole, last = backbone.project(hidden), backbone.project(hidden[row : row + 1, column])
        _close(last, whole[row : row + 1, column], "the head read at one position", self.tolerance)

    def test_head_returns_logits_that_may_be_changed(self, backbone: Backbone) -> None:
        _, canvas, conditioning = self._encode(backbone)
        hidden = _hidden(backbone, canvas, conditioning)
        with torch.inference_mode():
            logits = backbone.project(hidden)
            if logits.untyped_storage() is hidden.untyped_storage():
                return  # a head that does nothing: the loop then copies
            before = logits.clone()
            logits.fill_(0.0)
            assert torch.equal(backbone.project(hidden), before), "`project` returns a tensor that it uses again"

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
        order = list(range(len(canvas.tokens)))[::-1]
        turned = canvas.at(order)
        logits = _logits(backbone, turned, _of(backbone, conditioning, order))
        together = _logits(backbone, canvas, conditioning)[order]
        _close(logits[turned.valid], together[turned.valid], "reversed rows", self.tolerance)

    def test_padding_is_never_read(self, backbone: Backbone) -> None:
        _, canvas, conditioning = self._encode(backbone)
        if not backbone.pads:
            return  # it never sees any
        more = 3 if canvas.grid is None else 0  # pictures of one size are never padded
        expected, wide = _logits(backbone, canvas, conditioning), canvas.padded(canvas.tokens.shape[1] + more)
        other = wide.tokens.roll(1, 0).roll(1, 1) % backbone.vocab
        junk = replace(wide, tokens=torch.where(wide.valid, wide.tokens, other))
        logits = _logits(backbone, junk, conditioning)
        _close(logits[wide.valid], expected[canvas.valid], "more padding, of other tokens", self.tolerance)

    def test_a_position_sees_the_token_that_follows_it(self, backbone: Backbone) -> None:
        _, canvas, conditioning = self._encode(backbone)
        pairs = canvas.open[:, :-1] & canvas.open[:, 1:]
        if canvas.block is not None:
            pairs = pairs & ((canvas.positions[:, 1:] % canvas.block) > 0)  # both of one attention block
        assert pairs.any(), "give a prompt with two neighbouring masks"
        row, column = pairs.nonzero()[0].tolist()
        before = _logits(backbone, canvas, conditioning)[row, column]
        place = torch.zeros_like(canvas.open)
        place[row, column + 1] = True
        tried = [i for i in range(backbone.vocab) if i not in _never(backbone)][:8]
        after = [
            _logits(backbone, canvas.filled(place, torch.full_like(canvas.tokens, token)), conditioning)[row, column]
            for token in tried
        ]
        moved = max(float((logits - before).abs().max()) for logits in after)
        assert moved > 10 * self.tolerance, "logits ignore the token to the right: is the model run with a causal mask?"

    # -- whole decodes -------------------------------------------------------------------------------------------------

    def test_decodes_to_the_end_and_says_one_thing_per_row(self, backbone: Backbone) -> None:
        prompts, canvas, conditioning = self._encode(backbone)
        filled, trace = fill_canvas(
            Sampler(ByConfidence(), TakeQuota(), plan=self.plan), backbone, canvas, conditioning
        )
        assert not filled.open.any(), "open places survive"
        before = canvas.to("cpu").padded(filled.tokens.shape[1])
        assert torch.equal(filled.tokens[before.fixed], before.tokens[before.fixed]), "prompt tokens changed"
        written = filled.tokens[before.open & (trace.order >= 0)]
        assert not torch.isin(written, torch.tensor(sorted(_never(backbone)))).any(), "a forbidden token was written"
        assert len(backbone.decode(filled)) == len(prompts), "decode returns one item per row"
        assert int(trace.rows.sum()) > 0, "forwards are counted"

    def test_ragged_rows_decode_as_alone_under_every_cache(self, backbone: Backbone) -> None:
        prompts = read_prompts(self.prompts, seed=0)
        block = self.plan.block if self.plan.block or self._encode(backbone)[1].block else 3
        plan = replace(self.plan, block=block)
        exact = {}
        for cache in sorted(backbone.caches):
            sampler = Sampler(ByConfidence(), TakeQuota(), plan=plan, cache=cache)
            alone = [each for prompt in prompts for each in _decoded(sampler, backbone, [prompt], None)]
            for batch, what in ((None, "all at once"), (2, "two at a time, as rows leave and join")):
                together = _decoded(sampler, backbone, prompts, batch)
                assert together == alone, f"cache={cache}: (tokens, order, NFE) of rows decoded {what}, and alone"
            if not CACHES[cache].approximate:
                exact[cache] = [tokens for tokens, _, _ in alone]
        for cache, tokens in exact.items():
            assert tokens == exact["none"], f"cache={cache} is exact, and writes other tokens than no cache"


def _is_text(piece: bytes) -> bool:
    """True for whole characters: parts of one have a text only together."""
    try:
        piece.decode()
    except UnicodeDecodeError:
        return False
    return True


def _never(backbone: Backbone) -> set[int]:
    """Ids that may not be written."""
    return {*backbone.forbidden} | (set() if backbone.mask_id is None else {backbone.mask_id})


def _decoded(
    sampler: Sampler, backbone: Backbone, prompts: list[Prompt], batch: int | None
) -> list[tuple[list[int], list[int], int]]:
    rows = [row for unit, _ in decode_batches(sampler, unwrapped(backbone), prompts, batch=batch) for row in unit]
    return [(row.tokens, row.order, row.nfe) for row in sorted(rows, key=lambda row: row.index)]


def _of(backbone: Backbone, conditioning: Any, rows: list[int]) -> Any:
    """The conditioning, with the prompt, of some rows."""
    if conditioning is None:
        return None
    return backbone.select(conditioning, torch.tensor(rows, device=backbone.device))


def _forward(backbone: Backbone, canvas: Canvas, conditioning: Any, **given: Any) -> Output:
    """One forward of whole rows, with the conditioning of just these."""

    def draw(stream: str) -> Tensor:
        return noise.uniform(canvas.seed, torch.zeros_like(canvas.seed), stream, 1, canvas.positions)[:, 0]

    with torch.inference_mode():
        blank = backbone.blank(canvas, draw)
        tokens = canvas.tokens if blank is None else torch.where(canvas.open, blank, canvas.tokens)
        more: dict[str, Any] = {"extras": tuple(backbone.offers), "previous": None} if backbone.feeds_back else {}
        return backbone.forward(tokens, canvas.valid, conditioning, positions=canvas.positions, **more, **given)


def _hidden(backbone: Backbone, canvas: Canvas, conditioning: Any) -> Tensor:
    """Hidden states of whole rows, [B, T, D]; a model that cannot pad sees them one by one."""
    rows = list(range(len(canvas.tokens)))
    if backbone.pads:
        return _forward(backbone, canvas, _of(backbone, conditioning, rows)).hidden
    parts = []
    for row, length in zip(rows, canvas.lengths.tolist(), strict=True):
        own = _forward(backbone, canvas.at([row]).narrowed(length), _of(backbone, conditioning, [row])).hidden
        parts.append(functional.pad(own, (0, 0, 0, canvas.tokens.shape[1] - length)))
    return torch.cat(parts)


def _logits(backbone: Backbone, canvas: Canvas, conditioning: Any) -> Tensor:
    with torch.inference_mode():
        return backbone.project(_hidden(backbone, canvas, conditioning))


def _close(got: Tensor, expected: Tensor, what: str, tolerance: float) -> None:
    torch.testing.assert_close(
        got, expected, rtol=tolerance, atol=tolerance, msg=lambda m: f"{what}: logits differ. {m}"
    )
