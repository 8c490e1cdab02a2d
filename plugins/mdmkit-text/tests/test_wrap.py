"""Models that somebody else loaded: transformers' own classes, plain modules, and code that a checkpoint brought."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

import mdmkit
from mdmkit import MdmkitError, Plan, Sampler
from mdmkit.testing import BackboneContract, ByConfidence, LeastEntropyLeft, Spread, TakeQuota
from mdmkit_text.backbone import TextBackbone

if TYPE_CHECKING:
    from collections.abc import Callable

GOLDEN = Path(__file__).parents[3] / "tests" / "golden"
PROMPTS = [[11, 25, 83, 27], [7], {"prompt_ids": [125, 40, 125, 9]}]
SAMPLERS = [
    Sampler(ByConfidence(), TakeQuota(), plan=Plan(length=6, block=3)),
    Sampler(ByConfidence(), Spread(3), LeastEntropyLeft(), plan=Plan(length=6)),
]


def inner(name: str) -> Any:
    return TextBackbone.load(str(GOLDEN / name)).network.model


class Module(nn.Module):
    """A model behind a call of one's own; each subclass has another one."""

    def __init__(self, model: Any):
        super().__init__()
        self.model = model
        self.eval()


class Bare(Module):
    """Takes ids only, so that padding cannot be told."""

    def forward(self, x: Tensor) -> Tensor:
        return self.model(input_ids=x).logits


class Flat(Module):
    def forward(self, ids: Tensor, attention_mask: Tensor | None = None) -> tuple[Tensor, None]:
        return self.model(input_ids=ids, attention_mask=attention_mask).logits, None


class Pairs(Module):
    """As Dream's own code: wants to be told which position sees which."""

    def forward(self, ids: Tensor, attention_mask: Any = "full", position_ids: Tensor | None = None) -> dict[str, Any]:
        mask = None if isinstance(attention_mask, str) else attention_mask
        assert mask is None or (mask.dim() == 4 and mask.dtype == torch.bool)
        return {"logits": self.model(input_ids=ids, attention_mask=mask, position_ids=position_ids).logits}


class Deaf(Module):
    """Takes a mask and does not heed it."""

    def forward(self, ids: Tensor, attention_mask: Tensor | None = None) -> SimpleNamespace:
        return SimpleNamespace(logits=self.model(input_ids=ids).logits)


