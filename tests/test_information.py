"""On an exact chain, what the lookahead estimates is what information theory says."""

from dataclasses import dataclass

import pytest
import torch

import mdmkit
from mdmkit import Actions, Sampler
from mdmkit.testing.reference import ByConfidence
from mdmkit_info_gain.lookahead import InfoGain
from mdmkit_zoo.bigram.backbone import Bigram
from mdmkit_zoo.bigram.information import mutual_information
from mdmkit_zoo.catalogue import ENTRIES


@dataclass(frozen=True)
class EveryWord:
    """Propose every word of the vocabulary at one column, then fill the rest greedily."""

    column: int
    alternatives: int = 4096

    def __call__(self, step, scores):
        v = step.belief.logits.shape[-1]
        place = step.open[:, None].clone()
        if int(step.tick[0]) > 0:
            return Actions(place, step.tokens[:, None], place.any(-1))
        place = torch.zeros(1, v, step.width, dtype=torch.bool)
        place[..., self.column - int(step.where.start[0])] = True
        tokens = torch.arange(v)[None, :, None].expand(1, v, step.width)
        live = step.belief.logits[:, self.column - int(step.where.start[0])] > -torch.inf
        return Actions(place, tokens, live)


@pytest.mark.parametrize("column", [1, 2])
def test_total_gain_averaged_over_the_token_is_the_sum_of_mutual_informations(column):
    backbone = Bigram.load(str(ENTRIES["bigram"].folder), device="cpu", dtype="float64")
    prompt = "the _ _ _ of"
    seen = {}

    class Kept(InfoGain):
        def __call__(self, step, actions, look):
            seen["p"] = step.belief.logp[0, column - int(step.where.start[0])].exp()
            seen["gain"] = super().__call__(step, actions, look)[0]
            return seen["gain"][None]

    gain = Kept(reference="matched", normalise="sum", cost="none")
    mdmkit.decode(Sampler(ByConfidence(), EveryWord(column), gain), backbone, [prompt])
    # The mask itself is no word: its probability is 0.
    average = (seen["p"] * torch.where(seen["p"] > 0, seen["gain"], 0.0)).sum().item()

    canvas, _ = backbone.encode([mdmkit.Prompt(text=prompt)], mdmkit.Plan())
    exact = mutual_information(backbone.chain, canvas.tokens)[0, column].item()
    assert exact > 0.1
    assert average == pytest.approx(exact, abs=1e-6)
