"""The final letter of an answer to a multiple-choice question."""

from __future__ import annotations

import re

from mdmkit_tasks.judges.marks import boxed, first_turn, plain_signs, shortened, tagged

_TYPOGRAPHY = re.compile(
    r"\\(?:text|textbf|textit|mathrm|mathbf)\b|\\[()\[\]]|</?[a-z]+>|[{}$*_`\"“”<>\[\]]|(?<!\w)'|'(?!\w)"
)
_IS = (
    r"(?:is|was|are|were|seems|looks|(?:can|could|must|would|should|has to|have to) be)"
    r"(?:\s+(?:most\s+)?(?:likely|probably|clearly|definitely|indeed|therefore|thus)\b)?"
)
_NOUN = r"(?:answer|ans\.?|choice|option|letter|solution|pick|guess|vote)"
_STATED = (
    rf"(?:\b{_NOUN}\s*(?:{_IS}\b|:|=|\s-\s)|^\s*(?:correct|right|best|final|result)\s*:"
    rf"|\b(?:the|most)\s+(?:best|right|correct|true|likely)(?:\s+one)?\s+{_IS}\b)\s*:?(?:\s*(?:but|rather|instead)\b)?"
)
_CONCLUDED = (
    r"\b(?:(?:no|wait|actually)\s*[,:]|so|therefore|thus|hence|but|rather|instead|choose|chose|pick|select|go with"
    r"|(?:would|['’]d)\s+say)"
    rf"\s*,?(?:\s*it(?:['’]s|\s+{_IS})\b)?|\bit(?:['’]s|\s+{_IS})(?:\s+(?:actually|really|clearly|probably))?\b"
)
_RIGHT = rf"(?:\s+{_IS}\s+|\s*[:-]\s*)(?:the\s+|my\s+)?(?:only\s+)?(?:right|correct|true|best|answer|yes)\b"
_NOT = (
    r"(?:\b(?:not|cannot|neither|than|instead of|rul(?:e|es|ed|ing) out|exclud\w+|eliminat\w+|discard\w*)|n['’]t)"
    r"(?:\s+be)?(?:\s+the)?(?:\s+(?:option|choice|answer)s?)?"
)
_WRONG = (
    r"(?:\s+(?:both|all|also))?\s+(?:not|wrong|false|incorrect|excluded|impossible|out|ruled out|eliminated"
    r"|invalid|unlikely|too|no)\b"
)
# What a line says of an option that is wrong.
_NO = r"(?:wrong|false|incorrect|no|not\s+(?:correct|right|true))"
# "A man" is a word; "A because …" and "A is right" are not.
_ARTICLE = (
    r"(?<=\bA)\s+(?!(?:because|since|as|and|or|nor|but|while|not|is|was|are|were|seems|looks|can|cannot|could|must|would"
    r"|should|has|have|fits?|works?|remains?|rather|instead|over|which|with|due|given|if|when|by|for|in|from|than|both"
    r"|all|also|to)\b)[a-z]"
)
# Things with a letter in their name: "Vitamin C is the answer" names no option.
_NAMED = (
    r"(?:vitamin|hepatitis|influenza|type|group|class|grade|stage|phase|factor|compound|product|reagent|molecule"
    r"|structure|isomer|particle|protein|plasmid|enzyme|gene|allele|strain|species|sample|figure|panel|point|planet"
    r"|star|vector|matrix)s?"
)
# Between letters and Chinese characters, which are all letters to `re`.
_SCRIPTS = re.compile(r"(?<=[\u4e00-\u9fff])(?=[A-Za-z(])|(?<=[A-Za-z)])(?=[\u4e00-\u9fff])")
# What is left when the others are ruled out.
_LEFT = (
    r"(?:,\s*(?:which\s+)?leav(?:ing|es)|\b(?:this|that|which)\s+leaves)(?:\s+(?:us|me))?(?:\s+with)?"
    r"(?:\s+(?:only|just))?\b"
)
# Chinese: the answer is C. Where this is not said: but C; choose C, though not "people choose C" or "do not choose C".
_CHINESE = r"(?:答案|选项|选择|正确的?)\s*(?:应该|应当|应)?\s*(?:是|为|:)\s*:?\s*(?:选项)?"
_CHOSEN_CHINESE = r"(?:而是|(?<![不要别没勿人家们])(?<!不能)(?<!不应)(?<!不该)(?<!不可)选择?)\s*:?\s*(?:选项)?"
_END_CHINESE = r"(?=\s*(?:[.,;:!?)。，；]|$|因为|由于|选?项))"
_END = r"(?=\s*(?:[.,;:!?)]|$)|\s+(?:because|since|as|and|but|while)\b)"


