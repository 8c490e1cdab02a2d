"""Every part keeps the laws, with its defaults and with parameters under which it does something else."""

import pytest

from mdmkit.testing import CommitContract, ScoreContract, SelectContract
from mdmkit_heuristics.adablock import AdaBlock
from mdmkit_heuristics.bounded import BlockRefinement, EntropyBound, Factor, Frechet, LowEntropy
from mdmkit_heuristics.credit import Credit, CreditThreshold
from mdmkit_heuristics.cycles import SlowFast
from mdmkit_heuristics.daedal import DaedalFill, DaedalGrow
from mdmkit_heuristics.dawn import Dawn
from mdmkit_heuristics.edit import Edit
from mdmkit_heuristics.frontier import IGFD
from mdmkit_heuristics.local import Dilated, LocalLeap, Spaced
from mdmkit_heuristics.mean_field import MeanField
from mdmkit_heuristics.persistent import Less
from mdmkit_heuristics.positional import PC, LinearPosition
from mdmkit_heuristics.remask import P2Fill, P2Remask, ReMDM, SaberBacktrack, SaberFill
from mdmkit_heuristics.scores import Confidence, Entropy, LeftToRight, Margin, Random
from mdmkit_heuristics.selects import Threshold, TopK
from mdmkit_heuristics.stable import Klass
from mdmkit_heuristics.wino import WinoFill, WinoVerify

SCORES = {
    "confidence": Confidence(),
    "confidence-top_k": Confidence(top_k=3),
    "entropy": Entropy(),
    "margin": Margin(),
    "random": Random(),
    "left_to_right": LeftToRight(),
    "linear_position": LinearPosition(),
    "igfd": IGFD(),
    "igfd-narrow": IGFD(reach=1, distance=0, size=2, dull=(3, 4, 5)),
    "credit": Credit(),
}
SELECTS = {
    "top_k": TopK(),
    "top_k-noisy": TopK(temperature=0.5),
    "top_k-frontier": TopK(frontier=2),
    "threshold-low": Threshold(0.2),
    "threshold-frontier": Threshold(0.2, frontier=3),
    "entropy_bound-wide": EntropyBound(gamma=3.0),
    "factor-last": Factor(factor=2.0, last=True),
    "frechet": Frechet(),
    "frechet-wide": Frechet(margin=-1.0),
    "low_entropy-two": LowEntropy(entropy=2.0, most=2),
    "block_refinement-low": BlockRefinement(0.2),
    "klass-easy": Klass(threshold=0.1, divergence=5.0, history=1),
    "klass-frontier": Klass(threshold=0.1, divergence=5.0, history=1, frontier=2),
    "less": Less(),
    "less-easy": Less(threshold=0.1, divergence=5.0, history=1, top_k=3),
    "mean_field": MeanField(),
    "mean_field-low": MeanField(threshold=0.3, rounds=3),
    "local_leap-low": LocalLeap(threshold=0.4, relaxed=0.1, radius=2),
    "slow_fast-quick": SlowFast(steps=2, reach=0.2, threshold=0.3),
    "dilated": Dilated(),
    "spaced-sure": Spaced(gap=2, threshold=0.2),
    "credit": CreditThreshold(),
    "credit-low": CreditThreshold(threshold=0.3),
    "p2": P2Fill(),
    "saber": SaberFill(),
    "saber-four": SaberFill(least=4),
    "wino": WinoFill(),
    "wino-wide": WinoFill(threshold=0.1, least=1, most=3),
    "dawn": Dawn(),
    "dawn-easy": Dawn(high=0.5, induced=0.2, low=0.1, edge=0.05, sink=0.2),
    "adablock": AdaBlock(delimiters=(3, 4)),
    "adablock-easy": AdaBlock(delimiters=(1, 2, 3, 4, 5), sure=0.0, size=2, window=0.5, threshold=0.3),
    "daedal": DaedalFill(),
    "daedal-easy": DaedalFill(threshold=0.2, size=3),
}
COMMITS = {
    "remdm": ReMDM(),
    "remdm-rescale": ReMDM(strategy="rescale", eta=0.5),
    "remdm-conf": ReMDM(strategy="rescale", eta=1.0, confidence=True),
    "remdm-loop": ReMDM(strategy="loop", eta=0.5),
    "p2": P2Remask(),
    "p2-much": P2Remask(eta=3.0),
    "saber": SaberBacktrack(),
    "saber-four": SaberBacktrack(least=4),
    "wino": WinoVerify(),
    "wino-strict": WinoVerify(threshold=1.0),
    "edit-low": Edit(threshold=0.1, lingers=3),
    "daedal": DaedalGrow(end=1),
}


class Named:
    """A contract for every stage of a table: each test runs once per name."""

    table: dict

    @pytest.fixture(autouse=True)
    def _stage(self, request, name):
        request.instance.stage = self.table[name]

    def make(self):
        return self.stage


@pytest.mark.parametrize("name", SCORES)
class TestScores(Named, ScoreContract):
    table = SCORES


@pytest.mark.parametrize("name", SELECTS)
class TestSelects(Named, SelectContract):
    table = SELECTS


@pytest.mark.parametrize("name", COMMITS)
class TestCommits(Named, CommitContract):
    table = COMMITS


class TestPC(ScoreContract):
    """Its table belongs to a tokenizer, so the toy needs one of its own."""

    @pytest.fixture(autouse=True)
    def _table(self, toy_table):
        self.path = toy_table

    def make(self):
        return PC(table=self.path)


class TestCalibratedLinearPosition(TestPC):
    def make(self):
        return LinearPosition(table=self.path)
