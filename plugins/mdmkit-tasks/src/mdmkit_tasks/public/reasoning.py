"""Questions with one right answer: GSM8K, MATH-500, GPQA."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from mdmkit import Backbone, MdmkitError
from mdmkit_tasks.judges import choice, mathematics, numbers
from mdmkit_tasks.public import shots as examples
from mdmkit_tasks.public.data import FromData, brief


class _Questions(FromData):
    """Questions: an instruct model answers them without examples, any model after some examples.

    Args:
        shots: the number of worked examples before the question. With examples, the prompt is a text to be continued,
            not a chat.
        chat: True: use the model's chat template; None: if the model has one, but never after examples.
    """

    instruction: str
    examples: Sequence[tuple[str, str]] = ()

    def __init__(self, data: str | None = None, shots: int = 0, chat: bool | None = None):
        super().__init__(data)
        if not 0 <= shots <= len(self.examples):
            raise MdmkitError(f"task {self.name!r}: shots={shots} is from 0 to {len(self.examples)}.")
        self.shots, self.chat = shots, False if chat is None and shots else chat

    def ask(self, question: str, reference: Any) -> dict[str, Any]:
        if self.shots:
            worked = "".join(f"Question: {q}\nAnswer: {a}\n\n" for q, a in self.examples[: self.shots])
            text = f"{worked}Question: {question}\nAnswer:"
        else:
            text = f"{question}\n\n{self.instruction}"
        asked = {"prompt": text, "infill": False, "reference": reference}
        return asked if self.chat is None else asked | {"chat": self.chat}


class GSM8K(_Questions):
    """Grade-school word problems (arXiv:2110.14168); the number is compared exactly."""

    name, hub, fields = "gsm8k", ("openai/gsm8k", "main", "test"), ("question", "answer")
    settings = {"plan": {"length": 256}}  # noqa: RUF012
    instruction = "Solve this step by step, and put the final number in \\boxed{}."
    examples = examples.WORD_PROBLEMS

    def problem(self, row: Mapping[str, Any]) -> str:
        if numbers.final_number(row["answer"]) is None:
            return f"the answer {brief(row['answer'])} holds no number to compare with"
        return ""

    def prompts(self, count: int | None, seed: int) -> Sequence[Any]:
        return [self.ask(row["question"], row["answer"]) for row in self.rows(count, seed)]

    def judge(self, prompt: Any, answer: str) -> bool:
        return numbers.same_number(answer, prompt["reference"])


class Math500(_Questions):
    """500 problems of MATH (arXiv:2103.03874, arXiv:2305.20050); compared as mathematics, by math-verify."""

    name, hub, fields = "math500", ("HuggingFaceH4/MATH-500", None, "test"), ("problem", "answer")
    settings = {"plan": {"length": 512}}  # noqa: RUF012
    instruction = "Solve this step by step, and put the final answer in \\boxed{}."
    examples = examples.MATHEMATICS

    def check(self, backbone: Backbone) -> None:
        mathematics.require()

    def prompts(self, count: int | None, seed: int) -> Sequence[Any]:
        return [self.ask(row["problem"], row["answer"]) for row in self.rows(count, seed)]

    def judge(self, prompt: Any, answer: str) -> bool:
        return mathematics.same_value(answer, prompt["reference"])


class GPQA(_Questions):
    """Graduate-level multiple choice (arXiv:2311.12022), the diamond set; the choices are shuffled by the seed."""

    name, hub = "gpqa", ("Idavidrein/gpqa", "gpqa_diamond", "train")
    fields = ("Question", "Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")
    settings = {"plan": {"length": 256}}  # noqa: RUF012
    instruction = "Think step by step, and end with the letter of the right choice in \\boxed{}."

    def problem(self, row: Mapping[str, Any]) -> str:
        right, *wrong = (" ".join(row[field].split()) for field in self.fields[1:])
        return f"the choice {brief(right)} is both right and wrong" if right in wrong else ""

    def prompts(self, count: int | None, seed: int) -> Sequence[Any]:
        out = []
        for row in self.rows(count, seed):
            choices = [row[field].strip() for field in self.fields[1:]]
            order = list(range(4))
            random.Random(f"{self.name}/{seed}/{row['Question']}").shuffle(order)
            listed = "\n".join(f"({letter}) {choices[i]}" for letter, i in zip("ABCD", order, strict=True))
            out.append(self.ask(f"{row['Question'].strip()}\n\n{listed}", "ABCD"[order.index(0)]))
        return out

    def judge(self, prompt: Any, answer: str) -> bool:
        return choice.chosen(answer) == prompt["reference"]
