"""lm-evaluation-harness with the model `mdmkit`, offline, on local tasks: its results equal those of `mdmkit eval`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import mdmkit
from mdmkit.cli import main
from mdmkit.installed import registry

lm_eval = pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed: extra `harness`")
pytest.importorskip("datasets")

PRODUCTS = [{"question": f"{a}*{b}=", "answer": f"{a * b:07b}"} for a in range(2, 5) for b in range(2, 6)]
TASK = """task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: {kind}
doc_to_text: "{{{{question}}}}"
doc_to_target: "{target}"
{more}
"""
GENERATE = """generation_kwargs: {until: ["\\n"], max_gen_toks: 7, do_sample: false}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]"""
CHOOSE = """doc_to_choice: ["god", "the earth"]
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]"""
OURS = '''
from mdmkit import Component, hookimpl
import json

class Products:
    """The same rows, asked and judged by `mdmkit eval`."""
    settings = {{"plan": {{"length": 7}}}}
    def prompts(self, count, seed):
        rows = [json.loads(line) for line in open({file!r})][:count]
        return [{{"prompt": row["question"], "reference": row["answer"]}} for row in rows]
    def judge(self, prompt, answer):
        return answer == prompt["reference"]

@hookimpl
def mdmkit_task():
    return [Component("products", Products)]
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_default", None)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "products.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in PRODUCTS))
    target, choice = "{{answer}}", 0
    (tmp_path / "products.yaml").write_text(
        TASK.format(name="products", file=file, kind="generate_until", target=target, more=GENERATE)
    )
    words = tmp_path / "words.jsonl"
    words.write_text(json.dumps({"question": "in the beginning"}) + "\n")
    (tmp_path / "words.yaml").write_text(
        TASK.format(name="words", file=words, kind="multiple_choice", target=choice, more=CHOOSE)
    )
    (tmp_path / "ours.py").write_text(OURS.format(file=str(file)))
    return tmp_path


def simple(folder: Path, task: str, arguments: str, **options: Any) -> Any:
    from lm_eval.tasks import TaskManager

    import mdmkit_tasks.harness  # noqa: F401

    manager = TaskManager(include_path=str(folder), include_defaults=False)
    return lm_eval.simple_evaluate(
        model="mdmkit", model_args=arguments, tasks=[task], task_manager=manager, bootstrap_iters=0, **options
    )


def test_its_result_is_that_of_mdmkit_eval(folder: Path) -> None:
    arguments = "pretrained=zoo:puzzles,sampler=confidence,plan.tokens_per_step=2,device=cpu"
    found = simple(folder, "products", arguments, batch_size=4)
    theirs = [sample["resps"][0][0] for sample in found["samples"]["products"]]
    words = ["eval", "--plugin", "ours.py", "--task", "products", "--sampler", "confidence", "--limit", "12"]
    words += ["--seeds", "1", "--set", "plan.tokens_per_step=2", "--output", "out"]
    result = CliRunner().invoke(main, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in Path("out/rows/products/confidence.jsonl").read_text().splitlines()]
    ours = json.loads(Path("out/results.jsonl").read_text())
    assert [row["text"] for row in rows] == theirs
    assert ours["score"] == found["results"]["products"]["exact_match,none"] > 0.5


def test_drawn_tokens_are_those_of_the_same_seed(folder: Path) -> None:
    """Row i of the harness draws what row i of a decode with this seed draws."""
    arguments = "pretrained=zoo:puzzles,sampler=info_gain,draw.temperature=1.0,seed=3,device=cpu"
    found = simple(folder, "products", arguments, limit=5)
    sampler = mdmkit.compose("info_gain", draw={"temperature": 1.0}, plan={"length": 7})
    decoded = mdmkit.decode(sampler, mdmkit.load("zoo:puzzles"), [r["question"] for r in PRODUCTS[:5]], seed=3)
    assert [sample["resps"][0][0] for sample in found["samples"]["products"]] == decoded.texts


def test_multiple_choice_is_decided_by_the_likelihoods_of_the_continuations(folder: Path) -> None:
    import torch

    found = simple(folder, "words", "pretrained=zoo:bigram,sampler=confidence,likelihood=left_to_right,device=cpu")
    (sample,) = found["samples"]["words"]
    model = mdmkit.load("zoo:bigram")

    def truth(text: str) -> float:
        both, before = (torch.tensor([model.tokens(t)]) for t in (f"in the beginning {text}", "in the beginning"))
        return float(model.chain.log_likelihood(both) - model.chain.log_likelihood(before))

    said = [float(response[0][0]) for response in sample["resps"]]
    assert said == pytest.approx([truth("god"), truth("the earth")], abs=1e-3)
    assert found["results"]["words"]["acc,none"] == float(said[0] > said[1])


def test_a_tasks_generation_options_become_the_samplers_and_ours_win(folder: Path) -> None:
    from mdmkit_tasks.harness import MdmkitLM

    model = MdmkitLM("zoo:puzzles", "confidence", device="cpu")
    assert model._generation({"until": [], "max_gen_toks": 9}) == (9, {})
    assert model._generation({"do_sample": False, "temperature": 0.7}) == (None, {})
    assert model._generation({"do_sample": True, "temperature": 0.7}) == (None, {"draw.temperature": "0.7"})
    for everything in (0, -1):  # as transformers and vLLM write that all tokens are kept
        assert model._generation({"do_sample": True, "top_k": everything}) == (None, {"draw.top_k": "null"})
    model._compose({"draw.top_k": "null"})
    assert model._generation({"num_beams": 1, "repetition_penalty": 1.0, "min_p": 0.0}) == (None, {})
    own = MdmkitLM("zoo:puzzles", "confidence", device="cpu", length=5, **{"draw.temperature": 0.3})
    assert own._generation({"do_sample": True, "temperature": 0.7, "max_gen_toks": 9}) == (5, {})
    assert own.sampler.draw.temperature == 0.3
    with pytest.raises(mdmkit.MdmkitError, match="asks for num_beams=4"):
        model._generation({"num_beams": 4})
    with pytest.raises(mdmkit.MdmkitError, match="Did you mean"):
        MdmkitLM("zoo:puzzles", "confidenc")
    with pytest.raises(mdmkit.MdmkitError, match="has no tokenizer of transformers"):
        MdmkitLM("zoo:bigram", "confidence", device="cpu").apply_chat_template([])


def test_a_documents_answer_does_not_depend_on_the_other_requests(folder: Path) -> None:
    """Such as those that a cache has answered; a repeated request draws anew."""
    from lm_eval.api.instance import Instance

    from mdmkit_tasks.harness import MdmkitLM

    def ask(document: int) -> Any:
        asked = (PRODUCTS[document]["question"], {"max_gen_toks": 7})
        return Instance("generate_until", {}, asked, 0, metadata=("products", document, 1))

    model = MdmkitLM("zoo:puzzles", "confidence", device="cpu", seed=3, **{"draw.temperature": 3.0})
    every = model.generate_until([ask(document) for document in range(6)])
    assert model.generate_until([ask(document) for document in (4, 1)]) == [every[4], every[1]]
    again = model._seeds([ask(2), ask(2), ask(2)])
    assert len(set(again)) == 3 and again[0] == mdmkit.row_seed(3, 2)


def test_a_cache_changes_no_answer(folder: Path) -> None:
    arguments = "pretrained=zoo:puzzles,sampler=confidence,draw.temperature=3.0,device=cpu"
    alone = simple(folder, "products", arguments, limit=6)
    simple(folder, "products", arguments, limit=3, use_cache=str(folder / "cache" / "answers"))
    cached = simple(folder, "products", arguments, limit=6, use_cache=str(folder / "cache" / "answers"))
    answers = [[sample["resps"][0][0] for sample in found["samples"]["products"]] for found in (alone, cached)]
    assert answers[0] == answers[1] and len(set(answers[0])) > 1


def test_the_harness_finds_the_model_by_its_entry_point() -> None:
    from importlib.metadata import entry_points

    from lm_eval.api import registry as theirs

    if not hasattr(theirs, "load_plugins"):
        pytest.skip("this lm-evaluation-harness does not look for models of other distributions: use `mdmkit lm-eval`")
    (ours,) = [point for point in entry_points(group="lm_eval.models") if point.name == "mdmkit"]
    assert theirs.get_model("mdmkit") is ours.load()


def test_answers_are_cut_at_the_first_stop_and_greedy_is_what_the_sampler_writes(folder: Path) -> None:
    from lm_eval.api.instance import Instance

    from mdmkit_tasks.harness import MdmkitLM

    def ask(kind: str, *arguments: Any) -> Any:
        return Instance(request_type=kind, doc={}, arguments=arguments, idx=0)

    model = MdmkitLM("zoo:puzzles", "confidence", device="cpu", samples=4)
    assert model.generate_until([ask("generate_until", "7*8=", {"max_gen_toks": 7})]) == ["0111000"]
    assert model.generate_until([ask("generate_until", "7*8=", {"max_gen_toks": 7, "until": ["10", "11"]})]) == ["0"]
    (right, greedy), (wrong, other) = model.loglikelihood(
        [ask("loglikelihood", "7*8=", "0111000"), ask("loglikelihood", "7*8=", "1111000")]
    )
    assert right > wrong and greedy and not other
    assert not MdmkitLM("zoo:puzzles", "confidence", device="cpu", check_greedy=False, samples=2).loglikelihood(
        [ask("loglikelihood", "7*8=", "0111000")]
    )[0][1]
    infills = MdmkitLM("zoo:puzzles", "confidence", device="cpu", infill=True)
    assert infills.generate_until([ask("generate_until", "7*8=_______", {"max_gen_toks": 3})]) == ["7*8=0111000"]
    (rolling,) = MdmkitLM("zoo:bigram", likelihood="left_to_right", device="cpu").loglikelihood_rolling(
        [ask("loglikelihood_rolling", "in the beginning")]
    )
    chain = mdmkit.load("zoo:bigram")
    import torch

    assert rolling == pytest.approx(
        float(chain.chain.log_likelihood(torch.tensor([chain.tokens("in the beginning")]))), abs=1e-3
    )


def test_the_command_hands_its_arguments_on(folder: Path) -> None:
    words = ["lm-eval", "--model", "mdmkit", "--model_args", "pretrained=zoo:puzzles,sampler=confidence"]
    words += ["--tasks", "products", "--include_path", str(folder), "--limit", "2", "--output_path", "theirs"]
    words += ["--batch_size", "2"]  # without --device, where the harness would ask for cuda:0
    result = CliRunner().invoke(main, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    (file,) = Path("theirs").rglob("results_*.json")
    assert json.loads(file.read_text())["results"]["products"]["exact_match,none"] == 1.0
