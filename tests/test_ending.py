"""Early stop, and penalties on ends and repetition: the logit policy of base and lookahead logits alike."""

from dataclasses import dataclass, replace

import pytest
import torch

import mdmkit
from mdmkit import Draw, Guidance, MdmkitError, MdmkitWarning, Plan, Sampler, Stop
from mdmkit.canvas.prompt import Prompt
from mdmkit.loop.whole import fill_canvas
from mdmkit.stage.stop import ended
from mdmkit.testing import ByConfidence, LeastEntropyLeft, Spread, TakeQuota, ToyBackbone

END = 3


@pytest.fixture
def backbone():
    toy = ToyBackbone(dtype=torch.float64)
    toy.ends, toy.endings = (END,), (END, 4)
    return toy


def sampler(lookahead=False, block=4, length=16, early_stop=True, **draw):
    stages = (ByConfidence(), Spread(3), LeastEntropyLeft()) if lookahead else (ByConfidence(), TakeQuota())
    plan = Plan(length=length, block=block, early_stop=early_stop)
    return Sampler(*stages, plan=plan, draw=Draw(**draw), guidance=Guidance())


# With this END turns up in some rows and some blocks only.
BIAS = {END: 0.0}
PROMPTS = [{"prompt": text, "seed": i} for i, text in enumerate(("ab", "dcba", "gg", "abcdefgh", "h", "bd", "hh", "e"))]


