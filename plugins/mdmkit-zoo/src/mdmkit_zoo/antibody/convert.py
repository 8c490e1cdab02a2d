"""Convert the heavy-chain model of Sapiens (MIT, Merck & Co.; doi:10.1080/19420862.2021.2020203) to transformers.

    pip download --no-deps sapiens==1.0.4
    mdmkit zoo convert antibody sapiens-1.0.4-py3-none-any.whl

The wheel holds a fairseq checkpoint (a pickle, read here as tensors only). The network is RoBERTa: 4 post-norm layers,
d 128, 8 heads, feed-forward 256, 25 symbols, 144 positions, output head tied to the embedding.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import zipfile
from typing import TYPE_CHECKING

import torch

from mdmkit import MdmkitError
from mdmkit_zoo.antibody.tokenizer import build_tokenizer, vocabulary

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor
    from transformers import RobertaForMaskedLM

CHECKPOINT = "sapiens/models/v1/checkpoint_vh.pt"
DICTIONARY = "sapiens/models/v1/dict.txt"
LICENCE = "sapiens-1.0.4.dist-info/LICENSE"
# Masks after a prompt without masks: with the four residues of EVQL this gives 120, the length of trastuzumab's chain.
LENGTH = 116
SAMPLES = [
    "EVQL",
    "EVQLVESGGGLVQPGGSLRLSCAASGFNIKDTYIHWVRQAPGKGLEWVARIYPTNGYTRYADSVKGRFTISADTSKNTAYLQMNSLRAEDTAVYYC_____________WGQGTLVTVSS",
]

# fairseq's names -> transformers' names, applied in this order.
RENAMES = (
    (r"^decoder\.lm_head\.weight$", "lm_head.decoder.weight"),
    (r"^decoder\.lm_head\.", "lm_head."),
    (r"^decoder\.sentence_encoder\.embed_tokens\.", "roberta.embeddings.word_embeddings."),
    (r"^decoder\.sentence_encoder\.embed_positions\.", "roberta.embeddings.position_embeddings."),
    (r"^decoder\.sentence_encoder\.emb_layer_norm\.", "roberta.embeddings.LayerNorm."),
    (r"^decoder\.sentence_encoder\.layers\.", "roberta.encoder.layer."),
    (r"\.self_attn\.([qkv])_proj\.", r".attention.self.\1_proj."),
    (r"\.q_proj\.", ".query."),
    (r"\.k_proj\.", ".key."),
    (r"\.v_proj\.", ".value."),
    (r"\.self_attn\.out_proj\.", ".attention.output.dense."),
    (r"\.self_attn_layer_norm\.", ".attention.output.LayerNorm."),
    (r"\.fc1\.", ".intermediate.dense."),
    (r"\.fc2\.", ".output.dense."),
    (r"\.final_layer_norm\.", ".output.LayerNorm."),
)


def rename(name: str) -> str:
    """Translate one fairseq parameter name."""
    for pattern, new in RENAMES:
        name = re.sub(pattern, new, name)
    return name


def build_model(weights: dict[str, Tensor], symbols: int) -> RobertaForMaskedLM:
    """Build the transformers model from fairseq's weights.

    Raises:
        MdmkitError: a weight is missing or left over, or the head is not tied to the embedding.
    """
    from transformers import RobertaConfig, RobertaForMaskedLM

    config = RobertaConfig(
        vocab_size=symbols,
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=8,
        intermediate_size=256,
        hidden_act="gelu",
        # fairseq numbers positions from padding_idx + 1 = 2, so the 144 positions need 146 rows.
        max_position_embeddings=146,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )
    config.mask_token_id = symbols - 1
    model = RobertaForMaskedLM(config).eval()
    renamed = {rename(name): value for name, value in weights.items()}
    # fairseq has no token types; transformers adds the embedding of the only type to every token.
    renamed["roberta.embeddings.token_type_embeddings.weight"] = torch.zeros(1, 128)
    renamed["lm_head.decoder.bias"] = renamed["lm_head.bias"]
    if not torch.equal(renamed["lm_head.decoder.weight"], renamed["roberta.embeddings.word_embeddings.weight"]):
        raise MdmkitError("the checkpoint's output head is not tied to its embedding: this is not sapiens 1.0.4.")
    missing, unexpected = model.load_state_dict(renamed, strict=False)
    missing = [name for name in missing if not name.endswith(("position_ids", "token_type_ids"))]
    if missing or unexpected:
        raise MdmkitError(
            f"the checkpoint is not the RoBERTa of sapiens 1.0.4: missing {missing}, unexpected {unexpected}."
        )
    return model


def convert(wheel: Path, output: Path) -> Path:
    """Convert the wheel's heavy-chain model to a directory of config, safetensors, tokenizer and licence.

    Raises:
        MdmkitError: the file is not a wheel of sapiens 1.0.4.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            checkpoint, dictionary, licence = (archive.read(name) for name in (CHECKPOINT, DICTIONARY, LICENCE))
    except (OSError, KeyError, zipfile.BadZipFile) as problem:
        raise MdmkitError(
            f"{wheel} is not the wheel of sapiens 1.0.4 ({problem}). Get it with "
            "`pip download --no-deps sapiens==1.0.4`; later versions hold no weights."
        ) from problem
    symbols = vocabulary([line.split()[0] for line in dictionary.decode().splitlines()])
    with torch.serialization.safe_globals([argparse.Namespace]):
        weights = torch.load(io.BytesIO(checkpoint), map_location="cpu", weights_only=True)["model"]
    model = build_model(weights, len(symbols))
    output.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(output)
    build_tokenizer(symbols).save_pretrained(output)
    (output / "mdmkit.json").write_text(json.dumps({"length": LENGTH, "samples": SAMPLES}, indent=2) + "\n")
    (output / "LICENSE").write_bytes(licence.rstrip() + b"\n")
    return output
