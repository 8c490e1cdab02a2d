"""Texts into ids: chat templates, masks written in a text, suffixes, and no token or space that nobody asked for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from mdmkit import MdmkitError, Plan, Prompt, read_prompts
from mdmkit_text.backbone import TextBackbone
from mdmkit_text.chat import is_base
from mdmkit_text.encoder import OPEN, Encoder
from mdmkit_text.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# In the manner of LLaDA (the template writes the beginning of text), of Dream and SDAR (turns between <|im_start|> and
# <|im_end|>, thinking on request), of LLaDA2 (upper-case roles, no beginning of text).
LLADA = (
    "{{ '<s>' }}{% for m in messages %}{{ '<h>' + m['role'] + '</h>' + (m['content'] | trim) + '<eot>' }}{% endfor %}"
    "{% if add_generation_prompt %}<h>assistant</h>{% endif %}"
)
QWEN = (
    "{% if messages[0]['role'] != 'system' %}<im>system\nhelp<eot>{% endif %}"
    "{% for m in messages %}<im>{{ m.role + '\n' + m.content }}<eot>{% endfor %}"
    "{% if add_generation_prompt %}<im>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}{% endif %}"
)
ROLES = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system here') }}{% endif %}"
    "<role>{{ {'user': 'HUMAN', 'assistant': 'ASSISTANT'}[m.role] }}</role>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<role>ASSISTANT</role>{% endif %}"
)
SPECIAL = ["<s>", "</s>", "<eot>", "<im>", "<h>", "</h>", "<role>", "</role>", "<m>"]


def byte_level(*, prefix: bool = False, mask: AddedToken | str = "<m>", **settings: Any) -> Any:
    """One token per byte, `<s>` before a text and `</s>` after it; prefix: a space before every text, as some have."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([*SPECIAL[:-1], mask])
    ends = [(name, core.token_to_id(name)) for name in ("<s>", "</s>")]
    core.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    names = {"bos_token": "<s>", "eos_token": "</s>", "mask_token": mask}
    return PreTrainedTokenizerFast(tokenizer_object=core, **names | settings)


def metaspace(scheme: str = "always", *, legacy: bool = False) -> Any:
    """Sentencepiece in the two forms that tokenizer.json knows; each puts a ▁ before a text."""
    words = {word: i for i, word in enumerate(["<unk>", "▁", *"abc", "▁a", "▁b", "▁c", "<m>"])}
    core = Tokenizer(models.BPE(words, [("▁", "a"), ("▁", "b"), ("▁", "c")], unk_token="<unk>"))
    if legacy:
        core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        core.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(prepend_scheme=scheme)])
    core.add_special_tokens(["<m>"])
    return PreTrainedTokenizerFast(tokenizer_object=core, mask_token="<m>", unk_token="<unk>")


def wordpiece() -> Any:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "##able", "able", "do"]
    core = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    core.normalizer, core.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    return PreTrainedTokenizerFast(tokenizer_object=core, **names)


def encoder(tokenizer: Any, ref: str = "org/Model-Instruct") -> Encoder:
    tokens = Tokens(tokenizer, SimpleNamespace())
    return Encoder(tokens, tokens.special["mask"], ref)


def encoded(tokenizer: Any, given: Any, ref: str = "org/Model-Instruct") -> tuple[list[str], list[str]]:
    """The tokens before and after the appended masks, by name; a mask by the name of its token."""
    before, after = masked(encoder(tokenizer, ref), given)
    return tokenizer.convert_ids_to_tokens(before), tokenizer.convert_ids_to_tokens(after)


def masked(encoder: Encoder, given: Any) -> tuple[list[int], ...]:
    """The ids before and after the appended masks, and the mask's id where a mask is written."""
    pieces = encoder.encode(read_prompts([given], 0)[0])
    return tuple([encoder.mask_id if i == OPEN else i for i in ids] for ids in pieces)


def written(tokenizer: Any, given: Any, ref: str = "org/Model-Instruct") -> str:
    """All of a prompt as the model sees it; `…` where masks are appended."""
    before, after = masked(encoder(tokenizer, ref), given)
    return "…".join(tokenizer.decode(ids) for ids in (before, after))