# name -> (golden checkpoint, what its model is wrapped in, options, the way its padding is masked)
SHAPES: dict[str, tuple[str, type[Module] | None, dict[str, Any], str | None]] = {
    "llama": ("llada", None, {}, None),
    "qwen2, shifted": ("dream", None, {"shift": True}, None),
    "qwen2, by name": ("dream", None, {"family": "dream"}, None),
    "bare": ("llada", Bare, {"mask_id": 125}, "none"),
    "bare, shifted": ("dream", Bare, {"mask_id": 125, "shift": True}, "none"),
    "flat": ("llada", Flat, {"mask_id": 125}, "flat"),
    "pairs, shifted": ("dream", Pairs, {"mask_id": 125, "shift": True}, "pairs"),
    "deaf": ("llada", Deaf, {"mask_id": 125}, "flat"),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sampler", SAMPLERS, ids=["confidence", "lookahead"])
def test_a_wrapped_model_decodes_as_the_loaded_one(shape: str, sampler: Sampler) -> None:
    name, module, options, way = SHAPES[shape]
    loaded = TextBackbone.load(str(GOLDEN / name))
    model = loaded.network.model if module is None else module(loaded.network.model)
    wrapped = mdmkit.wrap(model, **options)
    assert isinstance(wrapped.backbone, TextBackbone)
    assert wrapped.network.split == (module is None)
    assert getattr(wrapped.network.model, "padding", None) == way
    assert wrapped.network.padded == (module not in (Bare, Deaf))
    expected, got = (mdmkit.decode(sampler, backbone, PROMPTS) for backbone in (loaded, wrapped))
    assert got.tokens == expected.tokens
    assert got.nfe["rows"] == expected.nfe["rows"]
    # Rows of one length at a time, where padding would be read.
    assert (got.nfe["calls"] == expected.nfe["calls"]) == wrapped.pads == wrapped.network.padded


@pytest.mark.parametrize("name", ["llada", "dream"])
def test_generate_gives_what_decode_gives(name: str) -> None:
    loaded = TextBackbone.load(str(GOLDEN / name))
    wrapped = mdmkit.wrap(loaded.network.model, family=name, mask_id=125, ends=[])
    ids, mask = torch.tensor([[11, 25, 83], [0, 0, 7]]), torch.tensor([[1, 1, 1], [0, 0, 1]])
    for sampler in ("confidence", "info_gain"):
        out = wrapped.generate(ids, attention_mask=mask, sampler=sampler, max_new_tokens=8)
        composed = mdmkit.compose(sampler, plan={"length": 8})
        assert out[:, 3:].tolist() == mdmkit.decode(composed, loaded, [[11, 25, 83], [7]]).tokens
    unnamed = wrapped.generate(ids, attention_mask=mask, max_new_tokens=8)
    assert torch.equal(unnamed, out), "the default is that of `mdmkit decode`"
    named = wrapped.generate(ids, attention_mask=mask, max_new_tokens=8, score="confidence", select="top_k")
    assert torch.equal(named, wrapped.generate(ids, attention_mask=mask, max_new_tokens=8, sampler="confidence"))


@pytest.mark.parametrize(
    ("name", "cache"), [("llada", "prefix"), ("llada", "dual"), ("dream", "dual"), ("sdar", "block"), ("sdar", "none")]
)
def test_a_class_of_transformers_keeps_the_caches_of_its_family(name: str, cache: str) -> None:
    loaded = TextBackbone.load(str(GOLDEN / name), mask_id=125)
    wrapped = mdmkit.wrap(loaded.network.model, family=name, mask_id=125, block_length=loaded.block)
    assert wrapped.caches == loaded.caches
    sampler = mdmkit.compose("info_gain", plan={"length": 8, "block": 4}, cache=cache)
    expected, got = (mdmkit.decode(sampler, backbone, [[11, 25, 83, 27], [7]]) for backbone in (loaded, wrapped))
    assert (got.tokens, got.nfe) == (expected.tokens, expected.nfe)


def test_a_family_whose_attention_ends_with_the_block_needs_a_class_that_is_known() -> None:
    model = TextBackbone.load(str(GOLDEN / "sdar"), mask_id=125).network.model
    refused(Flat(model), r"Flat is of family sdar.*load the checkpoint with mdmkit\.load", family="sdar", mask_id=125)
    assert mdmkit.wrap(inner("llada"), block_length=4).caches == {"none", "block"}
    refused(inner("llada"), "every position attends to every other", family="llada", block_length=4)
    assert mdmkit.wrap(Flat(inner("llada")), mask_id=125).caches == {"none"}


class TestBareContract(BackboneContract):
    prompts = (*PROMPTS, [125, 125, 3])

    @pytest.fixture
    def backbone(self) -> Any:
        return mdmkit.wrap(Bare(inner("dream")), mask_id=125, shift=True)


class TestFunctionContract(BackboneContract):
    prompts = PROMPTS

    @pytest.fixture
    def backbone(self) -> Any:
        model = inner("llada")

        def score(ids: Tensor, attention_mask: Tensor) -> Tensor:
            return model(input_ids=ids, attention_mask=attention_mask).logits

        return mdmkit.wrap(score, mask_id=125)


def test_a_tokenizer_gives_mask_ends_and_text(loaded: Callable[[str], Any]) -> None:
    bert = loaded("bert")
    wrapped = mdmkit.wrap(Flat(bert.network.model), bert.tokens.tokenizer)
    assert (wrapped.mask_id, wrapped.pad_id) == (4, 0)
    text = mdmkit.decode(SAMPLERS[0], wrapped, ["ab[MASK]d"]).texts[0]
    assert (text[:2], len(text), text[3]) == ("ab", 4, "d")


def test_a_masked_language_model_keeps_its_familys_rules(loaded: Callable[[str], Any]) -> None:
    bert = loaded("bert")
    wrapped = mdmkit.wrap(bert.network.model, bert.tokens.tokenizer)
    assert (wrapped.forbidden, wrapped.ends) == (bert.forbidden, [])
    prompts = ["ab[MASK]d[MASK]", "a"]
    assert mdmkit.decode(SAMPLERS[0], wrapped, prompts).texts == mdmkit.decode(SAMPLERS[0], bert, prompts).texts


def test_the_configs_model_type_says_the_family() -> None:
    model = Pairs(inner("dream"))
    model.config = {"model_type": "Dream"}
    assert (mdmkit.wrap(model, mask_id=125).vocab, mdmkit.wrap(model, mask_id=125).lead) == (128, 1)
    model.config = SimpleNamespace(model_type="Dream", mask_token_id=125, vocab_size=128, eos_token_id=2)
    wrapped = mdmkit.wrap(model)
    assert (wrapped.family.name, wrapped.mask_id, wrapped.ends) == ("dream", 125, [2])
    with pytest.raises(MdmkitError, match=r"shift=False, but Pairs is of family dream.*name another family"):
        mdmkit.wrap(model, shift=False)
    # Every family with shifted logits says so, not Dream alone.
    assert mdmkit.wrap(inner("dream"), mask_id=125, family="fast_dllm_v2", shift=True).lead == 1
    with pytest.raises(MdmkitError, match=r"shift=False, but .* is of family fast_dllm_v2"):
        mdmkit.wrap(inner("dream"), mask_id=125, family="fast_dllm_v2", shift=False)
    assert mdmkit.wrap(model, family="decoder").family.name == "decoder"


def test_ends_replace_the_tokenizers() -> None:
    wrapped = mdmkit.wrap(inner("llada"), ends=[64])
    first = mdmkit.wrap(inner("llada"), ends=[]).generate(torch.tensor([[3]]), sampler="confidence", max_new_tokens=8)
    end = first[0, 3].item()
    assert wrapped.ends == [64]
    cut = mdmkit.wrap(inner("llada"), ends=[end]).generate(torch.tensor([[3]]), sampler="confidence", max_new_tokens=8)
    stop = first[0, 1:].tolist().index(end) + 2
    assert cut[0, :stop].tolist() == first[0, :stop].tolist()
    assert {*cut[0, stop:].tolist()} == {wrapped.pad_id}


def refused(model: Any, pattern: str, **options: Any) -> None:
    with pytest.raises(MdmkitError, match=pattern) as caught:
        mdmkit.wrap(model, **options)
    assert "\n" not in str(caught.value)


def test_a_causal_model_is_refused() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    causal = LlamaForCausalLM(LlamaConfig(vocab_size=32, **shape)).eval()
    refused(causal, "LlamaForCausalLM cannot fill masks in.*It is causal", mask_id=31)
    refused(Flat(causal), "Flat cannot fill masks in.*It is causal", mask_id=31)
    both = LlamaForCausalLM(LlamaConfig(vocab_size=32, is_causal=False, **shape)).eval()
    assert mdmkit.wrap(both, mask_id=31).network.split


class Chance(Bare):
    def forward(self, x: Tensor) -> Tensor:
        return torch.nn.functional.dropout(super().forward(x))


def test_a_token_that_a_model_never_says_is_no_fault() -> None:
    model = Bare(inner("llada"))

    def silent(ids: torch.Tensor) -> torch.Tensor:
        return model(ids).index_fill(-1, torch.tensor([9, 125]), -torch.inf)

    plain, wrapped = mdmkit.wrap(model, mask_id=125), mdmkit.wrap(silent, mask_id=125)
    assert wrapped.network.padded == plain.network.padded
    ids = torch.tensor([[3, 4], [5, 6]])
    sequences = wrapped.generate(ids, sampler="confidence", max_new_tokens=6)
    suppressed = mdmkit.generate(plain, ids, sampler="confidence", max_new_tokens=6, draw={"suppress": (9,)})
    torch.testing.assert_close(sequences, suppressed)


def test_what_cannot_be_wrapped_is_explained() -> None:
    model = inner("llada")
    model.config.mask_token_id = None
    refused(model, "'LlamaForCausalLM' has no known mask token.*wrap")
    refused(Bare(model), "'Bare' has no known mask token")
    refused(Bare(model).train(), r"Bare is in training mode.*call its eval\(\)")
    refused(Bare(model), "mask_id 128 is outside", mask_id=128)
    refused(Bare(model), "unknown option of wrap 'mask'. Did you mean 'mask_id'", mask=5)
    refused(Bare(model), "unknown family 'drem'. Did you mean 'dream'", family="drem")
    refused(Bare(model), "shift=1: it is True if", shift=1)
    refused(Bare(model), r"ends='x': give token ids with commas", ends="x")
    refused(Bare(model), "second argument, not a str: AutoTokenizer", mask_id=5, tokenizer="bert-base")
    refused(Bare(model), "ends: token id 128 is outside the model's vocabulary of 128 ids", mask_id=5, ends=[3, 128])
    refused(Bare(model), "ends: token id -1 is outside", mask_id=5, ends=-1)
    refused(Bare(model), "ends: token id 5 is the mask's", mask_id=5, ends=[5])
    refused(Bare(model), "family masked_lm, whose models.*write no end", mask_id=5, ends=[3], family="masked_lm")
    refused(Chance(model), r"Chance gives other logits each time.*call its eval\(\)", mask_id=5)
    refused(lambda ids: "words", "must return logits.*it returned a str", mask_id=5)
    refused(lambda ids: torch.zeros(3), r"it returned a tensor \[3\]", mask_id=5)
    refused(lambda: None, "does not run on token ids alone", mask_id=5)
    refused(object(), "no backbone wraps a object")


def test_moving_a_wrapped_module_moves_it() -> None:
    wrapped = mdmkit.wrap(Bare(inner("llada")), mask_id=125)
    assert isinstance(wrapped.backbone, TextBackbone)
    assert wrapped.to("meta").device == torch.device("meta")


class Toy(nn.Module):
    """Random embeddings as logits, and what a subclass makes of those of a row, [M, L, V]."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding.from_pretrained(torch.randn(32, 32, generator=torch.Generator().manual_seed(0)))
        self.eval()

    def forward(self, ids: Tensor) -> Tensor:
        return self.table(ids)


class RunningSum(Toy):
    def forward(self, ids: Tensor) -> Tensor:
        return super().forward(ids).cumsum(1)


class MeanOfBatch(Toy):
    def forward(self, ids: Tensor) -> Tensor:
        logits = super().forward(ids)
        return logits + logits.mean((0, 1), keepdim=True)


def test_a_model_that_reads_no_context_is_not_causal() -> None:
    decoded = mdmkit.decode(SAMPLERS[0], mdmkit.wrap(Toy(), mask_id=31), [[1, 2]])
    assert len(decoded.tokens[0]) == 6
    refused(RunningSum(), "It is causal", mask_id=31)


def test_a_model_whose_rows_mix_is_refused() -> None:
    refused(MeanOfBatch(), r"MeanOfBatch mixes rows: the logits of a row change by \d", mask_id=31)
