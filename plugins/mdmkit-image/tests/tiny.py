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
