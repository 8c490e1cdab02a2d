"""Tiny models of random weights, written by diffusers and transformers themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import UVit2DModel, VQModel
from safetensors.torch import save_file

CODES, HIDDEN, TEXT = 12, 16, 8
NAMES = ("cat", "dog", "8")
# Of MMaDA and Lumina-DiMOO.
SPECIALS = ("<|t2i|>", "<|soi|>", "<|eoi|>", "<system>", "</system>", "<user>", "</user>", "<uncondition>", "<answer>")
SPECIALS += ("</answer>", "<IMAGE>", "</IMAGE>", "<end-of-line>", "[MASK]")


def vq_model(codes: int = CODES, channels: int = 3, lookup: bool = True) -> Any:
    torch.manual_seed(1)
    return VQModel(
        in_channels=channels,
        out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(4, 8),
        latent_channels=4,
        num_vq_embeddings=codes,
        norm_num_groups=2,
        mid_block_add_attention=False,
        lookup_from_codebook=lookup,
    ).eval()


def transformer(text: int = TEXT) -> Any:
    torch.manual_seed(0)
    model = UVit2DModel(
        hidden_size=HIDDEN,
        cond_embed_dim=text,
        micro_cond_encode_dim=4,
        micro_cond_embed_dim=20,
        encoder_hidden_size=text,
        vocab_size=CODES + 4,
        codebook_size=CODES,
        in_channels=HIDDEN,
        block_out_channels=HIDDEN,
        num_res_blocks=1,
        block_num_heads=2,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=HIDDEN,
        sample_size=4,
    ).eval()
    for parameter in model.parameters():  # random in every place, or what is told would not be heard
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def write_amused(folder: Path) -> Path:
    """A directory that diffusers' own AmusedPipeline writes."""
    from diffusers import AmusedPipeline, AmusedScheduler
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

    words = [*"abcdefghijklmnopqrstuvwxyz", *(f"{c}</w>" for c in "abcdefghijklmnopqrstuvwxyz")]
    vocabulary = {word: i for i, word in enumerate(["<|startoftext|>", "<|endoftext|>", *words])}
    torch.manual_seed(2)
    encoder = CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=len(vocabulary),
            hidden_size=TEXT,
            intermediate_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=10,
            projection_dim=TEXT,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
    ).eval()
    folder.mkdir(exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=10)
    scheduler = AmusedScheduler(mask_token_id=CODES + 3)
    AmusedPipeline(vq_model(), tokenizer, encoder, transformer(), scheduler).save_pretrained(folder)
    return folder


def write_maskgit(folder: Path) -> Path:
    """A class-conditional directory: the same parts, and a table of classes."""
    transformer().save_pretrained(folder / "transformer")
    vq_model(channels=1, lookup=False).save_pretrained(folder / "vqvae")
    (folder / "class_embedding").mkdir()
    torch.manual_seed(3)
    save_file({"weight": torch.randn(len(NAMES) + 1, TEXT)}, folder / "class_embedding" / "model.safetensors")
    index = {"id2label": {str(i): n for i, n in enumerate(NAMES)}, "transformer": ["diffusers", "UVit2DModel"]}
    (folder / "model_index.json").write_text(json.dumps(index | {"vqvae": ["diffusers", "VQModel"]}))
    return folder


def write_llada(folder: Path, codes: int) -> Path:
    """A checkpoint in LLaDA's format: its ids are 14 special ones, a few letters, then the codes."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    letters = ["<bos>", "<eos>", "?", *"abcdefghij "]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate([*SPECIALS, *letters])}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    names = {"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "?"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, additional_special_tokens=list(SPECIALS), **names)
    fast.save_pretrained(folder)
    size, mask = len(fast) + codes, SPECIALS.index("[MASK]")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    names = {"self_attn.q_proj": "q_proj", "self_attn.k_proj": "k_proj", "self_attn.v_proj": "v_proj"}
    names |= {"self_attn.o_proj": "attn_out", "input_layernorm": "attn_norm", "post_attention_layernorm": "ff_norm"}
    names |= {"mlp.gate_proj": "ff_proj", "mlp.up_proj": "up_proj", "mlp.down_proj": "ff_out"}
    weights = {}
    for key, value in model.state_dict().items():
        for ours, theirs in {
            **names,
            "model.layers.": "model.transformer.blocks.",
            "lm_head": "model.transformer.ff_out",
        }.items():
            key = key.replace(ours, theirs)
        key = key.replace("model.embed_tokens", "model.transformer.wte").replace("model.norm", "model.transformer.ln_f")
        weights[key] = value.contiguous()
    save_file(weights, folder / "model.safetensors")
    told = {"model_type": "llada", "d_model": 16, "n_layers": 2, "n_heads": 2, "mlp_hidden_size": 24}
    told |= {"embedding_size": size, "max_sequence_length": 256, "mask_token_id": mask, "weight_tying": False}
    told |= {"block_type": "llama", "layer_norm_type": "rms", "activation_type": "silu", "rope": True}
    (folder / "config.json").write_text(json.dumps(told))
    return folder
