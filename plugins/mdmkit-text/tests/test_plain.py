"""mdmkit's own decoder and tokenizer compute what those of transformers do, and refuse what they do not cover."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import torch
from safetensors.torch import load_file, save_file

import mdmkit
from mdmkit import Guidance, MdmkitError, Plan, Sampler, Score
from mdmkit.testing import BackboneContract, ByConfidence, TakeQuota
from mdmkit_text.backbone import TextBackbone
from mdmkit_text.plain.tokenizer import PlainTokenizer, read_plain_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Of grouped heads, tied embeddings, heads of another width than their share, and other numbers.
CONFIGS: dict[str, dict[str, Any]] = {
    "grouped": {},
    "one head of keys, tied": {"num_key_value_heads": 1, "tie_word_embeddings": True},
    "every head its own keys": {"num_key_value_heads": 4, "rms_norm_eps": 1e-3},
    "wide heads": {"head_dim": 16, "num_hidden_layers": 3},
    "other positions": {"head_dim": 6, "rope_parameters": {"rope_type": "default", "rope_theta": 50.0}},
}
PROMPTS = [
    {"prompt_ids": [5, 6, 7], "length": 9},
    {"prompt_ids": [8] * 6, "length": 16},
    {"prompt_ids": [9, 12], "length": 3},
    {"prompt_ids": [5, 4, 6, 4, 4, 7, 8], "infill": True},
]


@pytest.fixture
def pair(build: Callable[..., Path]) -> Callable[..., tuple[Path, Any, Any]]:
    """The directory of a checkpoint, and its backbones: mdmkit's own, and that of transformers."""

    def make(text: dict[str, Any] | None = {}, **changes: Any) -> tuple[Path, Any, Any]:  # noqa: B006
        folder = plain(build("llama", text, **changes))
        both = TextBackbone.load(str(folder)), TextBackbone.load(f"decoder:{folder}")
        assert [type(each.network.model).__name__ for each in both] == ["PlainDecoder", "LlamaForCausalLM"]
        return folder, *both

    return make


def plain(folder: Path, **config: Any) -> Path:
    """Let a directory ask for mdmkit's own decoder, and change its config.json."""
    (folder / "mdmkit.json").write_text('{"plain": true}')
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return folder


@dataclass(frozen=True)
class Seen(Score):
    """Confidence; notes the logits at open positions, and those of the shadows, without ids that are forbidden."""

    logits: list[torch.Tensor]
    reads: ClassVar[tuple[str, ...]] = ("shadow",)

    def __call__(self, step: Any) -> torch.Tensor:
        for belief in (step.belief, step.shadow):
            told = step.open[..., None] & belief.logits.isfinite()
            self.logits.append(belief.logits.where(told, 0.0))
        return step.belief.confidence


@pytest.mark.parametrize("changes", CONFIGS.values(), ids=CONFIGS)
def test_logits_of_ragged_rows_are_those_of_transformers(changes: dict[str, Any], pair: Callable[..., Any]) -> None:
    _, own, native = pair(**changes)
    draw = torch.Generator().manual_seed(1)
    tokens = torch.randint(4, 25, (5, 23), generator=draw)
    lengths = torch.tensor([23, 7, 12, 1, 23])
    valid = torch.arange(23) < lengths[:, None]
    positions = torch.arange(23).expand(5, 23)
    for rows in (slice(None), slice(0, 1)):  # with padding, and without: then there is no mask
        given = tokens[rows], valid[rows], None
        hidden = [each.forward(*given, positions=positions[rows]).hidden for each in (own, native)]
        assert float((hidden[0] - hidden[1])[valid[rows]].abs().max()) <= 1e-5
        logits = [each.project(hidden[0]) for each in (own, native)]
        assert float((logits[0] - logits[1]).abs().max()) <= 1e-5
        assert float(logits[0].std()) > 0.3, "the logits tell tokens apart"


