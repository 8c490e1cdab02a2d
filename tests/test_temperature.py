"""A temperature that changes as a row fills up: what each step draws, and that rows do not feel their neighbours."""

from dataclasses import replace

import pytest
import torch

import mdmkit
from mdmkit import MdmkitError, Observer, ops
from mdmkit.hf.keywords import drawing
from mdmkit.settings.draw import Draw
from mdmkit.testing import ToyBackbone, make_moment

START, END = 1.7, 0.3
PROMPTS = [
    {"prompt_ids": [3, 4], "length": 9},
    {"prompt_ids": [5], "length": 4},
    {"prompt_ids": [1, 2, 2], "length": 6},
]


def moment(seed, start=START, end=END):
    return replace(make_moment(seed), draws=Draw(temperature=start, temperature_end=end))


@pytest.mark.parametrize("seed", range(4))
def test_each_row_is_drawn_at_the_temperature_of_its_own_share(seed):
    step = moment(seed).step()
    drawn, uniform = step.draw(3), step.noise("tokens", 3)
    for row in step.active.nonzero()[:, 0].tolist():
        own = step.canvas.editable[row].tolist()
        filled = [e and not o for e, o in zip(own, step.canvas.open[row].tolist(), strict=True)]
        heat = START + (END - START) * sum(filled) / sum(own)
        alone = ops.sample(step.belief.logits[row : row + 1], uniform[row : row + 1], heat)
        columns = step.open[row]
        assert torch.equal(drawn[row][:, columns], alone[0][:, columns])
        p = step.belief.logits[row].softmax(-1).gather(-1, step.tokens[row, :, None])[:, 0]
        torch.testing.assert_close(step.confidence[row][columns], p[columns])  # untempered


def test_ends_that_are_equal_are_the_constant_temperature():
    step = moment(1, 0.7, 0.7).step()
    constant = make_moment(1, temperature=0.7).step()
    busy = step.open
    assert torch.equal(step.tokens[busy], constant.tokens[busy])
    chosen = step.draw(400)[busy[:, None].expand(-1, 400, -1)]
    assert torch.equal(chosen, constant.draw(400)[busy[:, None].expand(-1, 400, -1)])


def test_zero_at_either_end_is_greedy_there():
    logits = torch.randn(2, 3, 7, generator=torch.Generator().manual_seed(0))
    uniform = torch.rand(2, 50, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    drawn = ops.sample(logits, uniform, torch.tensor([0.0, 2.0], dtype=torch.float64))
    assert torch.equal(drawn[0], logits[0].argmax(-1).expand(50, -1))
    assert not torch.equal(drawn[1], logits[1].argmax(-1).expand(50, -1))
    greedy = moment(0, 0.0, 0.0).step()
    assert torch.equal(greedy.draw(2), make_moment(0).step().draw(2))


def test_chunks_keep_each_rows_temperature(monkeypatch):
    step = moment(2).step()
    whole = step.draw(5)
    monkeypatch.setattr(ops, "CPU_CHUNK_BYTES", 16 * step.belief.logits.shape[-1] * 2)
    assert torch.equal(step.draw(5), whole)


class Temperatures(Observer):
    def __init__(self):
        self.seen = []

    def on_step(self, step, actions, choice):
        self.seen.append(step.temperature.tolist())


@pytest.mark.parametrize("sampler", ["confidence", "info_gain"])
def test_rows_in_a_batch_are_as_alone(sampler):
    model = ToyBackbone(dtype=torch.float64)
    composed = mdmkit.compose(sampler, draw={"temperature": START, "temperature_end": END})
    together = mdmkit.decode(composed, model, PROMPTS, seed=3)
    for row, prompt in zip(together.rows, PROMPTS, strict=True):
        alone = mdmkit.decode(composed, model, [{**prompt, "seed": row.seed}])
        assert alone.rows[0].tokens == row.tokens and alone.rows[0].order == row.order


def test_it_goes_from_one_end_in_even_parts_towards_the_other():
    watch = Temperatures()
    composed = mdmkit.compose("confidence", draw={"temperature": 1.0, "temperature_end": 0.2})
    mdmkit.decode(composed, ToyBackbone(), [{"prompt_ids": [1], "length": 4}], observers=[watch])
    assert [heat for (heat,) in watch.seen] == pytest.approx([1.0, 0.8, 0.6, 0.4])


def test_what_is_no_temperature_is_refused():
    with pytest.raises(MdmkitError, match=r"draw\.temperature_end=-1"):
        Draw(temperature_end=-1.0)


def test_do_sample_false_ends_at_no_temperature_either():
    assert drawing(False, None, None, None) == {"temperature": 0.0, "temperature_end": None}
