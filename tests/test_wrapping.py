"""The transformers-shaped door: its conventions for ids, masks and keywords, and who is asked to wrap a model."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import mdmkit
from mdmkit.errors import MdmkitError
from mdmkit.hf.keywords import ELSEWHERE
from mdmkit.hf.wrapping import Generated
from mdmkit.installed.registry import Registry
from mdmkit.testing import ByConfidence, TakeQuota, ToyBackbone

TOY = ToyBackbone()
M = TOY.mask_id
PARTS = {"score": ByConfidence(), "select": TakeQuota()}


def generate(ids: list[list[int]], mask: list[list[int]] | None = None, **options: Any) -> Any:
    attention_mask = None if mask is None else torch.tensor(mask)
    parts = {} if "sampler" in options else PARTS
    return mdmkit.generate(TOY, torch.tensor(ids), attention_mask, **{**parts, **options})


def decoded(prompts: list[Any], **options: Any) -> list[list[int]]:
    seed = options.pop("seed", None)
    return mdmkit.decode(mdmkit.compose(**PARTS, **options), TOY, prompts, seed=seed).tokens


def refused(pattern: str, ids: Any = ((1, 2),), **options: Any) -> None:
    with pytest.raises(MdmkitError, match=pattern) as caught:
        mdmkit.generate(TOY, torch.tensor(ids) if isinstance(ids, tuple) else ids, **{**PARTS, **options})
    assert "\n" not in str(caught.value)


def test_the_prompt_then_what_decode_gives_on_either_side_of_padding() -> None:
    first, second = decoded([[1, 2, 3], [4]], plan={"length": 5})
    left = generate([[1, 2, 3], [0, 0, 4]], [[1, 1, 1], [0, 0, 1]], max_new_tokens=5)
    assert left.tolist() == [[1, 2, 3, *first], [0, 0, 4, *second]]
    assert left.dtype == torch.int64
    right = generate([[1, 2, 3], [4, 9, 9]], [[1, 1, 1], [1, 0, 0]], max_new_tokens=5)
    assert right.tolist() == left.tolist()


def test_without_a_mask_every_token_counts() -> None:
    ((*row,),) = decoded([[0, 0, 4]], plan={"length": 5})
    assert generate([[0, 0, 4]], max_new_tokens=5).tolist() == [[0, 0, 4, *row]]
    assert row != decoded([[4]], plan={"length": 5})[0]


@pytest.mark.parametrize("new", [0, None])
def test_masks_among_the_ids_are_filled_where_they_stand(new: int | None) -> None:
    rows = decoded([[1, M, 3], [M, 4]])
    given = [[1, M, 3, 7], [7, M, 4, 7]]
    ids = torch.tensor(given)
    filled = mdmkit.generate(TOY, ids, torch.tensor([[1, 1, 1, 0], [0, 1, 1, 0]]), max_new_tokens=new, **PARTS)
    assert filled.tolist() == [[*rows[0], 7], [7, *rows[1], 7]]
    assert ids.tolist() == given, "the caller's ids are left alone"


def test_masks_among_the_ids_and_new_ones_fill_together() -> None:
    ((*row,),) = decoded([{"prompt_ids": [1, M], "length": 3}])
    assert len(row) == 5
    assert generate([[1, M]], max_new_tokens=3).tolist() == [row]


def test_without_a_number_of_tokens_the_models_own_length_holds() -> None:
    assert generate([[1, 2]]).shape == (1, 2 + TOY.length)
    assert generate([[1, 2]], plan={"length": 3}).shape == (1, 5)
    mixed = generate([[1, 2], [1, M]], plan={"length": 3})
    assert mixed[1, 2:].tolist() == [TOY.pad_id] * 3


def test_a_preset_by_name_its_parts_changed_and_a_composed_sampler() -> None:
    by_name = generate([[1, 2]], sampler="confidence", plan={"steps": 2}, max_new_tokens=6, seed=3)
    composed = mdmkit.compose("confidence", plan={"steps": 2})
    assert generate([[1, 2]], sampler=composed, max_new_tokens=6, seed=3).tolist() == by_name.tolist()
    assert generate([[1, 2]], sampler="confidence", max_new_tokens=6, seed=3).tolist() != by_name.tolist()


def test_what_follows_an_end_token_is_padding() -> None:
    row = generate([[1, 2]], max_new_tokens=8)[0].tolist()
    end = row[4]
    stop = row.index(end, 2) + 1
    assert stop < len(row)
    cut = [*row[:stop], *[0] * (len(row) - stop)]
    assert generate([[1, 2]], max_new_tokens=8, eos_token_id=end)[0].tolist() == cut
    assert generate([[1, 2]], max_new_tokens=8, eos_token_id=torch.tensor(end))[0].tolist() == cut
    padded = generate([[1, 2]], max_new_tokens=8, eos_token_id=[end], pad_token_id=5)[0].tolist()
    assert padded == [*row[:stop], *[5] * (len(row) - stop)]


def test_the_models_own_ends_count_without_being_named() -> None:
    row = generate([[1, 2]], max_new_tokens=8)[0].tolist()
    toy = ToyBackbone()
    toy.ends = (row[2],)
    assert mdmkit.generate(toy, torch.tensor([[1, 2]]), max_new_tokens=8, **PARTS)[0].tolist() == [*row[:3], *[0] * 7]
    assert mdmkit.generate(toy, torch.tensor([[1, row[2]]]), max_new_tokens=1, **PARTS)[0, 1] == row[2], (
        "a prompt is not cut"
    )


def test_return_dict_gives_the_rows_too() -> None:
    whole = generate([[1, 2]], max_new_tokens=4, return_dict_in_generate=True)
    assert isinstance(whole, Generated)
    assert whole.sequences[0, 2:].tolist() == whole.decoded.tokens[0]
    assert whole.decoded.nfe["rows"] == 4


def test_drawing_is_seeded_and_said_in_either_vocabulary() -> None:
    def draw(**options: Any) -> list[list[int]]:
        return generate([[1, 2], [1, 2]], max_new_tokens=8, **options).tolist()

    ours = decoded([[1, 2], [1, 2]], plan={"length": 8}, draw={"temperature": 1.5}, seed=4)
    assert [row[2:] for row in draw(temperature=1.5, seed=4)] == ours
    assert draw(temperature=1.5, do_sample=True, top_p=1.0, top_k=0, seed=4) == draw(temperature=1.5, seed=4)
    assert draw(do_sample=True, seed=4) == draw(draw={"temperature": 1.0}, seed=4)
    assert draw(draw={"temperature": 1.5}, top_k=1, seed=4) == draw(do_sample=False) == draw()
    assert draw(temperature=1.5, seed=4) != draw(temperature=1.5, seed=5)
    assert draw(temperature=1.5, top_p=0.2, seed=4) == draw(draw={"temperature": 1.5, "top_p": 0.2}, seed=4)
    assert ours[0] != ours[1], "rows draw numbers of their own"


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_keyword_of_another_generate_is_translated(name: str) -> None:
    refused(f"generate has no {name}: ", **{name: 1})


def test_wrong_input_is_explained() -> None:
    refused(r"input_ids must be a tensor of integers \[batch, length\], not a list", [[1, 2]])
    refused(r"not a tensor \[2\]", torch.tensor([1, 2]))
    refused(r"not a tensor \[1, 2\]", torch.tensor([[1.0, 2.0]]))
    refused(r"attention_mask must have the shape of input_ids, \[1, 2\], not \[1, 3\]", attention_mask=torch.ones(1, 3))
    refused("holes in row 0", ((1, 2, 3),), attention_mask=torch.tensor([[1, 0, 1]]))
    refused("max_new_tokens=-1", max_new_tokens=-1)
    refused("max_new_tokens=True", max_new_tokens=True)
    refused("do_sample=False and temperature=0.5 contradict", do_sample=False, temperature=0.5)
    refused("do_sample=True and temperature=0 contradict", do_sample=True, temperature=0)
    refused("unknown key 'sede'. Did you mean 'seed'", sede=1)
    refused("prompt 0: token id 99 is outside", ((99,),), max_new_tokens=2)
    refused("eos_token_id 0 can never be chosen", eos_token_id=0, max_new_tokens=2)
    refused("eos_token_id 99 is outside the model's vocabulary", eos_token_id=[1, 99], max_new_tokens=2)
    refused("eos_token_id='x': it is a token id or a list", eos_token_id="x", max_new_tokens=2)
    refused("pad_token_id='x': it is one token id", pad_token_id="x", max_new_tokens=2)
    refused("composed already, and plan, score, select", sampler=mdmkit.compose(**PARTS), plan={"steps": 1})
    refused("if you give them, draw must be a mapping", draw=mdmkit.Draw(), top_k=3)


class Asked(ToyBackbone):
    """Wraps numbers."""

    @classmethod
    def wraps(cls, model: Any) -> bool:
        return isinstance(model, int)

    @classmethod
    def wrap(cls, model: Any, tokenizer: Any = None, **options: Any) -> ToyBackbone:
        toy = cls(seed=model, **options)
        toy.samples = (str(tokenizer),)
        return toy


class Silent:
    """A backbone that is only a loader."""

    @classmethod
    def accepts(cls, ref: str) -> bool:
        return False


@mdmkit.hookimpl
def mdmkit_backbone() -> list[mdmkit.Component]:
    return [mdmkit.Component(cls.__name__.lower(), cls) for cls in (ToyBackbone, Silent, Asked)]


def test_the_first_backbone_that_wraps_such_a_model_gets_it() -> None:
    registry = Registry([])
    registry.add_file(__file__)
    wrapped = mdmkit.wrap(7, "words", registry=registry, vocab=11)
    assert type(wrapped.backbone).__name__ == "Asked"
    assert (wrapped.vocab, wrapped.samples) == (11, ("words",))
    with pytest.raises(MdmkitError, match=r"no backbone wraps a float\. Installed backbones: asked \(file:"):
        mdmkit.wrap(0.5, registry=registry)


def test_what_needs_no_wrapping_is_told_what_to_do() -> None:
    with pytest.raises(MdmkitError, match=r"mdmkit\.load\('zoo:puzzles'\)"):
        mdmkit.wrap("zoo:puzzles")
    assert mdmkit.wrap(TOY).backbone is TOY
    with pytest.raises(MdmkitError, match="ToyBackbone is a backbone already"):
        mdmkit.wrap(TOY, mask_id=3)
    with pytest.raises(MdmkitError, match="'ToyBackbone' wraps no models"):
        ToyBackbone.wrap(object())