# -- chat ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "seen"),
    [
        (LLADA, "<s><h>user</h>hi<eot><h>assistant</h>…"),
        (QWEN, "<im>system\nhelp<eot><im>user\nhi<eot><im>assistant\n…"),
        (ROLES, "<role>HUMAN</role>hi<role>ASSISTANT</role>…"),
    ],
)
def test_a_text_goes_through_the_template_and_gets_no_special_token_beside_its_own(template: str, seen: str) -> None:
    tokenizer = byte_level(chat_template=template)
    assert written(tokenizer, "hi") == seen
    asked = [{"role": "user", "content": "hi"}]
    by_tokenizer = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=False)
    assert encoder(tokenizer).encode(Prompt(text="hi")) == (by_tokenizer, [])


def test_a_conversation_is_written_turn_by_turn() -> None:
    turns = [("system", "short"), ("user", "hi"), ("assistant", "yo"), ("user", "ok")]
    given = {"messages": [{"role": role, "content": content} for role, content in turns]}
    seen = "<s><h>system</h>short<eot><h>user</h>hi<eot><h>assistant</h>yo<eot><h>user</h>ok<eot><h>assistant</h>…"
    assert written(byte_level(chat_template=LLADA), given) == seen
    del given["messages"][0]
    assert written(byte_level(chat_template=LLADA), given | {"system": "short"}) == seen
    assert written(byte_level(chat_template=QWEN), {"prompt": "hi", "system": "short"}) == (
        "<im>system\nshort<eot><im>user\nhi<eot><im>assistant\n…"
    )


@pytest.mark.parametrize(
    ("template", "seen"),
    [
        (LLADA, "<s><h>user</h>hi<eot><h>assistant</h>So…"),
        (QWEN, "<im>system\nhelp<eot><im>user\nhi<eot><im>assistant\nSo…"),
        (ROLES, "<role>HUMAN</role>hi<role>ASSISTANT</role>So…"),
    ],
)
def test_the_assistants_last_turn_is_continued(template: str, seen: str) -> None:
    given = {"messages": [_user("hi"), {"role": "assistant", "content": "So"}]}
    assert written(byte_level(chat_template=template), given) == seen


def test_chat_is_the_default_with_a_template_unless_the_name_says_base_or_the_prompt_is_an_infill() -> None:
    chatty, plain = byte_level(chat_template=LLADA), byte_level()
    assert written(plain, "hi") == written(chatty, {"prompt": "hi", "chat": False}) == "<s>hi…</s>"
    assert written(chatty, "hi", "org/Model-8B-Base") == "<s>hi…</s>"
    assert written(chatty, "a<m>b") == written(chatty, "a[MASK]b") == "<s>a<m>b…</s>"
    assert written(chatty, {"prompt": "a", "suffix": "b"}) == "<s>a…b</s>"
    # A mask that is to stay is no infill.
    assert written(chatty, {"prompt": "[MASK]", "infill": False}) == "<s><h>user</h>[MASK]<eot><h>assistant</h>…"


def test_chat_can_be_asked_for_where_it_is_not_the_default() -> None:
    tokenizer = byte_level(chat_template=LLADA)
    asked = {"chat": True, "prompt": "a[MASK:2]b", "infill": True}
    assert written(tokenizer, asked) == "<s><h>user</h>a<m><m>b<eot><h>assistant</h>…"
    assert written(tokenizer, {"chat": True, "prompt": "a", "suffix": "b"}) == (
        "<s><h>user</h>a<eot><h>assistant</h>…b"
    )
    assert written(tokenizer, {"chat": True, "prompt": "a"}, "org/Base") == "<s><h>user</h>a<eot><h>assistant</h>…"
    assert written(tokenizer, {"system": "s", "prompt": "a"}, "org/Base").startswith("<s><h>system</h>s<eot>")


@pytest.mark.parametrize(
    ("ref", "base"),
    [
        ("org/LLaDA-8B-Base", True),
        ("./models/dream_base", True),
        ("/x/models--org--Dream-v0-Base-7B/snapshots/0a1b", True),
        ("org/LLaDA-8B-Instruct", False),
        ("org/Base-Instruct", False),
        ("org/database-model", False),
        ("base/Model", False),
        ("", False),
    ],
)
def test_a_name_says_whether_a_model_is_a_base_model(ref: str, base: bool) -> None:
    assert is_base(ref) == base


