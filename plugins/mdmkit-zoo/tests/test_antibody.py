"""`zoo:antibody` knows heavy chains, and its tokenizer reads the mask the ways people write it."""

import json
import zipfile
from pathlib import Path
from random import Random

import pytest
import torch

from mdmkit import MdmkitError, Plan, Prompt
from mdmkit_zoo.antibody.convert import convert, rename
from mdmkit_zoo.antibody.tokenizer import build_tokenizer, vocabulary
from mdmkit_zoo.catalogue import ENTRIES
from mdmkit_zoo.zoo import Zoo

FOLDER = ENTRIES["antibody"].folder
TRASTUZUMAB = (
    "EVQLVESGGGLVQPGGSLRLSCAASGFNIKDTYIHWVRQAPGKGLEWVARIYPTNGYTR"
    "YADSVKGRFTISADTSKNTAYLQMNSLRAEDTAVYYCSRWGGDGFYAMDYWGQGTLVTVSS"
)
MASK = 24


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def model():
    from transformers import AutoModelForMaskedLM

    model, loading = AutoModelForMaskedLM.from_pretrained(FOLDER, output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    return model.eval()


@pytest.fixture(scope="module")
def backbone():
    return Zoo.load("antibody", device="cpu", dtype="float32")


def look(backbone, canvas) -> torch.Tensor:
    return backbone.project(backbone.forward(canvas.tokens, canvas.valid, None, positions=canvas.positions).hidden)


@torch.inference_mode()
def fill(model, tokens: torch.Tensor) -> torch.Tensor:
    """Fill the masks of [L] one by one, the surest first, residues only."""
    tokens = tokens.clone()
    while (tokens == MASK).any():
        p = model(input_ids=tokens[None]).logits[0, :, 4:24].softmax(-1)
        sure, best = p.max(-1)
        place = sure.masked_fill(tokens != MASK, -1.0).argmax()
        tokens[place] = best[place] + 4
    return tokens


def test_residues_are_appended_before_the_closing_token(backbone) -> None:
    canvas, _ = backbone.encode([Prompt(text="EVQL")], Plan())
    assert canvas.tokens[0].tolist() == [0, 7, 21, 17, 13, *[MASK] * 116, 2]
    assert set(backbone.forbidden) >= {0, 1, 2, 3, MASK}


@torch.inference_mode()
def test_a_padded_row_says_what_it_says_alone(backbone) -> None:
    prompts = [Prompt(text="EVQLVES__GLVQ"), Prompt(text="EVQL", length=6), Prompt(text="QVQ", length=3)]
    together, _ = backbone.encode(prompts, Plan())
    logits = look(backbone, together)
    for row, prompt in enumerate(prompts):
        alone, _ = backbone.encode([prompt], Plan())
        # fp32 rounding comes to 4e-5 in this network; in float64 the two agree to 2e-14.
        torch.testing.assert_close(logits[row][together.valid[row]], look(backbone, alone)[0], atol=2e-4, rtol=0.0)


@torch.inference_mode()
def test_logits_are_those_of_the_original_network(model, tokenizer) -> None:
    """The expected numbers are of the fairseq checkpoint, run in float64 by an independent forward."""
    text = TRASTUZUMAB[:30] + "_" * 20 + TRASTUZUMAB[50:]
    logits = model(input_ids=torch.tensor([tokenizer(text)["input_ids"]])).logits[0]
    want = torch.tensor([[0.2741, -0.0221, 0.1465], [4.1732, -0.8552, 0.7803], [-0.0122, 0.0324, 0.0868]])
    torch.testing.assert_close(logits[[1, 40, 121]][:, [4, 13, 19]], want, atol=1e-4, rtol=0.0)


@torch.inference_mode()
def test_masked_residues_of_trastuzumab_are_recovered(model, tokenizer) -> None:
    whole = torch.tensor(tokenizer(TRASTUZUMAB)["input_ids"])
    hits = []
    for seed in range(40):
        places = Random(seed).sample(range(1, 121), 60)
        masked = whole.clone()
        masked[places] = MASK
        best = model(input_ids=masked[None]).logits[0, :, 4:24].argmax(-1) + 4
        hits.append((best == whole)[places].float().mean())
    assert torch.stack(hits).mean().item() == pytest.approx(0.767, abs=0.01)


def test_four_residues_become_a_whole_heavy_chain(model, tokenizer) -> None:
    manifest = json.loads((FOLDER / "mdmkit.json").read_text())
    tokens = torch.tensor(tokenizer("EVQL" + "_" * manifest["length"])["input_ids"])
    chain = tokenizer.decode(fill(model, tokens), skip_special_tokens=True)
    assert len(chain) == 120
    assert chain.startswith("EVQLVESGGGLV")
    assert chain.endswith("WGQGTLVTVSS")
    assert chain[21] == chain[95] == "C"  # the disulfide bond of every antibody domain


def test_the_mask_is_read_as_people_write_it(tokenizer) -> None:
    want = [0, 7, 21, MASK, MASK, 17, 2]
    for text in ("EV__Q", "EV<mask><mask>Q", "EV X_\nQ", "EV**Q"):
        assert tokenizer(text)["input_ids"] == [*want[:5], 17, 2], text
    assert tokenizer.mask_token_id == MASK
    assert tokenizer.decode([0, 7, 21, 2], skip_special_tokens=True) == "EV"


def test_a_letter_that_is_no_residue_is_refused(tokenizer) -> None:
    with pytest.raises(Exception, match="WordLevel"):
        tokenizer("EVBQ")


def test_the_tokenizer_is_the_dictionary_of_the_wheel(tokenizer) -> None:
    symbols = vocabulary(list("ACDEFGHIKLMNPQRSTVWY"))
    assert len(symbols) == 25
    assert tokenizer.get_vocab() == {symbol: i for i, symbol in enumerate(symbols)}
    assert build_tokenizer(symbols)(TRASTUZUMAB)["input_ids"] == tokenizer(TRASTUZUMAB)["input_ids"]


def test_the_licence_lies_beside_the_weights() -> None:
    text = (FOLDER / "LICENSE").read_text()
    assert "MIT License" in text
    assert "Merck" in text
    assert ENTRIES["antibody"].megabytes < 2.5


def test_fairseq_names_become_transformers_names() -> None:
    assert rename("decoder.lm_head.weight") == "lm_head.decoder.weight"
    assert rename("decoder.lm_head.dense.bias") == "lm_head.dense.bias"
    layer = "decoder.sentence_encoder.layers.2."
    assert rename(f"{layer}self_attn.q_proj.bias") == "roberta.encoder.layer.2.attention.self.query.bias"
    assert rename(f"{layer}self_attn.out_proj.weight") == "roberta.encoder.layer.2.attention.output.dense.weight"
    assert rename(f"{layer}fc2.weight") == "roberta.encoder.layer.2.output.dense.weight"


def test_what_is_not_the_wheel_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.whl"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("something.txt", "else")
    for path in (other, tmp_path / "absent.whl"):
        with pytest.raises(MdmkitError, match=r"is not the wheel of sapiens 1\.0\.4"):
            convert(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
