"""Tasks for the zoo's models, with judges that need no other model."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mdmkit import MdmkitError, Task
from mdmkit_zoo.puzzles import texts

if TYPE_CHECKING:
    from mdmkit import Backbone
    from mdmkit_zoo.bigram.backbone import Bigram


class _Infilling(Task):
    """Prompts in which `_` is a mask, for one model of the zoo, and others with its alphabet."""

    name: str
    model: str

    def check(self, backbone: Backbone) -> None:
        from mdmkit import Plan, Prompt

        asked = str(self.prompts(1, 0)[0])
        wanted = asked.count("_")
        try:
            canvas, _ = backbone.encode([Prompt(text=asked)], Plan())
            found = int(canvas.open.sum()) if bool(canvas.infill.all()) else 0
        except MdmkitError:
            found = 0
        if found != wanted:
            raise MdmkitError(
                f"task {self.name!r} asks {asked!r}, in which every _ is one mask, and the model does not read _ as a "
                f"mask. It is for {self.model} and models of the same characters; tasks for text models are "
                "in mdmkit-tasks."
            )


class _Puzzle(_Infilling):
    model = "zoo:puzzles"

    def prompts(self, count: int | None, seed: int) -> Sequence[str]:
        return texts.instances(self.name, self.limit if count is None else count, seed)

    def judge(self, prompt: Any, answer: str) -> bool:
        return texts.judge(self.name, prompt, answer)


class Sudoku4(_Puzzle):
    """Held-out 4×4 Sudokus with 4 to 10 givens: the given digits are kept and the rules hold."""

    name = "sudoku4"


class Countdown(_Puzzle):
    """Held-out puzzles of three numbers and a target: right equations, every number used once, the target reached."""

    name = "countdown"


class OneWay(_Puzzle):
    """A product, nothing is given (arXiv:2602.18176, case study): two factors from 2 to 9, and their product in binary.

    Tokens are drawn at temperature 1: there is only one prompt, so greedy decoding would give one answer.
    """

    name = "one_way"
    settings = {"draw": {"temperature": 1.0}}  # noqa: RUF012


# Heavy chain of trastuzumab, variable region.
TRASTUZUMAB = (
    "EVQLVESGGGLVQPGGSLRLSCAASGFNIKDTYIHWVRQAPGKGLEWVARIYPTNGYTRY"
    "ADSVKGRFTISADTSKNTAYLQMNSLRAEDTAVYYCSRWGGDGFYAMDYWGQGTLVTVSS"
)


class Antibody(_Infilling):
    """Random residues of trastuzumab's heavy chain are masked; the score is the share that is recovered.

    Args:
        hidden: share of the residues that are masked, 0 to 1.
    """

    name, model, measure = "antibody", "zoo:antibody", "recovered"

    def __init__(self, hidden: float = 0.5):
        if not 0 < hidden <= 1:
            raise MdmkitError(
                f"task 'antibody': hidden={hidden} is the share of masked residues, above 0 and at most 1."
            )
        self.hidden = hidden

    def prompts(self, count: int | None, seed: int) -> Sequence[str]:
        rng = random.Random(f"antibody/{seed}")
        places = range(len(TRASTUZUMAB))
        number = max(1, round(self.hidden * len(places)))
        hidden = [set(rng.sample(places, number)) for _ in range(self.limit if count is None else count)]
        return ["".join("_" if i in gone else TRASTUZUMAB[i] for i in places) for gone in hidden]

    def judge(self, prompt: Any, answer: str) -> float:
        if len(answer) != len(prompt):
            return 0.0
        asked = [i for i, residue in enumerate(prompt) if residue == "_"]
        return sum(answer[i] == TRASTUZUMAB[i] for i in asked) / len(asked)


# Nats per word, lower than any filling: the score of an answer that changes the prompt's words or the length.
NO_FILLING = -100.0


class BigramLikelihood(_Infilling):
    """Lines of the bigram chain with random words masked; tokens are drawn at temperature 1.

    The score is the exact log-likelihood of the words filled in given the others, in nats per word: this is known
    exactly for no other model. `gap` is the distance to the most probable filling. An answer that is not a filling of
    the prompt scores −100.

    Args:
        words: length of a line.
        hidden: share of its words that are masked, 0 to 1.
    """

    name, model, measure = "bigram", "zoo:bigram", "nats per word"
    settings = {"draw": {"temperature": 1.0}}  # noqa: RUF012

    def __init__(self, words: int = 16, hidden: float = 0.5):
        if not 2 <= words <= 512 or not 0 < hidden <= 1:
            raise MdmkitError(f"task 'bigram': words={words} is from 2 to 512, hidden={hidden} above 0 and at most 1.")
        self.words, self.hidden = words, hidden

    @cached_property
    def _chain(self) -> Bigram:
        import mdmkit

        return mdmkit.load("zoo:bigram", device="cpu")  # type: ignore[return-value]

    def prompts(self, count: int | None, seed: int) -> Sequence[str]:
        import torch

        count, chain = self.limit if count is None else count, self._chain.chain
        lines = chain.sample(torch.full((1, self.words), chain.mask_id), count, seed)[0].tolist()
        rng, number = random.Random(f"bigram/{seed}"), max(1, round(self.hidden * self.words))
        gone = [set(rng.sample(range(self.words), number)) for _ in lines]
        return [
            " ".join("_" if i in hidden else self._chain.render(word) for i, word in enumerate(line))
            for line, hidden in zip(lines, gone, strict=True)
        ]

    def judge(self, prompt: Any, answer: str) -> dict[str, float]:
        import torch

        chain = self._chain.chain
        asked = torch.tensor([self._chain.tokens(prompt)])
        number = int((asked == chain.mask_id).sum())
        given = chain.log_likelihood(asked)
        filled = self._filling(asked[0].tolist(), answer)
        said = NO_FILLING if filled is None else float(chain.log_likelihood(torch.tensor([filled])) - given) / number
        best = float(chain.viterbi(asked)[1] - given) / number
        return {"score": said, "gap": best - said}

    def _filling(self, asked: list[int], answer: str) -> list[int] | None:
        """The ids of an answer that keeps the prompt's words and fills every mask; None for any other answer."""
        mask = self._chain.mask_id
        try:
            filled = self._chain.tokens(answer)
        except MdmkitError:
            return None
        if len(filled) != len(asked) or mask in filled:
            return None
        return filled if all(a in (mask, f) for a, f in zip(asked, filled, strict=True)) else None
