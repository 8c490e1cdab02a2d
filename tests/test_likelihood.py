"""Likelihoods against a model whose true ones are known, and against brute force on one whose are not."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch

import mdmkit
from mdmkit import MdmkitError, Output, lay_out
from mdmkit.likelihood import maskings
from mdmkit.likelihood.divided import divide
from mdmkit.likelihood.scoring import T
from mdmkit.testing import NoiseToy, ToyBackbone

TEXT = ("in the beginning god", " created the heavens and the earth .")


@pytest.fixture(scope="module")
def bigram() -> Any:
    return mdmkit.load("zoo:bigram", device="cpu")


def truth(model: Any, found: mdmkit.Likelihood) -> float:
    both = torch.tensor([[*found.prompt_ids, *found.ids]])
    return float(model.chain.log_likelihood(both) - model.chain.log_likelihood(torch.tensor([found.prompt_ids])))


def test_left_to_right_is_exact_where_the_model_is(bigram: Any) -> None:
    (found,) = mdmkit.score(bigram, TEXT[0], [TEXT[1]], estimator="left_to_right")
    assert bigram.text(found.ids) == TEXT[1].strip().replace(" .", ".")
    assert found.value == pytest.approx(truth(bigram, found), abs=1e-3)
    assert found.error == 0 and found.interval == (found.value, found.value)


def brute(model: Any, ids: list[int], start: int) -> float:
    """Every number of masks equally likely, every set of that size too."""
    exact, n = 0.0, len(ids) - start
    for masks in range(1, n + 1):
        sets = list(itertools.combinations(range(start, len(ids)), masks))
        for hidden in sets:
            tokens = torch.tensor([[model.mask_id if i in hidden else t for i, t in enumerate(ids)]])
            seen = model.forward(tokens, torch.ones_like(tokens).bool(), None, positions=torch.arange(len(ids))[None])
            logits = model.project(seen.hidden).float()
            logits[..., model.mask_id] = -torch.inf
            logp = logits.log_softmax(-1)[0]
            exact += sum(float(logp[i, ids[i]]) for i in hidden) * n / masks / len(sets) / n
    return exact


def test_the_bound_is_the_mean_over_all_maskings() -> None:
    model, ids = ToyBackbone(), [5, 3, 7, 2, 6]
    (every,) = mdmkit.score(model, ids[:2], [ids[2:]])
    assert every.value == pytest.approx(brute(model, ids, 2), abs=1e-5)
    longer = [5, 3, 7, 2, 6, 4, 3, 2]
    exact = brute(model, longer, 2)
    drawn = [mdmkit.score(model, longer[:2], [longer[2:]], samples=60, seed=i)[0] for i in range(40)]
    mean = sum(each.value for each in drawn) / 40
    error = math.sqrt(sum(each.error**2 for each in drawn)) / 40
    assert abs(mean - exact) < 4 * error and error < 0.2
    spread = float(torch.tensor([each.value for each in drawn]).std())
    assert spread == pytest.approx(sum(each.error for each in drawn) / 40, rel=0.4)


@pytest.mark.parametrize(("n", "samples", "replicates"), [(9, 128, 8), (9, 40, 8), (3, 6, 1), (12, 10, 2), (8, 2, 1)])
def test_numbers_of_masks_are_shared_out_evenly(n: int, samples: int, replicates: int) -> None:
    own = maskings.bound(n, samples, torch.Generator().manual_seed(1))
    assert own.replicates == replicates and len(own.hidden) <= samples and own.drawn
    counts, size = own.hidden.sum(1), len(own.hidden) // replicates
    for some in counts.split(size):
        assert (some[::2] + some[1::2] == n + 1).all()
        even = torch.arange(1, size + 1) * n / size  # the ends of the strata
        assert ((some.sort().values - even).abs() <= 1 + n / size).all()
    assert torch.equal(own.hidden, own.weight > 0)
    assert own.weight.sum(1).tolist() == pytest.approx([n / size] * len(counts))  # l positions of n / l each


def test_every_masking_is_seen_once() -> None:
    own = maskings.bound(4, 15, torch.Generator())
    assert len({tuple(row) for row in own.hidden.tolist()}) == 15 and not own.drawn
    assert float(own.weight.sum()) == pytest.approx(4.0)


def test_one_token_needs_no_sampling(bigram: Any) -> None:
    (found,) = mdmkit.score(bigram, "in the", [" beginning"], samples=3)
    assert found.error == 0 and found.value == pytest.approx(truth(bigram, found), abs=1e-4)


def test_too_few_samples_have_no_known_error() -> None:
    (found,) = mdmkit.score(ToyBackbone(), [5, 3], [[7, 2, 6]], samples=3)
    assert found.error == math.inf and found.interval == (-math.inf, math.inf)


def test_quantiles_of_student() -> None:
    stats = pytest.importorskip("scipy.stats")
    assert [round(float(stats.t.ppf(0.975, df)), 3) for df in range(1, maskings.REPLICATES)] == list(T)


# -- a path --------------------------------------------------------------------------------------------------------


def test_a_path_is_the_probability_of_what_was_drawn(bigram: Any) -> None:
    """One token a step at temperature 1: the product of the probabilities with which each was drawn."""
    sampler = mdmkit.compose("random", plan={"length": 6}, draw={"temperature": 1.0})
    row = mdmkit.decode(sampler, bigram, ["in the beginning"], seed=3).rows[0]
    (found,) = mdmkit.score(bigram, row.prompt_ids, [row.tokens], estimator="path", order=[row.order])
    confidence = row.trace["confidence"][len(row.prompt_ids) :]
    assert found.value == pytest.approx(sum(map(math.log, confidence)), abs=0.05)  # traces hold few digits
    assert found.value == pytest.approx(truth(bigram, found), abs=1e-3)


def test_tokens_of_one_step_do_not_see_each_other() -> None:
    model, ids = ToyBackbone(), [5, 3, 7, 2, 6]
    one, two = (
        mdmkit.score(model, ids[:2], [ids[2:]], estimator="path", order=[order])[0].value
        for order in ([0, 1, 2], [4, 4, 4])
    )
    (left,) = mdmkit.score(model, ids[:2], [ids[2:]], estimator="left_to_right")
    assert one == left.value != two
    masked = torch.tensor([[5, 3, *[model.mask_id] * 3]])
    seen = model.forward(masked, masked >= 0, None, positions=torch.arange(5)[None])
    logits = model.project(seen.hidden).float()
    logits[..., model.mask_id] = -torch.inf
    logp = logits.log_softmax(-1)[0]
    assert two == pytest.approx(sum(float(logp[i, ids[i]]) for i in range(2, 5)), abs=1e-5)


# -- several completions -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ["bound", "left_to_right"])
def test_a_completion_has_its_number_in_any_company(bigram: Any, estimator: str) -> None:
    options = [" created the heavens", " said to", TEXT[1], " was the word of god and"]
    how: dict[str, Any] = {"estimator": estimator, "samples": 20, "seed": 5}
    alone = [mdmkit.score(bigram, TEXT[0], [each], batch=3, **how)[0] for each in options]
    for together in (
        mdmkit.score(bigram, TEXT[0], options, **how),
        mdmkit.score(bigram, TEXT[0], options[::-1], **how)[::-1],
    ):
        for one, other in zip(alone, together, strict=True):
            assert (one.ids, one.replicates) == (other.ids, other.replicates)
            assert one.value == pytest.approx(other.value, abs=1e-4) and one.error == pytest.approx(
                other.error, abs=1e-4
            )


def test_choose(bigram: Any) -> None:
    options = [" created the heavens and the earth .", " earth the and .", " and"]
    choice = mdmkit.choose(bigram, TEXT[0], options, samples=64, seed=1)
    true = [truth(bigram, each) for each in choice.likelihoods]
    best = max(range(3), key=lambda i: true[i])
    assert choice.index == best == choice.ranking[0] and choice.option == options[best]
    assert choice.values == [each.value for each in choice.likelihoods]
    assert choice.lead[0] == pytest.approx(choice.values[choice.ranking[0]] - choice.values[choice.ranking[1]])
    per = mdmkit.choose(bigram, TEXT[0], options, per="token", samples=64, seed=1)
    assert per.values == [each.value / len(each.ids) for each in per.likelihoods]
    assert (per.index, best) == (0, 2)  # the shortest text is the likeliest, but not per token
    by = mdmkit.choose(bigram, TEXT[0], options, per="byte", samples=64, seed=1)
    assert by.values == [each.value / len(o.encode()) for o, each in zip(options, by.likelihoods, strict=True)]
    assert mdmkit.choose(bigram, TEXT[0], options[:1]).lead == (math.inf, 0.0)


# -- models with blocks --------------------------------------------------------------------------------------------


class Causal(ToyBackbone):
    """The toy with blocks: a position sees its own block and those before it, by adding up what it sees."""

    block = 1

    def encode(self, prompts, plan):
        ids = [list(prompt.ids) for prompt in prompts]
        return lay_out(
            prompts, ids, [[] for _ in ids], mask_id=self.mask_id, pad_id=0, vocab=self.vocab, plan_length=None,
            default_length=None, max_length=None, block=self.block,
        ), None  # fmt: skip

    def forward(self, tokens, valid, conditioning, *, positions, cache=None, **more):
        last = (positions // self.block + 1) * self.block - 1
        sums = torch.nn.functional.one_hot(tokens, self.vocab).float().cumsum(1)
        return Output(sums.gather(1, last.clamp_max(tokens.shape[1] - 1)[..., None].expand(-1, -1, self.vocab)))

    def project(self, hidden):
        table = torch.randn(self.vocab, self.vocab, generator=torch.Generator().manual_seed(3))
        return hidden @ table


def value(model: Any, ids: list[int], start: int, **how: Any) -> float:
    return mdmkit.score(model, ids[:start], [ids[start:]], **how)[0].value


def test_blocks_of_one_token_are_exact_in_one_forward_each() -> None:
    model, ids = Causal(), [5, 3, 7, 2, 6]
    assert value(model, ids, 2, samples=2) == pytest.approx(value(model, ids, 2, estimator="left_to_right"), abs=1e-4)


def test_what_comes_later_does_not_matter_in_a_block_model() -> None:
    model, ids = Causal(), [5, 3, 7, 2, 6, 4]
    model.block = 2
    whole = value(model, ids, 2, estimator="left_to_right")
    parts = value(model, ids[:4], 2, estimator="left_to_right") + value(model, ids, 4, estimator="left_to_right")
    assert whole == pytest.approx(parts, abs=1e-4)


@pytest.mark.parametrize("estimator", ["bound", "left_to_right"])
def test_a_checkpoint_with_blocks_is_scored_block_by_block(estimator: str) -> None:
    """SDAR's attention: the first block's score cannot depend on the second one, nor the second's on how it is cut."""
    golden = Path(__file__).resolve().parent / "golden" / "sdar"
    model = mdmkit.load(str(golden), device="cpu", mask_id=125, block_length=4)
    ids = [9, 30, 41, 17, 88, 23, 54, 61, 77, 12, 35, 90]
    how: dict[str, Any] = {"estimator": estimator, "batch": 500}  # blocks of 4 have 15 maskings, and all are seen
    parts = value(model, ids[:8], 4, **how) + value(model, ids, 8, **how)
    assert value(model, ids, 4, **how) == pytest.approx(parts, abs=1e-3)
    changed = [*ids[:8], *reversed(ids[8:])]
    assert value(model, changed, 4, **how) != pytest.approx(value(model, ids, 4, **how), abs=1e-3)


