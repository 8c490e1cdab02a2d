"""Tiny random checkpoints of many architectures, made by transformers itself."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# [PAD], [UNK], [CLS], [SEP] and [MASK] are the ids 0 to 4, the letters a to t the ids 5 to 24.
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrst"]
VOCAB = 28  # three rows more than the tokenizer has tokens

SIZE = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
}
DECODER = SIZE | {"num_key_value_heads": 2, "is_causal": False, "bos_token_id": 2, "eos_token_id": 3}
ESM = SIZE | {"mask_token_id": 4, "token_dropout": True}
MODERN = {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
MOE = {"head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
OPT = {"ffn_dim": 48, "word_embed_proj_dim": 32, "is_causal": False}
DISTIL = {
    "vocab_size": VOCAB,
    "dim": 32,
    "n_layers": 2,
    "n_heads": 4,
    "hidden_dim": 48,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
}

# name -> (model class, config class, settings)
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bert": ("BertForMaskedLM", "BertConfig", SIZE),
    "roberta": ("RobertaForMaskedLM", "RobertaConfig", SIZE),
    "modernbert": (
        "ModernBertForMaskedLM",
        "ModernBertConfig",
        SIZE | MODERN | {"local_attention": 6, "global_attn_every_n_layers": 2},
    ),
    "distilbert": ("DistilBertForMaskedLM", "DistilBertConfig", DISTIL),
    "albert": ("AlbertForMaskedLM", "AlbertConfig", SIZE | {"embedding_size": 16}),
    "electra": ("ElectraForMaskedLM", "ElectraConfig", SIZE | {"embedding_size": 16}),
    "mpnet": ("MPNetForMaskedLM", "MPNetConfig", SIZE),
    "esm": ("EsmForMaskedLM", "EsmConfig", ESM | {"position_embedding_type": "rotary"}),
    "esm-absolute": ("EsmForMaskedLM", "EsmConfig", ESM | {"position_embedding_type": "absolute"}),
    "llama": ("LlamaForCausalLM", "LlamaConfig", DECODER),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", DECODER),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", DECODER | {"head_dim": 8}),
    "qwen3-moe": ("Qwen3MoeForCausalLM", "Qwen3MoeConfig", DECODER | MOE),
    "gemma2": ("Gemma2ForCausalLM", "Gemma2Config", DECODER | {"head_dim": 8, "sliding_window": 6}),
    "opt": ("OPTForCausalLM", "OPTConfig", SIZE | OPT),
    "fnet": ("FNetForMaskedLM", "FNetConfig", SIZE),
    "mobilebert": (
        "MobileBertForMaskedLM",
        "MobileBertConfig",
        SIZE | {"embedding_size": 16, "intra_bottleneck_size": 16},
    ),
    "longformer": ("LongformerForMaskedLM", "LongformerConfig", SIZE | {"attention_window": 4}),
    "mamba": ("MambaForCausalLM", "MambaConfig", SIZE | {"is_causal": False}),
}


def tokenizer(**changes: Any) -> Any:
    """One token per letter, between [CLS] and [SEP]; changes go to the transformers class."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    core.decoder = decoders.Fuse()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    return PreTrainedTokenizerFast(tokenizer_object=core, **names | changes)


def save(name: str, folder: Path, *, text: dict[str, Any] | None = None, **changes: Any) -> Path:
    """Save a random checkpoint, its weights large enough that every input matters; `text=None`: no tokenizer."""
    import torch
    import transformers

    from mdmkit_text.quiet import quiet

    model_class, config_class, settings = MODELS[name]
    torch.manual_seed(0)
    with quiet():
        model = getattr(transformers, model_class)(getattr(transformers, config_class)(**settings | changes))
        with torch.no_grad():
            for key, weight in model.named_parameters():
                if "norm" not in key.lower():
                    weight.normal_(0, 0.2)
        model.save_pretrained(folder)
    if text is not None:
        tokenizer(**text).save_pretrained(folder)
    return folder


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Path]:
    """Save a checkpoint of one's own, to break or change: `build(name, text={}, **config)` gives its directory."""

    def make(name: str, text: dict[str, Any] | None = {}, **changes: Any) -> Path:  # noqa: B006
        return save(name, tmp_path / name, text=text, **changes)

    return make


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The directory of a checkpoint with a tokenizer, saved once; not to be changed."""

    @functools.cache
    def make(name: str) -> Path:
        return save(name, tmp_path_factory.mktemp("models") / name, text={})

    return make


@pytest.fixture(scope="session")
def loaded(checkpoint: Callable[[str], Path]) -> Callable[[str], Any]:
    """The backbone of a checkpoint, loaded once."""
    from mdmkit.testing import device_of_tests
    from mdmkit_text.backbone import TextBackbone

    @functools.cache
    def load(name: str) -> Any:
        return TextBackbone.load(str(checkpoint(name)), device=str(device_of_tests()))

    return load