def test_a_chat_request_without_a_template_says_how_to_do_without_or_bring_one() -> None:
    for given in ({"prompt": "a", "chat": True}, {"prompt": "a", "system": "b"}, {"messages": [_user("a")]}):
        with pytest.raises(MdmkitError, match=r"prompt 0 asks.*'org/Model-Instruct' has none.*--no-chat.*\.jinja"):
            written(byte_level(), given)


def test_a_template_that_refuses_a_conversation_is_quoted() -> None:
    with pytest.raises(MdmkitError, match=r"prompt 0: the chat template .* of system, user: no system here"):
        written(byte_level(chat_template=ROLES), {"prompt": "a", "system": "b"})


def test_options_are_the_templates_variables() -> None:
    tokenizer = byte_level(chat_template=QWEN)
    thought = {"prompt": "a", "chat_options": {"enable_thinking": False}}
    assert written(tokenizer, thought, "org/Base").endswith("<im>assistant\n<think></think>…")
    assert written(tokenizer, {"prompt": "a", "chat_options": {"enable_thinking": True}}).endswith("assistant\n…")
    for name in ("enable_thinkin", "padding"):
        with pytest.raises(MdmkitError, match=f"prompt 0: the chat template .* has no option '{name}'"):
            written(tokenizer, {"prompt": "a", "chat_options": {name: True}})
    with pytest.raises(MdmkitError, match=r"prompt 0: the chat template .* cannot write this conversation.*--no-chat"):
        written(tokenizer, {"prompt": "a", "chat_options": {"add_generation_prompt": False}})


def test_a_template_beside_the_weights_is_read(build: Callable[..., Path]) -> None:
    folder = build("llama")
    (folder / "chat_template.jinja").write_text("{% for m in messages %}a{{ m.content }}{% endfor %}b")
    canvas = TextBackbone.load(str(folder)).encode([Prompt(text="cd", length=1)], Plan())[0]
    assert canvas.tokens.tolist() == [[5, 7, 8, 6, 4]]


def _user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


# -- masks and suffixes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", [False, True])
def test_masks_in_a_text_stand_where_they_are_written_without_spaces_of_their_own(prefix: bool) -> None:
    first = ["Ġ"] if prefix else []
    given = {"prompt": "ab[MASK:3]c d[MASK] e", "suffix": "f"}
    before, after = encoded(byte_level(prefix=prefix), given)
    assert before == ["<s>", *first, "a", "b", "<m>", "<m>", "<m>", "c", "Ġ", "d", "<m>", "Ġ", "e"]
    assert after == ["f", "</s>"]


@pytest.mark.parametrize(("scheme", "legacy"), [("always", False), ("first", False), ("never", False), ("", True)])
def test_sentencepiece_puts_its_space_before_the_whole_text_only(scheme: str, legacy: bool) -> None:
    first = "a" if scheme == "never" else "▁a"
    before, after = encoded(metaspace(scheme, legacy=legacy), {"prompt": "a[MASK]b<m> c", "suffix": "b"})
    assert (before, after) == ([first, "<m>", "b", "<m>", "▁c"], ["b"])


def test_wordpiece_reads_the_text_after_a_mask_as_the_beginning_of_a_word() -> None:
    assert encoded(wordpiece(), "unable")[0] == ["[CLS]", "un", "##able"]
    for text in ("un[MASK]able", "un [MASK:1] able"):
        assert encoded(wordpiece(), text) == (["[CLS]", "un", "[MASK]", "able"], ["[SEP]"])
    assert encoded(wordpiece(), "[MASK:2]")[0] == ["[CLS]", "[MASK]", "[MASK]"]


def test_a_mask_token_that_takes_the_space_before_it_takes_it_here_too() -> None:
    tokenizer = byte_level(mask=AddedToken("<m>", lstrip=True, special=True))
    assert encoded(tokenizer, "a <m> b") == encoded(tokenizer, "a [MASK] b")
    assert encoded(tokenizer, "a [MASK] b")[0] == ["<s>", "a", "<m>", "Ġ", "b"]
    assert masked(encoder(tokenizer), "a <m> b")[0] == tokenizer("a <m> b")["input_ids"][:-1]


def test_a_text_that_is_no_infill_keeps_the_brackets() -> None:
    given = {"prompt": "[MASK:8]", "suffix": "[MASK:x]", "infill": False}
    assert written(byte_level(), given) == "<s>[MASK:8]…[MASK:x]</s>"