def test_errors_of_blocks_add_up() -> None:
    model, ids = Causal(), [3, 5, 2, 4, 6, 7, 2, 3, 5, 4, 6, 2, 7, 3, 4, 5]
    model.block = 8
    found = [mdmkit.score(model, [], [ids], samples=40, seed=i)[0] for i in range(40)]
    spread = float(torch.tensor([each.value for each in found]).std())
    assert spread == pytest.approx(sum(each.error for each in found) / 40, rel=0.4)


@pytest.fixture(scope="module")
def chat_model() -> Any:
    """A model of random logits, one token for each byte, with a chat template."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters, special = sorted(pre_tokenizers.ByteLevel.alphabet()), ["<mask>", "<pad>", "<turn>", "<bot>"]
    core = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate([*letters, *special])}, merges=[]))
    core.add_special_tokens([AddedToken(token, special=True) for token in special])
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, mask_token="<mask>", pad_token="<pad>")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ '<bot>' if m.role == 'assistant' else '<turn>' }}{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}<bot>{% endif %}"
    )
    logits = torch.randn(64, len(tokenizer), generator=torch.Generator().manual_seed(0))
    wrapped = mdmkit.wrap(lambda ids, attention_mask=None: logits[: ids.shape[1]].expand(len(ids), -1, -1), tokenizer)
    return wrapped.backbone


# -- prompts -------------------------------------------------------------------------------------------------------


def test_a_conversation_is_completed_by_the_assistant(chat_model: Any) -> None:
    prompt: dict[str, Any] = {"messages": [{"role": "user", "content": "What is red?"}]}
    own = divide(chat_model, prompt, "A colour.")
    text = chat_model.tokens.tokenizer.decode
    assert text(own.ids[: own.start]) == "<turn>What is red?<bot>" and text(own.ids[own.start : own.end]) == "A colour."
    assert divide(chat_model, "What is red?", "A colour.") == own  # the model chats, and so does its likelihood
    more = {"messages": [*prompt["messages"], {"role": "assistant", "content": "A "}]}
    last = divide(chat_model, more, "colour.")
    assert last.ids[: last.end] == own.ids[: own.end] and last.start > own.start
    plain = divide(chat_model, {"prompt": "What is red?", "chat": False}, " A colour.")
    assert text(plain.ids) == "What is red? A colour."


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"completions": [" "]}, "has no tokens"),
        ({"estimator": "bounds"}, "Did you mean 'bound'"),
        ({"completions": " created"}, "a list of texts"),
        ({"completions": []}, "name at least one"),
        ({"completions": [[5]]}, "give both as texts, or both as ids"),
        ({"prompt": [5], "completions": ["created"]}, "give both as ids, or both as texts"),
        ({"prompt": [5], "completions": [[10**6]]}, "token id 1000000 is none of the model's"),
        ({"prompt": [5], "completions": [[]]}, "has no tokens"),
        ({"samples": 1}, "samples=1: it is a whole number from 2 on"),
        ({"batch": 0}, "batch=0: it is a whole number from 1 on"),
        ({"seed": 0.5}, "seed=0.5: it is a whole number"),
        ({"estimator": "path"}, "needs order: for each completion one number for each of its tokens"),
        ({"estimator": "path", "order": [[1]]}, "The completions have 7 tokens"),
        ({"order": [[1]]}, "order is for the estimator 'path'"),
        ({"prompt": {"prompt": "in the", "suffix": "x"}}, "has 'suffix'"),
        ({"prompt": [5], "completions": [["mask"]]}, "give both as ids"),
    ],
)
def test_bad_input(bigram: Any, given: dict[str, Any], said: str) -> None:
    asked = {"prompt": TEXT[0], "completions": [TEXT[1]], **given}
    with pytest.raises(MdmkitError, match=said):
        mdmkit.score(bigram, **asked)


def test_bad_choices(bigram: Any) -> None:
    with pytest.raises(MdmkitError, match="holds the mask"):
        mdmkit.score(bigram, [5], [[bigram.mask_id]])
    with pytest.raises(MdmkitError, match="NoiseToy has no mask"):
        mdmkit.score(NoiseToy(), [1, 2], [[3]])
    with pytest.raises(MdmkitError, match="Did you mean 'token'"):
        mdmkit.choose(bigram, TEXT[0], [TEXT[1]], per="tokens")
    with pytest.raises(MdmkitError, match="per='byte' is for texts"):
        mdmkit.choose(bigram, [5], [[6]], per="byte")