@pytest.mark.parametrize("lookahead", [False, True])
def test_a_row_stops_at_the_block_in_which_its_end_is_settled(backbone, lookahead):
    full = mdmkit.decode(sampler(lookahead, early_stop=False, penalty=BIAS), backbone, PROMPTS)
    early = mdmkit.decode(sampler(lookahead, penalty=BIAS), backbone, PROMPTS)
    lengths = []
    for whole, row in zip(full.rows, early.rows, strict=True):
        assert len(whole.tokens) == 16
        # With full attention a block is decided before its successors, so stopping changes no token that is kept.
        assert whole.tokens[: len(row.tokens)] == row.tokens
        ends = [i for i, token in enumerate(whole.tokens) if token == END]
        kept = 16 if not ends else 4 * (ends[0] // 4 + 1)
        assert len(row.tokens) == kept
        assert row.stopped == whole.stopped == ("end" if ends else "length")
        assert (row.nfe < whole.nfe) == (kept < 16)
        assert row.uncertainty <= whole.uncertainty + 1e-9
        lengths.append(kept)
    assert len(set(lengths)) > 1, "the rows should stop in different blocks"


@pytest.mark.parametrize("lookahead", [False, True])
def test_rows_that_stop_early_leave_their_neighbours_alone(backbone, lookahead):
    together = mdmkit.decode(sampler(lookahead, penalty=BIAS), backbone, PROMPTS).rows
    for prompt, row in zip(PROMPTS, together, strict=True):
        alone = mdmkit.decode(sampler(lookahead, penalty=BIAS), backbone, [prompt]).rows[0]
        assert (alone.tokens, alone.nfe, alone.text) == (row.tokens, row.nfe, row.text)


@pytest.mark.parametrize("lookahead", [False, True])
def test_an_end_token_ends_rows_beside_a_stop_rule_too_and_is_what_ended_them(backbone, lookahead):
    class WithTheEnd(Stop):
        """End what has just ended."""

        def __call__(self, step):
            return ended(step.canvas, [END]) & step.full

    plain = mdmkit.decode(sampler(lookahead, penalty=BIAS), backbone, PROMPTS).rows
    assert {row.stopped for row in plain} == {"end", "length"}
    for stop in (WithTheEnd(), lambda step: step.full & False):
        rows = mdmkit.decode(replace(sampler(lookahead, penalty=BIAS), stop=stop), backbone, PROMPTS).rows
        assert [(row.tokens, row.nfe, row.stopped) for row in rows] == [
            (row.tokens, row.nfe, row.stopped) for row in plain
        ]


def test_what_was_never_decoded_holds_the_end_and_no_mask(backbone):
    canvas, conditioning = backbone.encode([Prompt(text="ab")], Plan(length=16))
    filled, trace = fill_canvas(sampler(penalty={END: -50.0}), backbone, canvas, conditioning)
    assert not filled.open.any()
    assert (filled.tokens[0, -16:] == END).all()
    assert (trace.order[0, -16:] >= 0).tolist() == [True] * 4 + [False] * 12


def test_the_first_of_the_models_ends_fills_what_was_never_decoded(backbone):
    backbone.ends = (5, 7, END)
    canvas, conditioning = backbone.encode([Prompt(text="ab")], Plan(length=8))
    filled, _ = fill_canvas(sampler(penalty={END: -50.0}), backbone, canvas, conditioning)
    assert filled.tokens[0, -8:].tolist() == [END] * 4 + [5] * 4


def test_an_end_in_the_prompt_ends_nothing(backbone):
    (row,) = mdmkit.decode(sampler(penalty={END: 50.0}), backbone, [{"prompt_ids": [1, END, 2]}]).rows
    assert (len(row.tokens), row.stopped) == (16, "length")


def test_an_end_with_something_open_before_it_ends_nothing(backbone):
    canvas, _ = backbone.encode([Prompt(text="ab"), Prompt(text="ab"), Prompt(text="a__b", length=0)], Plan(length=6))
    place = torch.zeros_like(canvas.open)
    place[0, 5], place[1, 2] = True, True  # the fourth and the first of six places that are open
    place[2, 1] = True
    canvas = canvas.filled(place, torch.full_like(canvas.tokens, END))
    assert ended(canvas, [END]).tolist() == [False, True, False]


def test_an_infill_and_a_given_end_never_stop(backbone):
    rows = mdmkit.decode(sampler(penalty={END: -50.0}), backbone, [{"prompt_ids": [1, 3, 2]}, "a________b"]).rows
    assert rows[0].stopped == "end"  # its own, not the given one
    assert len(rows[1].tokens) == 10
    assert rows[1].stopped == "filled"


@pytest.mark.parametrize("lookahead", [False, True])
def test_the_end_penalty_is_that_penalty_on_every_ending(backbone, lookahead):
    named = mdmkit.decode(sampler(lookahead, end_penalty=1.5), backbone, PROMPTS)
    listed = mdmkit.decode(sampler(lookahead, penalty={END: 1.5, 4: 1.5}), backbone, PROMPTS)
    free = mdmkit.decode(sampler(lookahead), backbone, PROMPTS)
    assert named.tokens == listed.tokens != free.tokens
    assert [r.uncertainty for r in named.rows] == [r.uncertainty for r in listed.rows]


def test_an_end_penalty_without_any_end_changes_nothing_and_that_is_said_once():
    with pytest.warns(MdmkitWarning, match=r"end_penalty=2.0 has no effect: this model has no end or padding") as said:
        penalised = mdmkit.decode(sampler(end_penalty=2.0), ToyBackbone(), ["ab"] * 9, batch=1)
    assert len(said) == 1
    assert penalised.tokens == mdmkit.decode(sampler(), ToyBackbone(), ["ab"] * 9, batch=1).tokens
    with pytest.warns(MdmkitWarning, match="has no effect"):
        mdmkit.Engine(sampler(end_penalty=2.0), ToyBackbone(), 1)


@pytest.mark.parametrize(("key", "value"), [("repetition_penalty", 0.0), ("repetition_penalty", float("inf"))])
def test_bad_penalties_are_refused(key, value):
    with pytest.raises(MdmkitError, match=f"draw.{key}={value}"):
        Draw(**{key: value})


def test_the_repetition_penalty_is_the_rule_on_what_each_state_holds(backbone):
    """Base logits: what the row holds; lookahead logits: what the proposed state holds."""
    penalty = 1.7
    backbone.forbidden = (backbone.vocab - 1,)  # the id of the padding is a letter like any other, and no row holds it
    seen = {}

    def score(step):
        seen.setdefault("base", (step.canvas, step.belief.logits.clone(), step))
        return step.confidence

    score.reads = ("written",)

    def lookahead(step, actions, look):
        values = look(lambda belief: belief.logits[..., 1])
        seen.setdefault("ahead", (step.canvas, *step.states(actions), values, step, actions.live))
        return values.sum(-1)

    stages = Sampler(score, Spread(3), lookahead, plan=Plan(length=6), draw=Draw(repetition_penalty=penalty))
    mdmkit.decode(stages, backbone, ["ab", "dcba"])

    def expected(tokens, open_, valid):
        positions = torch.arange(tokens.shape[1]).expand_as(tokens)
        logits = backbone.project(backbone.forward(tokens, valid, None, positions=positions).hidden)
        for row, state, keep in zip(logits, tokens, valid & ~open_, strict=True):
            held = sorted(set(state[keep].tolist()))
            row[:, held] = torch.where(row[:, held] > 0, row[:, held] / penalty, row[:, held] * penalty)
        return logits

    with torch.inference_mode():
        canvas, logits, step = seen["base"]
        keep = [i for i in range(backbone.vocab) if i not in (*backbone.forbidden, backbone.mask_id)]
        wanted = step.window(expected(canvas.tokens, canvas.open, canvas.valid))
        torch.testing.assert_close(logits[step.member][:, keep], wanted[step.member][:, keep])
        canvas, tokens, open_, values, step, live = seen["ahead"]
        assert live[:, :2].all()
        for n in range(2):
            wanted = step.window(expected(tokens[:, n], open_[:, n], canvas.valid))[..., 1]
            torch.testing.assert_close(values[:, n][step.member], wanted[step.member])


def test_the_repetition_penalty_makes_repetitions_rarer(backbone):
    def repeats(**draw):
        rows = mdmkit.decode(sampler(length=8, **draw), backbone, PROMPTS).tokens
        return sum(len(row) - len(set(row)) for row in rows)

    assert repeats(repetition_penalty=4.0) < repeats()


@dataclass(frozen=True)
class AtTick(Stop):
    """End a row after its third step, as the clock says, or as the plan's steps say."""

    clock: str = "tick"

    def __call__(self, step):
        return getattr(step, self.clock) >= 3


@pytest.mark.parametrize("clock", ["tick", "taken"])
@pytest.mark.parametrize("stages", ["greedy", "lookahead", "lone"])
def test_a_stop_rule_reads_the_same_clock_in_every_sampler(backbone, stages, clock):
    """A sampler that compares asks before the forward about rows that have one next state."""
    select = {"greedy": TakeQuota(), "lookahead": Spread(3), "lone": Lone(3)}[stages]
    parts = (ByConfidence(), select, None if stages == "greedy" else LeastEntropyLeft())
    (row,) = mdmkit.decode(Sampler(*parts, plan=Plan(length=8), stop=AtTick(clock)), backbone, ["ab"]).rows
    assert (row.stopped, sorted(tick for tick in row.order if tick >= 0)) == ("AtTick", [0, 1, 2])


class Lone(Spread):
    """Could propose several alternatives, and proposes one."""

    def __call__(self, step, scores):
        actions = super().__call__(step, scores)
        return actions.without((torch.arange(self.candidates) > 0).expand_as(actions.live))


def test_a_lookahead_that_is_never_asked_is_noted(backbone):
    parts = (ByConfidence(), TakeQuota(), LeastEntropyLeft())
    with pytest.warns(
        MdmkitWarning, match="lookahead 'LeastEntropyLeft' is never asked: select 'TakeQuota' proposes one"
    ):
        mdmkit.decode(Sampler(*parts, plan=Plan(length=4)), backbone, ["ab"])