def test_masks_and_suffix_on_the_canvas(loaded: Callable[[str], Any]) -> None:
    backbone = loaded("bert")
    given = read_prompts([{"prompt": "a", "suffix": "b[MASK:2]"}, {"prompt": "a", "suffix": "b"}, "[MASK:2]c"], 0)
    canvas = backbone.encode(given, Plan(length=3))[0]
    assert canvas.tokens.tolist() == [[2, 5, 6, 4, 4, 3, 0], [2, 5, 4, 4, 4, 6, 3], [2, 4, 4, 7, 3, 0, 0]]
    assert canvas.editable.long().tolist() == [[0, 0, 0, 1, 1, 0, 0], [0, 0, 1, 1, 1, 0, 0], [0, 1, 1, 0, 0, 0, 0]]
    assert canvas.infill.tolist() == [True, False, True]


@pytest.mark.parametrize("mask", ["[MASK]", "[MASK:8]", "<m>"])
@pytest.mark.parametrize("chat", [True, None])
def test_in_a_chat_template_a_mask_is_text_unless_infilling_is_asked_for(mask: str, chat: bool | None) -> None:
    tokenizer, text = byte_level(chat_template=LLADA), f"What does {mask} do?"
    asked = {"prompt": text, "chat": True} if chat else {"messages": [_user(text)]}
    pieces = encoder(tokenizer).encode(read_prompts([asked | {"suffix": mask}], 0)[0])
    assert OPEN not in [*pieces[0], *pieces[1]]
    assert written(tokenizer, asked) == f"<s><h>user</h>{text}<eot><h>assistant</h>…"
    pieces = encoder(tokenizer).encode(read_prompts([asked | {"infill": True}], 0)[0])
    assert pieces[0].count(OPEN) == (8 if "8" in mask else 1)


def test_a_mask_whose_id_is_that_of_a_letter_is_only_where_it_is_written(build: Callable[..., Path]) -> None:
    backbone = TextBackbone.load(str(build("bert", text={"mask_token": None})), mask_id=5)  # a
    prompts = [Prompt(text="aba", length=2), Prompt(text="ab[MASK]"), Prompt(ids=(5, 6))]
    canvas = backbone.encode(prompts, Plan())[0]
    assert canvas.tokens.tolist() == [[2, 5, 6, 5, 5, 5, 3], [2, 5, 6, 5, 3, *canvas.tokens[1, 5:].tolist()],
                                      [5, 6, *canvas.tokens[2, 2:].tolist()]]  # fmt: skip
    assert canvas.open.long().tolist() == [[0, 0, 0, 0, 1, 1, 0], [0, 0, 0, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0]]
    assert canvas.infill.tolist() == [False, True, True]


@pytest.mark.parametrize("text", ["a[MASK:0]", "[MASK:99999999]", "[MASK:" + "9" * 5000 + "]", "[MASK:-1]", "[MASK:²]"])
def test_an_impossible_number_of_masks_is_refused(text: str) -> None:
    with pytest.raises(MdmkitError, match=r'prompt 0: \'\[MASK:.* 1 to 1048576.*"infill": false'):
        written(byte_level(), text)
    with pytest.raises(MdmkitError, match=r"prompt 0: '\[MASK:.* is not a number of masks"):
        written(byte_level(), {"prompt": "a", "suffix": text})


def test_many_masks_are_counted_together() -> None:
    with pytest.raises(MdmkitError, match="prompt 0 holds 1600000 masks: a row has at most 1048576 tokens"):
        written(byte_level(), "[MASK:800000] [MASK:800000]")


def test_a_mask_without_a_name_in_the_tokenizer_can_be_written_too() -> None:
    tokenizer = byte_level(mask_token=None)
    assert masked(Encoder(Tokens(tokenizer, SimpleNamespace()), 999), "a[MASK:2]")[0][2:] == [999, 999]


def test_without_a_tokenizer_a_conversation_is_refused_as_a_text_is() -> None:
    encode = Encoder(Tokens(None, SimpleNamespace()), 0).encode
    with pytest.raises(MdmkitError, match=r"prompt 0 is a text, and .* no tokenizer"):
        encode(read_prompts([{"messages": [_user("a")]}], 0)[0])
