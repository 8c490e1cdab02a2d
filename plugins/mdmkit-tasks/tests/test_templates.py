"""Conversations of lm-evaluation-harness as text: continued, once begun, and by the template that was asked for."""

from __future__ import annotations

import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from mdmkit import MdmkitError
from mdmkit_tasks.templates import find, write

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

PLAIN = "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}{{ eos_token }}{% endfor %}" + (
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + PLAIN
ASKED = [{"role": "user", "content": "2 and 2?"}]
BEGUN = [*ASKED, {"role": "assistant", "content": "The sum is"}]


def tokenizer(template: str | dict[str, str] | None, adds: bool = False):
    """Letters as tokens; `adds` a token for the beginning when it tokenizes."""
    core = tokenizers.Tokenizer(
        tokenizers.models.BPE(vocab={"<s>": 0, "</s>": 1, "a": 2, "<unk>": 3}, merges=[], unk_token="<unk>")
    )
    if adds:
        core.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>")
    made.chat_template = template
    return made


def test_an_answer_that_was_begun_is_continued() -> None:
    made = tokenizer(PLAIN)
    assert write(made, "m", PLAIN, BEGUN, False) == "<s>[user] 2 and 2?</s>[assistant] The sum is"
    assert write(made, "m", PLAIN, ASKED, True) == "<s>[user] 2 and 2?</s>[assistant] "


def test_a_text_begins_once() -> None:
    """Whoever tokenizes the text adds the beginning, or the template has written it."""
    for adds in (False, True):
        made = tokenizer(PLAIN, adds)
        ids = made(write(made, "m", PLAIN, ASKED, True))["input_ids"]
        assert ids.count(made.bos_token_id) == 1 and ids[0] == made.bos_token_id


def test_a_template_is_found_by_its_name() -> None:
    several = tokenizer({"default": "d", "tools": "t"})
    assert (find(several, "m", True), find(several, "m", "tools")) == ("d", "t")
    with pytest.raises(MdmkitError, match="model m has no chat template 'tool': it has 'default', 'tools'"):
        find(several, "m", "tool")
    with pytest.raises(MdmkitError, match="it has one, without a name"):
        find(tokenizer(PLAIN), "m", "tools")
    with pytest.raises(MdmkitError, match="model m has no chat template: leave out"):
        find(tokenizer(None), "m", True)


def test_a_template_without_a_system_role_says_what_to_leave_out() -> None:
    system = [{"role": "system", "content": "Be short."}, *ASKED]
    with pytest.raises(MdmkitError, match=r"of system, user: System role not supported.*leave out --system_instruct"):
        write(tokenizer(NO_SYSTEM), "m", NO_SYSTEM, system, True)


def test_the_entry_point_names_the_model() -> None:
    """Releases of lm-evaluation-harness after 0.4.13 read this group."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    named = project["project"]["entry-points"]["lm_eval.models"]
    assert named == {"mdmkit": "mdmkit_tasks.harness:MdmkitLM"}
    pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed: extra `harness`")
    assert EntryPoint("mdmkit", named["mdmkit"], "lm_eval.models").load().__name__ == "MdmkitLM"
