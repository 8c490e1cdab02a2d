"""What m.yaml may say, and what is refused by name; what a request may ask for. Without SGLang."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from omegaconf import OmegaConf
from sglang_rounds import BLOCK, MASK, Request

import mdmkit
from mdmkit import MdmkitError, Sampler
from mdmkit.config.resolution import KEYS as CORE_KEYS
from mdmkit_heuristics.scores import Confidence
from mdmkit_heuristics.selects import TopK
from mdmkit_sglang import settings
from mdmkit_sglang.model import SglangModel
from mdmkit_sglang.requests import Requests
from mdmkit_sglang.settings import read_sampler


def refused(**given: Any) -> str:
    with pytest.raises(MdmkitError) as error:
        read_sampler(given, BLOCK, MASK)
    return str(error.value)


def test_a_preset_its_parts_and_set_are_mdmkits_own():
    given = {"sampler": "info_gain", "select": {"candidates": 4}, "set": {"draw.temperature": 0.2}, "seed": 7}
    sampler = read_sampler(given | {"block_size": BLOCK}, BLOCK, MASK)
    wanted = mdmkit.compose("info_gain", select={"candidates": 4}, draw={"temperature": 0.2}, seed=7)
    assert sampler == wanted
    assert read_sampler({"score": "margin", "select": "top_k"}, BLOCK, MASK).name == "custom"


def test_a_length_that_a_preset_reports_gives_way_to_the_requests():
    assert mdmkit.compose("info_gain@gsm8k").plan.length == 256
    assert read_sampler({"sampler": "info_gain@gsm8k"}, 32, MASK).plan.length is None


def test_every_key_of_a_configuration_is_accepted():
    assert set(settings.KEYS) == {*CORE_KEYS, "sampler", "set", "block_size"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"sampler": "confidence", "treshold": 0.9}, ["unknown key 'treshold'", "Known: block_size, cache, commit"]),
        ({"sampler": "confidense"}, ["unknown sampler 'confidense'. Did you mean 'confidence'?"]),
        ({"sampler": "confidence", "select": {"temprature": 1}}, ["temprature", "temperature"]),
        ({"sampler": "confidence", "set": ["a=1"]}, ["set is a mapping"]),
        ({}, ["a sampler needs a score and a select", "or start from a preset (installed: "]),
        ({"sampler": "confidence", "plan": {"length": 8}}, ["plan.length=8 cannot be set here", "max_tokens"]),
        ({"sampler": "confidence", "set": {"plan": {"length": 8}}}, ["plan.length=8 cannot be set here", "max_tokens"]),
        ({"sampler": "confidence", "infill": True}, ["infill cannot be set here", "to the right of a prompt only"]),
        ({"sampler": "confidence", "suffix": "x"}, ["suffix cannot be set here", "to the right of a prompt only"]),
        ({"sampler": "beam"}, ["cannot run inside SGLang", "search 'beam'"]),
        ({"sampler": "confidence", "guidance": {"scale": 2}}, ["cannot run inside SGLang", "guidance.scale=2"]),
        ({"sampler": "confidence", "cache": "dual"}, ["cannot run inside SGLang", "cache=dual"]),
        ({"sampler": "confidence", "set": {"plan.block": 3}}, ["plan.block=3 does not divide", "Use 1, 2, 4, 8"]),
        ({"sampler": "confidence", "set": {"plan.block": 16}}, ["is finished there is never rewritten"]),
        ({"sampler": "pc"}, ["the texts of the model's tokens", "score pc"]),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_wrong_is_refused_by_name(given, said):
    error = refused(**given)
    assert all(each in error for each in said), error


@dataclass(frozen=True)
class Growing:
    rewrites: ClassVar[bool] = True
    grows: ClassVar[bool] = True

    def __call__(self, step: Any, actions: Any, choice: Any) -> Any: ...


@dataclass(frozen=True)
class Hasty:
    fill: ClassVar[str] = "best"

    def __call__(self, step: Any) -> Any: ...


@pytest.mark.parametrize(("part", "said"), [({"commit": Growing()}, "adds positions"), ({"stop": Hasty()}, "at once")])
def test_parts_that_reach_beyond_the_block_are_refused_by_name(part, said):
    sampler = Sampler(Confidence(), TopK(), **part)
    with pytest.raises(MdmkitError, match=f"{type(*part.values()).__name__}.*{said}"):
        settings._refuse(sampler, BLOCK)


def test_the_example_is_an_m_yaml():
    given = OmegaConf.to_container(OmegaConf.load(settings.__file__.partition("src")[0] + "example.yaml"))
    assert read_sampler(given, BLOCK, MASK).name == "info_gain"  # type: ignore[arg-type]


# -- requests --------------------------------------------------------------------------------------------------------


def requests(**given: Any) -> Requests:
    return Requests(read_sampler(given or {"sampler": "confidence"}, BLOCK, MASK), MASK, BLOCK)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (Request("a", [5], 8, fields={"json_schema": "{}"}), "json_schema: not with --dllm-algorithm Mdmkit"),
        (Request("a", [5], 8, fields={"logit_bias": {"5": 1}, "min_new_tokens": 3}), "min_new_tokens, logit_bias"),
        (Request("a", [5], 8, return_logprob=True), "logprobs"),
    ],
    ids=["json_schema", "logit_bias", "logprobs"],
)
def test_a_field_without_effect_is_refused(request_, said):
    assert said in requests().admit(request_)
    assert requests().row("a") is None


def test_what_the_checkpoint_sets_by_itself_is_not():
    fields = {"temperature": 0.7, "top_p": 0.8, "repetition_penalty": 1.05, "logit_bias": {}, "regex": None}
    assert requests().admit(Request("a", [5], 8, fields=fields)) is None


def test_health_checks_do_not_shift_the_seeds():
    served = requests()
    kept = [Request(rid, [5], 8) for rid in ("a", "HEALTH_CHECK_1", "b")]
    assert [served.admit(request) for request in kept] == [None] * 3
    assert [served.row(request.rid).prompt.seed for request in kept[::2]] == [mdmkit.row_seed(0, i) for i in range(2)]


def test_a_rule_that_ends_rows_needs_an_end_token():
    served = requests()
    served.sampler = Sampler(Confidence(), TopK(), stop=Hasty())
    assert served.admit(Request("a", [5], 8)) is None
    assert "ignore_eos" in served.admit(Request("b", [5], 8, ignore_eos=True))


def test_the_model_of_a_request_knows_its_tokenizer():
    vocabulary = {"a": 3, "b": 4, "<s>": 1, "</s>": 2, "<pad>": 0, "<mask>": MASK}
    tokenizer = SimpleNamespace(eos_token_id=2, bos_token_id=1, pad_token_id=0, get_vocab=lambda: vocabulary)
    served = requests()
    first = Request("a", [3], 8, tokenizer=tokenizer, eos_token_ids=frozenset({1, 2}))
    served.admit(first)
    model = served.row("a")._model(8, torch.device("cpu"))
    assert (model.ends, model.endings, model.forbidden) == ([2, 1], [0, 1, 2], [0, 5, 6, 7])
    second = Request("b", [3], 8, tokenizer=tokenizer, ignore_eos=True, eos_token_ids=frozenset({1, 2}))
    served.admit(second)
    other = served.row("b")._model(8, torch.device("cpu"))
    assert (other.ends, other.endings, other.forbidden) == ([], model.endings, model.forbidden)


# -- the places of logits --------------------------------------------------------------------------------------------


def test_logits_stay_where_they_are_until_a_later_step_has_ended(monkeypatch):
    """More states in a step than were foreseen, and hidden states of a long prompt that take one number a column."""
    model = SglangModel(MASK, 4, 2, alternatives=1)
    told = iter(range(1, 100))

    class Parent:
        def switch(self, ask: Any) -> torch.Tensor:
            return torch.full((2, 4), float(next(told)))

    monkeypatch.setattr("greenlet.getcurrent", lambda: SimpleNamespace(parent=Parent()))

    def forward(states: int, columns: int = 2) -> torch.Tensor:
        tokens = torch.zeros(states, columns, dtype=torch.long)
        positions = torch.arange(columns).expand(states, columns)
        return model.forward(tokens, tokens == 0, None, positions=positions).hidden

    belief = forward(1, columns=6)
    assert belief.shape == (1, 6, 1)
    model.step_ended()
    for _ in range(3):
        look, again = forward(3), forward(2)
        assert len(set(model.project(torch.cat((belief[:, -2:], look, again)))[:, 0, 0].tolist())) == 6
        assert (model.project(again)[..., 0] == model.project(again)[:, :1, 0]).all()
        model.step_ended()
        belief = again[1:]
    assert len(model._logits) == 16  # five of a step, beside five of the step before