def chosen(answer: str, letters: str = "ABCD") -> str | None:
    r"""Find the letter that an answer states; None if it states none, or several.

    It is the one in the last `\boxed{…}`. Otherwise, in the last `<answer>` or the whole answer, it is the last that is
    stated ("the answer is B", "B is right") or concluded ("so B"), else what is left ("leaving B"), else the last
    option, else the last in parentheses, else the last one at the start of a line or sentence. Options that are called
    wrong do not count.
    """
    text = plain_signs(first_turn(answer))
    inside = boxed(text)
    text = shortened(_TYPOGRAPHY.sub("", (tagged(text) or text) if inside is None else inside))
    text = _without_names(_SCRIPTS.sub(" ", text), letters)
    text = _capitals(text, letters.lower())
    bare = text.strip(" \n().")
    if len(bare) == 1:
        return bare.upper() if bare.upper() in letters else None
    marked = rf"\([{letters}{letters.lower()}]\)"
    one = rf"(?:{marked}|(?<![\w-])[{letters}]\b(?!['’-]\w)(?!{_ARTICLE}))"
    several, text = _list(one), _without_wrong_lines(one, text)
    listed = rf"(?:{one}(?:\s*,\s*{one}){{1,8}}|{several})"  # A, C, D are wrong
    text = re.sub(
        rf"(?i:{_NOT})\s+{several}|{listed}\s+(?i:are|were)(?i:{_WRONG})|{one}(?:(?i:\s+{_IS}|\s*[:-])(?i:{_WRONG})|\s+\w+n['’]t\b)",
        " ", text,
    )  # fmt: skip
    noun = r"\s*(?i:(?:the\s+)?\b(?:option|choice|answer)\b)?\s*"
    alone = r"(?:[).:]|\s*$|,\s+(?:since|because|as)\b)"
    stated = (
        rf"(?i:{_STATED}){noun}({several})|(?i:{_CONCLUDED}){noun}({several}){_END}|({several})(?i:{_RIGHT})"
        rf"|({several})\s+fits\s+best\b|(?i:\bonly)\s+({several})\s+(?:works|fits|holds|remains|is\s+left)\b"
    )
    settled = _without_reasons(text, several)
    if inside is not None:
        first = re.match(rf"\s*{noun}({_list(marked)}|{several}{alone})", text)  # B. A gas
        return _only(one, first[1] if first else text)
    for pattern, said in (
        (rf"{stated}|{_CHINESE}\s*({one}){_END_CHINESE}", text),
        (rf"{_CHOSEN_CHINESE}\s*({one}){_END_CHINESE}", text),
        (rf"(?i:{_STATED})[^\n]{{0,200}}?({_list(marked)})", text),  # the answer is 5 m, i.e. (B)
        (rf"(?i:{_LEFT}){noun}({one})(?=\s*(?:[.!;]|$))", text),
        (rf"(?i:\b(?:option|choice|answer))\s+({several})", settled),
        (rf"({_list(marked)})", settled),
        (rf"(?:^|[.!?])\s*({several}){alone}", settled),
    ):
        if found := [next(filter(None, match.groups())) for match in re.finditer(pattern, said, re.M)]:
            return _only(one, found[-1])
    return None


def _without_wrong_lines(one: str, text: str) -> str:
    """A text without the lines that call an option wrong, if there are several: (A) wrong. One may be a list's text."""
    line = rf"^\s*{one}\s*[.:-]?\s*(?i:{_NO})\s*[.!]?\s*$"
    return re.sub(line, "", text, flags=re.M) if len(re.findall(line, text, re.M)) > 1 else text


def _without_reasons(text: str, several: str) -> str:
    """A text in which the reasons of an option that begins a sentence name no other: (C), since (A) has no mass.

    In "I reject (A) because (B) fits" they do.
    """
    because = rf"(?:since|because|given\s+that|as(?=\s+{several}))\b"
    inner = r"(?:(?!\b(?i:so|therefore|thus|hence|but|rather|instead|answer)\b|[.!?](?:\s|$))[^\n])*"
    begins = r"(?:^|[.!?]\s)\s*(?i:(?:the\s+)?(?:option|choice|answer)\s+)?"
    return re.sub(rf"({begins}{several}\s*[,:;]?\s+(?i:{because}))\s{inner}", r"\1 ", text, flags=re.M)


def _without_names(text: str, letters: str) -> str:
    """A text without letters that are parts of names: vitamin C, groups A and B."""
    one = rf"[{letters}{letters.lower()}]\b"
    more = rf"(?:\s*(?:,|/|\bor\b|\band\b)\s*[{letters}]\b){{0,8}}"
    return re.sub(rf"\b({_NAMED})[ -]{one}(?-i:{more})(?!['’])", r"\1", text, flags=re.I)


def _capitals(text: str, letters: str) -> str:
    """A text in which small letters are capitals where they can only be options: the answer is b; b) 5 m."""
    one = rf"\(?(?<![\w-])[{letters}]\b\)?"
    end = r"(?=\s*(?:[.,;:!?)]|$)(?![.,]\d))"
    joins = r"\s*(?:,\s*(?:or\b|and\b)?|/|\bor\b|\band\b)\s*"
    # Of "b or c" not only the b; but in "b, and c is wrong" another clause begins.
    several = rf"{one}(?:{joins}{one}(?:{end}|(?={joins}))){{0,8}}+"
    noun = r"\s*(?:(?:the\s+)?\b(?:option|choice|answer)\b)?\s*"
    for pattern in (
        rf"(?i:{_STATED}|{_CONCLUDED}|{_LEFT}){noun}{several}{end}",
        rf"(?i:\b(?:option|choice|answer))\s+{one}(?:{end}|(?i:{_RIGHT}))",
        rf"(?<![\w-])[{letters}](?=\s+(?i:{_IS})\s+(?i:the\s+|my\s+)?(?i:only\s+)?(?i:right|correct|true|best|answer)\b)",
        rf"^\s*{one}\s*$|^\s*\(?[{letters}]\)",
    ):
        text = re.sub(pattern, lambda found: re.sub(one, lambda letter: letter[0].upper(), found[0]), text, flags=re.M)
    return text


def _only(one: str, said: str) -> str | None:
    """The option in a text if it is the only one."""
    letters = {match[0].strip("()").upper() for match in re.finditer(one, said)}
    return letters.pop() if len(letters) == 1 else None


def _list(one: str) -> str:
    """One option, or several: A or B; A, B or C; A and B. In "A, and B …" another clause begins."""
    more = rf"\s*,\s*{one}"
    last = rf"(?:{more}){{0,8}}\s*,?\s*(?:or|nor|/)\s*{one}|(?:{more}){{1,8}}\s*,?\s*(?:and|&)\s*{one}"
    return rf"{one}(?:{last}|\s+(?:and|&)\s+{one}){{0,8}}"