@pytest.mark.parametrize("cache", ["none", "prefix", "dual"])
@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize("name", ["grouped", "one head of keys, tied", "wide heads"])
def test_every_cache_and_shadow_gives_the_same_logits_and_tokens(
    name: str, guidance: float, cache: str, pair: Callable[..., Any]
) -> None:
    _, own, native = pair(**CONFIGS[name])
    shared = {"plan": Plan(block=4, early_stop=False), "cache": cache, "guidance": Guidance(guidance)}
    seen: tuple[list[torch.Tensor], list[torch.Tensor]] = [], []
    told = [
        mdmkit.decode(Sampler(Seen(logits), TakeQuota(), **shared), each, PROMPTS)
        for each, logits in zip((own, native), seen, strict=True)
    ]
    assert len(seen[0]) == len(seen[1]) >= 32
    for ours, theirs in zip(*seen, strict=True):
        assert float((ours - theirs).abs().max()) <= 1e-5
    assert told[0].tokens == told[1].tokens
    # The look of a sampler that compares holds several states of a row, which are no neighbours in the store.
    sampler = mdmkit.compose("info_gain", plan={"block": 4}, cache=cache)
    assert mdmkit.decode(sampler, own, PROMPTS).tokens == mdmkit.decode(sampler, native, PROMPTS).tokens


@pytest.mark.parametrize("cache", ["none", "prefix", "dual"])
def test_the_puzzle_model_decodes_to_the_same_tokens(cache: str) -> None:
    zoo = pytest.importorskip("mdmkit_zoo.catalogue")
    folder = zoo.ENTRIES["puzzles"].folder
    own, native = mdmkit.load("zoo:puzzles", device="cpu"), mdmkit.load(f"text:decoder:{folder}", device="cpu")
    assert [type(each.network.model).__name__ for each in (own, native)] == ["PlainDecoder", "LlamaForCausalLM"]
    assert (own.vocab, own.mask_id, own.forbidden, own.ends) == (
        native.vocab,
        native.mask_id,
        native.forbidden,
        native.ends,
    )
    canvas, _ = own.encode([mdmkit.Prompt(text=text) for text in own.samples], Plan())
    positions = torch.arange(canvas.tokens.shape[1]).expand_as(canvas.tokens)
    logits = [
        each.project(each.forward(canvas.tokens, canvas.valid, None, positions=positions).hidden)
        for each in (own, native)
    ]
    assert float((logits[0] - logits[1])[canvas.valid].abs().max()) <= 1e-5
    for preset in ("confidence", "info_gain"):
        sampler = mdmkit.compose(preset, plan={"block": 4}, cache=cache)
        told = [mdmkit.decode(sampler, each, own.samples) for each in (own, native)]
        assert told[0].texts == told[1].texts
        assert told[0].nfe == told[1].nfe


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_rounds_in_the_same_places(dtype: str, build: Callable[..., Path]) -> None:
    folder = plain(build("llama"))
    own, native = (TextBackbone.load(ref, dtype=dtype) for ref in (str(folder), f"decoder:{folder}"))
    assert own.network.model.dtype == native.network.model.dtype == getattr(torch, dtype)
    row = torch.arange(5, 17)[None], torch.ones(1, 12, dtype=torch.bool), None
    hidden = [each.forward(*row, positions=torch.arange(12)[None]).hidden for each in (own, native)]
    assert torch.equal(*hidden)


def test_its_own_positions_and_mask_are_those_of_transformers(pair: Callable[..., Any]) -> None:
    """The model is called directly, as `mdmkit.wrap` does."""
    _, own, native = pair()
    row = torch.arange(5, 17)[None]
    mask = (torch.arange(12) < 9).long()[None]
    ours, theirs = (each.network.model(row, attention_mask=mask).logits for each in (own, native))
    assert float((ours - theirs)[:, :9].abs().max()) <= 1e-5
    wrapped = mdmkit.wrap(own.network.model, native.tokens.tokenizer, family="decoder")
    sampler = Sampler(ByConfidence(), TakeQuota(), plan=Plan(block=4))
    assert wrapped.pads
    assert mdmkit.decode(sampler, wrapped, PROMPTS).tokens == mdmkit.decode(sampler, native, PROMPTS).tokens


class TestContract(BackboneContract):
    prompts = ("abc", "a[MASK]b[MASK][MASK]cdefg", "", {"prompt_ids": [5, 6], "length": 3})

    @pytest.fixture
    def backbone(self, pair: Callable[..., Any]) -> Any:
        return pair()[1]


@pytest.mark.parametrize(
    "change",
    [
        {"attention_bias": True},
        {"mlp_bias": True},
        {"hidden_act": "gelu"},
        {"is_causal": True},
        {"model_type": "qwen2"},
        {"block_size": 4},
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}},
        {"partial_rotary_factor": 0.5},
    ],
    ids=str,
)
def test_a_config_that_is_not_plain_is_refused(change: dict[str, Any], build: Callable[..., Path]) -> None:
    folder = plain(build("llama"), **change)
    with pytest.raises(MdmkitError, match="family plain does not cover"):
        TextBackbone.load(str(folder))


def test_weights_that_do_not_fit_are_refused(build: Callable[..., Path]) -> None:
    folder = plain(build("llama"))
    weights = load_file(folder / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    for broken, said in (
        ({key: value for key, value in weights.items() if key != name}, rf"{name} is absent, should be \[48, 32\]"),
        (weights | {name: torch.zeros(47, 32)}, rf"{name} is \[47, 32\], should be \[48, 32\]"),
        (weights | {"more": torch.zeros(3)}, r"more is \[3\], should be absent"),
    ):
        save_file(broken, folder / "model.safetensors")
        with pytest.raises(MdmkitError, match=said):
            TextBackbone.load(str(folder))


def test_the_tokenizer_reads_and_writes_as_that_of_transformers(pair: Callable[..., Any]) -> None:
    _, own, native = pair()
    ours, theirs = own.tokens.tokenizer, native.tokens.tokenizer
    assert isinstance(ours, PlainTokenizer)
    assert own.tokens.special == native.tokens.special
    assert ours.get_vocab() == theirs.get_vocab()
    assert [own.tokens.render(i) for i in range(28)] == [native.tokens.render(i) for i in range(28)]
    for text in ("abc", "", "a[MASK]b", "xyz[SEP]c"):
        assert own.tokens.enclose(text) == native.tokens.enclose(text)
        assert own.tokens.decode([2, 5, 6, 4, 3]) == native.tokens.decode([2, 5, 6, 4, 3]) == "ab"
    prompts = [mdmkit.Prompt(text=text) for text in ("abc", "a[MASK:3]b[MASK]")]
    first, second = (each.encode(prompts, Plan(length=4))[0].tokens for each in (own, native))
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("chat_template.jinja", "{{ messages }}"),
        ("tokenizer_config.json", "{}"),
        ("tokenizer_config.json", '{"tokenizer_class": "PreTrainedTokenizerFast", "add_prefix_space": true}'),
        ("tokenizer_config.json", '{"tokenizer_class": "PreTrainedTokenizerFast", "mask_token": "a"}'),
        (
            "tokenizer_config.json",
            '{"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": true}',
        ),
    ],
)
def test_a_tokenizer_with_more_settings_is_read_by_transformers(
    file: str, content: str, build: Callable[..., Path]
) -> None:
    folder = plain(build("llama"))
    assert read_plain_tokenizer(folder) is not None
    (folder / file).write_text(content)
    assert read_plain_tokenizer(folder) is None
    loaded = TextBackbone.load(str(folder), mask_id=4)
    assert type(loaded.network.model).__name__ == "PlainDecoder"
    assert type(loaded.tokens.tokenizer).__module__.startswith("transformers.")


def test_only_a_directory_that_asks_for_it_gets_it(build: Callable[..., Path]) -> None:
    folder = build("llama")
    assert type(TextBackbone.load(str(folder)).network.model).__name__ == "LlamaForCausalLM"
    (folder / "mdmkit.json").write_text('{"plain": "yes"}')
    with pytest.raises(MdmkitError, match="plain is 'yes', but must be true or false"):
        TextBackbone.load(str(folder))


def test_loading_it_draws_no_random_numbers_and_imports_no_transformers(
    build: Callable[..., Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(plain(build("llama")), tmp_path / "copy")
    code = (
        "import sys, torch\n"
        "from mdmkit_text.backbone import TextBackbone\n"
        "before = torch.get_rng_state()\n"
        f"TextBackbone.load({str(folder)!r}, device='cpu')\n"
        "assert torch.equal(before, torch.get_rng_state())\n"
        "print(sorted({'transformers', 'torch._dynamo', 'sympy', 'huggingface_hub'} & sys.modules.keys()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
