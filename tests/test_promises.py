"""Law 9: whatever part breaks a promise, and however, one error names the part, the row and the step; others go on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch

import mdmkit
from mdmkit import (
    Actions,
    Commit,
    Constraint,
    Draw,
    Lookahead,
    MdmkitError,
    Plan,
    RowError,
    Sampler,
    Score,
    Search,
    Select,
    Stop,
)
from mdmkit.loop.arguments import Arguments
from mdmkit.testing import ByConfidence, LeastEntropyLeft, Spread, TakeQuota, ToyBackbone

PROMPTS = [{"prompt": "ab", "length": 3}, {"prompt": "abc", "length": 9}, {"prompt": "a", "length": 6}]
MASK, VOCAB = ToyBackbone().mask_id, ToyBackbone().vocab


def now(step):
    """bool [B]: the second prompt's row, at its third step."""
    return (step.canvas.lengths == 12) & (step.tick == 2)


def written(step):
    """bool [B, T]: the first place of its block, at that moment."""
    place = torch.zeros_like(step.open)
    place[:, 0] = now(step)
    return step.spread(place)


@dataclass(frozen=True)
class Scores(Score):
    make: Callable[..., Any]

    def __call__(self, step):
        return self.make(step, step.confidence)


@dataclass(frozen=True)
class Selects(Select):
    make: Callable[..., Any]

    def __call__(self, step, scores):
        return self.make(step, TakeQuota()(step, scores))


@dataclass(frozen=True)
class Looks(Lookahead):
    make: Callable[..., Any]

    def __call__(self, step, actions, look):
        return self.make(step, LeastEntropyLeft()(step, actions, look))


@dataclass(frozen=True)
class Commits(Commit):
    make: Callable[..., Any]

    def __call__(self, step, actions, choice):
        return self.make(step, step.written(*actions.take(choice)))


@dataclass(frozen=True)
class Rewrites(Commits):
    rewrites: ClassVar[bool] = True


@dataclass(frozen=True)
class Grows(Rewrites):
    grows: ClassVar[bool] = True


@dataclass(frozen=True)
class Settles(Constraint):
    make: Callable[..., Any]

    def shape(self, logits, states, columns):
        return logits

    def settle(self, step, actions):
        return self.make(step, actions)


@dataclass(frozen=True)
class Shapes(Constraint):
    make: Callable[..., Any]

    def shape(self, logits, states, columns):
        return self.make(logits)


def stay(step, choice):
    return torch.arange(step.rows, device=choice.device), choice


@dataclass(frozen=True)
class Searches(Search):
    particles: ClassVar[int] = 2
    moves: Callable[..., Any] = stay
    cut: Callable[..., Any] = lambda step, actions: actions
    answer: Callable[..., Any] = lambda canvas: torch.zeros(1, dtype=torch.long)

    def prune(self, step, actions):
        return self.cut(step, actions)

    def move(self, step, actions, values, choice, look):
        return self.moves(step, choice)

    def best(self, canvas, trace, kept):
        return self.answer(canvas)


def rows_of(sampler):
    """The prompts whose rows are yielded, and the error."""
    rows = []
    try:
        rows.extend(row.index for row in mdmkit.stream(sampler, ToyBackbone(), PROMPTS, seed=5))
    except MdmkitError as error:
        return rows, error
    raise AssertionError("no error")


def of_row(flags, x, value):
    """x [B, …] with a value in the flagged rows."""
    return torch.where(flags.view(-1, *[1] * (x.dim() - 1)), value, x)


def first(flags, x, value):
    """x [B, …] with a value in the flagged rows, at index 0 of each other axis."""
    out = x.clone()
    out[(flags, *[0] * (x.dim() - 1))] = value
    return out


def tokens(value):
    return lambda step, actions: replace(actions, tokens=of_row(now(step), actions.tokens, value))


def at(value):
    return lambda step, actions: replace(actions, place=of_row(now(step), actions.place, value))


def steps(value):
    return lambda step, actions: replace(actions, steps=of_row(now(step), torch.ones_like(actions.live).long(), value))


NOT_OPEN = "filled a position that is not open"
AS_TEXT = "wrote the mask's id as a token"
NO_TOKEN = "wrote a token id that the model does not have"
NEGATIVE = "counted an alternative as fewer than 0 steps"
ELSEWHERE = "changed a position outside the row's own block"
COMPARES = {"select": Spread(3), "lookahead": LeastEntropyLeft()}
# A sampler that can compare alternatives, and never does.
ONE_OF_MANY = {"select": Spread(1), "lookahead": LeastEntropyLeft()}


def prompt_changed(step, canvas):
    return replace(canvas, tokens=first(now(step), canvas.tokens, 5))


def behind(value):
    """Grow by one position behind the block and write a token there."""

    def make(step, canvas):
        place = (canvas.positions == canvas.lengths[:, None]) & now(step)[:, None]
        return canvas.grown(place).filled(place, torch.full_like(canvas.tokens, value))

    return make


def gap(step, canvas):
    return canvas.grown((canvas.positions == canvas.lengths[:, None] + 1) & now(step)[:, None])


def too_far(step, canvas):
    far = (canvas.positions >= canvas.lengths[:, None]) & (canvas.positions <= canvas.lengths[:, None] + 2)
    return canvas.grown(far & now(step)[:, None])


def absent(step, canvas):
    place = (canvas.positions == canvas.lengths[:, None]) & now(step)[:, None]
    return replace(canvas, editable=canvas.editable | place)


@dataclass(frozen=True)
class Rightmost(Score):
    def __call__(self, step):
        return step.position.float()


def cut_short(step, canvas):
    return canvas.without((canvas.positions == canvas.lengths[:, None] - 1) & now(step)[:, None])


GROWS = {"plan": Plan(block=4, room=2)}
SHAPE = "commit Grows added or removed positions so that the row has a gap"
OF_ONE_ROW = {
    "growth: a token beyond the vocabulary behind the block": (
        GROWS | {"commit": Grows(behind(99))},
        f"commit Grows {NO_TOKEN}",
    ),
    "growth: the mask as text behind the block": (GROWS | {"commit": Grows(behind(MASK))}, f"commit Grows {AS_TEXT}"),
    "growth: a gap": (GROWS | {"commit": Grows(gap)}, SHAPE),
    "growth: more than the room": (GROWS | {"commit": Grows(too_far)}, f"commit Grows {ELSEWHERE}"),
    "growth: to be filled, and not in the row": (GROWS | {"commit": Grows(absent)}, SHAPE),
    "growth: a filled position removed": (
        {"score": Rightmost(), "plan": Plan(room=2), "commit": Grows(cut_short)},
        SHAPE,
    ),
    "a score of NaN": ({"score": Scores(lambda s, x: of_row(now(s), x, torch.nan))}, "score Scores gave scores"),
    "nothing is filled": ({"select": Selects(at(False))}, "select Selects filled no position"),
    "a place that is not open": ({"select": Selects(at(True))}, f"select Selects {NOT_OPEN}"),
    "the mask as text": ({"select": Selects(tokens(MASK))}, f"select Selects {AS_TEXT}"),
    "a token beyond the vocabulary": ({"select": Selects(tokens(VOCAB))}, f"select Selects {NO_TOKEN}"),
    "a negative token": ({"select": Selects(tokens(-1))}, f"select Selects {NO_TOKEN}"),
    "negative steps": ({"select": Selects(steps(-5))}, f"select Selects {NEGATIVE}"),
    "a value of NaN": (
        COMPARES | {"lookahead": Looks(lambda s, x: of_row(now(s), x, torch.nan))},
        "lookahead Looks gave values",
    ),
    "settle: outside open": ({"constraint": Settles(at(True))}, f"constraint Settles {NOT_OPEN}"),
    "settle: nothing left": ({"constraint": Settles(at(False))}, "constraint Settles left a row no alternative"),
    "settle: the mask as text": ({"constraint": Settles(tokens(MASK))}, f"constraint Settles {AS_TEXT}"),
    "settle: a token beyond": ({"constraint": Settles(tokens(99))}, f"constraint Settles {NO_TOKEN}"),
    "settle: negative steps": ({"constraint": Settles(steps(-1))}, f"constraint Settles {NEGATIVE}"),
    "prune: outside open": ({"search": Searches(cut=at(True))}, f"search Searches {NOT_OPEN}"),
    "prune: the mask as text": ({"search": Searches(cut=tokens(MASK))}, f"search Searches {AS_TEXT}"),
    "prune: a token beyond": ({"search": Searches(cut=tokens(99))}, f"search Searches {NO_TOKEN}"),
    "prune: negative steps": ({"search": Searches(cut=steps(-1))}, f"search Searches {NEGATIVE}"),
    "prune: a row loses everything": (
        {"search": Searches(cut=lambda s, a: a.without(now(s)[:, None]))},
        "search Searches left no particle of a row an alternative",
    ),
    "prune: a particle without any stays": (
        {"search": Searches(cut=lambda s, a: a.without((now(s) & (torch.arange(s.rows) % 2 == 0))[:, None]))},
        "search Searches moved a particle to one of another row, or to an alternative that is not live",
    ),
    "move: another row": (
        {"search": Searches(lambda s, c: (torch.arange(s.rows) - 2 * now(s), c))},
        "search Searches moved a particle to one of another row",
    ),
    "move: a row before the first": (
        {"search": Searches(lambda s, c: (of_row(now(s), torch.arange(s.rows), -1), c))},
        "search Searches moved a particle to one of another row",
    ),
    "move: a negative choice": (
        {"search": Searches(lambda s, c: (torch.arange(s.rows), of_row(now(s), c, -1)))},
        "search Searches moved a particle",
    ),
    "move: a choice beyond N": (
        {"search": Searches(lambda s, c: (torch.arange(s.rows), of_row(now(s), c, 7)))},
        "search Searches moved a particle",
    ),
    "a NaN of a particle that is given up": (
        {
            "score": Scores(lambda s, x: of_row(now(s) & (torch.arange(s.rows) % 2 == 1), x, torch.nan)),
            "search": Searches(lambda s, c: (torch.arange(s.rows) // 2 * 2, c[torch.arange(s.rows) // 2 * 2])),
        },
        "score Scores gave scores",
    ),
    "commit: the prompt, without rewrites": ({"commit": Commits(prompt_changed)}, f"commit Commits {ELSEWHERE}"),
    "commit: the prompt": ({"commit": Rewrites(prompt_changed)}, f"commit Rewrites {ELSEWHERE}"),
    "commit: the prompt, nothing compared": (
        ONE_OF_MANY | {"commit": Commits(prompt_changed)},
        f"commit Commits {ELSEWHERE}",
    ),
    "commit: another token, nothing compared": (
        ONE_OF_MANY | {"commit": Commits(lambda s, c: c.filled(written(s), torch.full_like(c.tokens, 5)))},
        "commit Commits left something else than the action",
    ),
    "commit: the mask at a place just filled": (
        {
            "commit": Rewrites(
                lambda s, c: c.filled(s.spread(now(s)[:, None] & s.open), torch.full_like(c.tokens, MASK))
            )
        },
        f"commit Rewrites {AS_TEXT}",
    ),
    "commit: the mask over a token written before": (
        {
            "commit": Rewrites(
                lambda s, c: c.filled(
                    s.spread(now(s)[:, None] & s.window(c.editable) & ~s.open & s.member),
                    torch.full_like(c.tokens, MASK),
                )
            )
        },
        f"commit Rewrites {AS_TEXT}",
    ),
    "commit: one place more than the action": (
        {
            "commit": Commits(
                lambda s, c: c.filled(s.spread(s.window(c.open) & s.member & now(s)[:, None]), c.tokens * 0 + 4)
            )
        },
        "commit Commits left something else than the action",
    ),
    "commit: a token beyond": (
        {"commit": Rewrites(lambda s, c: c.filled(written(s), torch.full_like(c.tokens, VOCAB)))},
        f"commit Rewrites {NO_TOKEN}",
    ),
    "commit: opened, and the token left": (
        {"commit": Rewrites(lambda s, c: replace(c, open=c.open | s.spread(now(s)[:, None] & s.member)))},
        "commit Rewrites left a token at a position that it opened",
    ),
    "commit: the prompt made editable": (
        {"commit": Rewrites(lambda s, c: replace(c, editable=c.editable | (c.valid & now(s)[:, None])))},
        f"commit Rewrites {ELSEWHERE}",
    ),
    "commit: the row cut short": (
        {"commit": Rewrites(lambda s, c: replace(c, valid=c.valid & ~(now(s)[:, None] & (c.positions == 11))))},
        f"commit Rewrites {ELSEWHERE}",
    ),
    "commit: one position more than there is room for": (
        {
            "commit": Grows(lambda s, c: c.grown(now(s)[:, None] & (c.positions >= 12) & (c.positions < 15))),
            "plan": Plan(room=2),
        },
        f"commit Grows {ELSEWHERE}",
    ),
    "commit: the prompt made editable by one that grows": (
        {"commit": Grows(lambda s, c: replace(c, editable=c.editable | (c.valid & now(s)[:, None])))},
        f"commit Grows {ELSEWHERE}",
    ),
}


@pytest.mark.parametrize("what", OF_ONE_ROW)
def test_a_row_in_which_a_promise_is_broken_fails_alone(what):
    parts, said = OF_ONE_ROW[what]
    rows, error = rows_of(Sampler(**{"score": ByConfidence(), "select": TakeQuota()} | parts))
    assert isinstance(error, RowError) and said in str(error)
    assert error.prompt == 1 and error.tick == 2, str(error)
    assert rows == [0, 2]


@dataclass(frozen=True)
class LastTwo(Select):
    """Three alternatives of which the first is never live, and would fill what is not open."""

    alternatives: ClassVar[int] = 3

    def __call__(self, step, scores):
        actions = Spread(3)(step, scores)
        place, live = actions.place.clone(), actions.live.clone()
        place[:, 0] = True
        live[:, 0] = live.sum(1) < 2
        return replace(actions, place=torch.where(live[..., None], actions.place, place), live=live)


def test_a_lookahead_that_rejects_every_alternative_still_chooses_a_live_one():
    rejects = Looks(lambda step, values: torch.full_like(values, -torch.inf))
    given = ["ab_c_d_e_f_", {"prompt": "ab", "length": 6}]
    infill, row = mdmkit.decode(Sampler(ByConfidence(), LastTwo(), rejects), ToyBackbone(), given).rows
    assert [infill.text[i] for i in (0, 1, 3, 5, 7, 9)] == list("abcdef")
    assert MASK not in [*infill.tokens, *row.tokens]


@dataclass(frozen=True)
class AtOnce(Stop):
    fill: ClassVar[str] = "best"

    def __call__(self, step):
        return step.tick >= 2


def test_logits_that_are_no_numbers_in_the_forward_that_fills_the_rest_fail_the_row():
    class Breaks(ToyBackbone):
        def forward(self, tokens, *given, **more):
            out = super().forward(tokens, *given, **more)
            bad = ((tokens == MASK).sum(1) == 7) & (tokens.shape[1] == 12)  # 9 masks, without the first two
            return replace(out, hidden=torch.where(bad[:, None, None], torch.nan, out.hidden))

    rows = []
    with pytest.raises(RowError, match="the model's logits are not numbers"):
        rows.extend(
            row.index for row in mdmkit.stream(Sampler(ByConfidence(), TakeQuota(), stop=AtOnce()), Breaks(), PROMPTS)
        )


def test_so_it_is_if_one_of_its_particles_is_meant():
    class Breaks(ToyBackbone):
        """Gives NaN for the second particle of the longest row, once all but seven places are filled."""

        def forward(self, tokens, *given, **more):
            out = super().forward(tokens, *given, **more)
            bad = ((tokens == MASK).sum(1) == 7) & (tokens.shape[1] == 12)
            bad &= bad.cumsum(0) == 2
            return replace(out, hidden=torch.where(bad[:, None, None], torch.nan, out.hidden))

    rows, sampler = [], Sampler(ByConfidence(), TakeQuota(), stop=AtOnce(), search=Searches())
    with pytest.raises(RowError, match="the model's logits are not numbers"):
        rows.extend(row.index for row in mdmkit.stream(sampler, Breaks(), PROMPTS))
    assert rows


def test_a_row_whose_answer_cannot_be_chosen_takes_no_row_with_it_that_ended_in_the_same_step():
    def fails(canvas):
        if bool((canvas.lengths == 12).any()):
            raise ValueError("no answer")
        return torch.zeros(1, dtype=torch.long)

    asked = [{"prompt": "ab", "length": 9}, {"prompt": "abc", "length": 9}, {"prompt": "a", "length": 9}]
    engine = mdmkit.Engine(Sampler(ByConfidence(), TakeQuota(), search=Searches(answer=fails)), ToyBackbone(), 3)
    for prompt in mdmkit.read_prompts(asked, 5):
        engine.admit(prompt)
    with pytest.raises(MdmkitError, match=r"search Searches failed .*no answer"):
        engine.drain()
    ended = {each.id: each for each in engine.abandon()}
    assert [id_ for id_, each in ended.items() if each.row is not None] == [0, 2]
    assert "no answer" in str(ended[1].error)
    sampler = Sampler(ByConfidence(), TakeQuota(), search=Searches(answer=fails))
    rows = []
    with pytest.raises(MdmkitError, match=r"search Searches failed .*no answer"):
        rows.extend(row.index for row in mdmkit.stream(sampler, ToyBackbone(), asked))
    assert rows == [0, 2]


def test_an_answer_that_is_no_particle_of_the_row_fails_the_row_alone():
    for answer in (2, -1):
        search = Searches(answer=lambda canvas, a=answer: torch.where(canvas.lengths[:1] == 12, a, 0))
        rows, error = rows_of(Sampler(ByConfidence(), TakeQuota(), search=search))
        assert isinstance(error, RowError) and "search Searches chose as the row's answer" in str(error)
        assert rows == [0, 2]


@dataclass(frozen=True)
class EndsOne(Stop):
    """End the first particle of the second prompt's row after three steps, with open positions left."""

    def __call__(self, step):
        return (step.canvas.lengths == 12) & (step.tick == 3) & (torch.arange(step.rows) % 2 == 0)


def of_ended(step, canvas):
    """bool [B, T]: the particles that have ended, in each column."""
    return (~step.active & (step.canvas.lengths == 12))[:, None].expand_as(canvas.open)


TO_ONE_THAT_ENDED = {
    "a token": Rewrites(lambda s, c: c.filled(of_ended(s, c) & c.editable, torch.full_like(c.tokens, 5))),
    "a token, by one that grows": Grows(lambda s, c: c.filled(of_ended(s, c) & c.editable, c.tokens * 0 + 5)),
    "a position": Grows(lambda s, c: c.grown(of_ended(s, c) & (c.positions == 12))),
}


@pytest.mark.parametrize("what", TO_ONE_THAT_ENDED)
def test_a_commit_may_not_change_a_particle_that_has_ended(what):
    commit = TO_ONE_THAT_ENDED[what]
    plan = Plan(room=1 if isinstance(commit, Grows) else 0)
    rows, error = rows_of(Sampler(ByConfidence(), TakeQuota(), None, commit, Searches(), EndsOne(), plan=plan))
    assert f"commit {type(commit).__name__} {ELSEWHERE}" in str(error)
    assert (error.prompt, error.tick) == (1, 3) and rows == [0, 2]


def test_a_constraint_cannot_allow_the_mask_again():
    every = Sampler(ByConfidence(), TakeQuota(), constraint=Shapes(torch.zeros_like))
    for row in mdmkit.decode(every, ToyBackbone(), PROMPTS).rows:
        assert not {MASK, *ToyBackbone().forbidden} & set(row.tokens)


def fails(*_):
    raise AssertionError("no such table")


def gone(step, _):
    return step.span


STEP = r"at tick \d+ \(a row's step, from 0\)"
ALL_ROWS = {
    "score: shape": ({"score": Scores(lambda s, x: x[:, :-1])}, r"score Scores returned float32 \[\d, \d\]; it must"),
    "score: type": ({"score": Scores(lambda s, x: s.tokens)}, "score Scores returned int64"),
    "score: an exception": ({"score": Scores(fails)}, f"score Scores failed {STEP}: AssertionError: no such table"),
    "score: of the first edition": ({"score": Scores(gone)}, f"score Scores failed {STEP}: step.span is of the first"),
    "select: nothing at all": (
        {"select": Selects(lambda s, a: Actions(a.place[:, :0], a.tokens[:, :0], a.live[:, :0]))},
        "select Selects returned no alternative",
    ),
    "select: too many": (
        {"select": Selects(lambda s, a: Actions(*(torch.cat([x, x], 1) for x in (a.place, a.tokens, a.live))))},
        "select Selects returned 2 alternatives, and the trait `alternatives` of the select is 1",
    ),
    "select: a tensor": (
        {"select": Selects(lambda s, a: a.place[:, 0])},
        r"select Selects returned bool \[\d, \d\]; it must return mdmkit.Actions: place bool",
    ),
    "select: None": (
        {"select": Selects(lambda s, a: None)},
        "select Selects returned None; it must return mdmkit.Actions: place bool and tokens int64",
    ),
    "select: steps of another shape": (
        {"select": Selects(lambda s, a: replace(a, steps=s.quota))},
        r"select Selects returned int64 \[\d\] as steps; it must return mdmkit.Actions, with steps int64",
    ),
    "select: steps of another type": (
        {"select": Selects(lambda s, a: replace(a, steps=[1]))},
        "select Selects returned a list as steps",
    ),
    "lookahead: shape": (
        COMPARES | {"lookahead": Looks(lambda s, x: x[:, :1])},
        r"lookahead Looks returned float32 \[\d, 1\]",
    ),
    "lookahead: another scope": (
        COMPARES | {"lookahead": Looks(lambda s, x: s.belief.nonsense)},
        "lookahead Looks failed .*nonsense",
    ),
    "constraint: an exception": (
        {"constraint": Shapes(lambda x: 1 / 0)},
        "constraint Shapes failed .*ZeroDivisionError",
    ),
    "constraint: shape": (
        {"constraint": Shapes(lambda x: x[..., ::2])},
        r"constraint Shapes returned .*, 7\]; it must return a float tensor",
    ),
    "settle: None": ({"constraint": Settles(lambda s, a: None)}, "constraint Settles returned None"),
    "prune: None": ({"search": Searches(cut=lambda s, a: None)}, "search Searches returned None"),
    "move: None": (
        {"search": Searches(lambda s, c: None)},
        "search Searches returned None; it must return parents",
    ),
    "move: floats": (
        {"search": Searches(lambda s, c: (c.double(), c))},
        r"search Searches returned float64 \[\d\] as parents; it must return an int64 tensor",
    ),
    "move: a shape that could be broadcast": (
        {"search": Searches(lambda s, c: (c[:1], c))},
        r"search Searches returned int64 \[1\] as parents",
    ),
    "best: a number": ({"search": Searches(answer=lambda canvas: 0)}, "search Searches returned a int; it must"),
    "best: a float": (
        {"search": Searches(answer=lambda canvas: torch.tensor([0.5]))},
        r"search Searches returned float32 \[1\]; it must return an int64 tensor",
    ),
    "commit: None": (
        {"commit": Commits(lambda s, c: None)},
        "commit Commits returned None; it must return a Canvas",
    ),
    "commit: open of another type": (
        {"commit": Commits(lambda s, c: replace(c, open=c.open.long()))},
        "commit Commits returned a canvas with int64 .* as open",
    ),
    "commit: open of another shape": (
        {"commit": Commits(lambda s, c: replace(c, open=c.open[:, :-1]))},
        "commit Commits returned a canvas with bool .* as open",
    ),
    "commit: another seed": (
        {"commit": Commits(lambda s, c: replace(c, seed=c.seed + 1))},
        "commit Commits returned a canvas with another `seed`",
    ),
    "commit: another mask": (
        {"commit": Commits(lambda s, c: replace(c, mask_id=3))},
        "commit Commits returned a canvas with another `mask_id`",
    ),
}


def test_rows_that_had_ended_when_a_part_failed_stay():
    def late(step, scores):
        if int(step.tick.max()) == 7:
            raise ValueError("too late")
        return scores

    rows, error = rows_of(Sampler(Scores(late), TakeQuota()))
    assert rows == [0, 2] and "score Scores failed at tick 7" in str(error)


@pytest.mark.parametrize("what", ALL_ROWS)
def test_an_exception_or_a_wrong_shape_or_type_is_one_error_that_names_the_part_and_the_step(what):
    parts, said = ALL_ROWS[what]
    sampler = Sampler(**{"score": ByConfidence(), "select": TakeQuota()} | parts)
    with pytest.raises(MdmkitError, match=said) as caught:
        mdmkit.decode(sampler, ToyBackbone(), PROMPTS)
    assert "at tick " in str(caught.value)


@dataclass(frozen=True)
class ReadsShadows(Score):
    reading: list[bool]
    reads: ClassVar[tuple[str, ...]] = ("shadow",)

    def __call__(self, step):
        self.reading.append(True)
        return step.shadow.confidence


@dataclass(frozen=True)
class ReadsLook(LeastEntropyLeft):
    reading: list[bool]

    def __call__(self, step, actions, look):
        self.reading.append(True)
        return super().__call__(step, actions, look)


@pytest.mark.parametrize("make", [lambda x: 1 / 0, lambda x: x[..., ::2]], ids=["an exception", "a wrong shape"])
@pytest.mark.parametrize("reader", [ReadsShadows, ReadsLook])
def test_a_constraint_that_fails_while_another_part_reads_is_the_only_part_named(reader, make):
    reading = []
    parts = {"score": reader(reading)} if reader is ReadsShadows else COMPARES | {"lookahead": reader(reading)}
    constraint = Shapes(lambda logits: make(logits) if reading else logits)
    sampler = Sampler(**{"score": ByConfidence(), "select": TakeQuota()} | parts, constraint=constraint)
    with pytest.raises(MdmkitError, match=r"^constraint Shapes (failed|returned) ") as caught:
        mdmkit.decode(sampler, ToyBackbone(), PROMPTS)
    assert str(caught.value).count("at tick") == 1


# -- arguments that a part writes into ---------------------------------------------------------------------------------

ARGUMENTS = {
    "step.canvas.tokens": lambda step: step.canvas.tokens.masked_fill_(step.canvas.open, 3),
    "step.canvas.open": lambda step: step.canvas.open.fill_(False),
    "step.canvas.editable": lambda step: step.canvas.editable.logical_not_(),
    "step.canvas.seed": lambda step: step.canvas.seed.add_(1),
    "step.member": lambda step: step.member.logical_not_(),
    "step.open": lambda step: step.open.logical_not_(),
    "step.quota": lambda step: step.quota.fill_(9),
    "step.tick": lambda step: step.tick.fill_(7),
    "step.belief.logits": lambda step: step.belief.logits[..., 1].fill_(50.0),
    "step.tokens": lambda step: step.tokens.fill_(3),
    "step.confidence": lambda step: step.confidence.neg_(),
}


@dataclass(frozen=True)
class Writing:
    """A part that writes into an argument, and then does what another part does."""

    write: Callable[..., Any]
    part: Any

    @property
    def alternatives(self):
        return getattr(self.part, "alternatives", 1)

    def __call__(self, step, *more):
        self.write(step, *more)
        return self.part(step, *more)


def refused(**parts):
    # The scores are a tensor of their own.
    score = Scores(lambda step, sure: sure.clone())
    sampler = Sampler(**{"score": score, "select": TakeQuota(), "plan": Plan(length=6), **parts})
    with pytest.raises(MdmkitError) as found:
        mdmkit.decode(sampler, ToyBackbone(dtype=torch.float64), ["ab", "c"])
    return str(found.value)


@pytest.mark.parametrize("kind", ["score", "select", "commit"])
@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_part_that_writes_into_an_argument_is_named_with_the_argument(name, kind):
    part = {"score": ByConfidence(), "select": TakeQuota(), "commit": mdmkit.Write()}[kind]
    said = refused(**{kind: Writing(lambda step, *_: ARGUMENTS[name](step), part)})
    assert said.startswith(f"{kind} Writing has written into {name} at tick 0")
    assert "x.clone()" in said


def test_other_arguments_are_watched_too():
    places = lambda step, actions, *_: actions.place.logical_not_()  # noqa: E731
    said = refused(select=Spread(2), lookahead=Writing(places, LeastEntropyLeft()))
    assert said.startswith("lookahead Writing has written into actions.place")
    said = refused(commit=Writing(places, mdmkit.Write()))
    assert said.startswith("commit Writing has written into actions.place")
    said = refused(select=Writing(lambda step, scores: scores.zero_(), TakeQuota()))
    assert said.startswith("select Writing has written into scores")

    class Ends(Stop):
        def __call__(self, step):
            step.canvas.tokens.fill_(3)
            return torch.zeros_like(step.active)

    assert refused(stop=Ends()).startswith("stop Ends has written into step.canvas.tokens")


@dataclass(frozen=True)
class Constrains(Constraint):
    at: str

    def shape(self, logits, states, columns):
        if self.at == "columns":
            columns.fill_(0)
        elif self.at == "states":
            states.open.fill_(False)
        return logits

    def settle(self, step, actions):
        if self.at == "settle":
            actions.place.logical_not_()
        return actions


@dataclass(frozen=True)
class Roams(Search):
    at: str
    looks: ClassVar[bool] = True

    def prune(self, step, actions):
        if self.at == "prune":
            actions.place.logical_not_()
        return actions

    def move(self, step, actions, values, choice, look):
        if self.at == "move":
            choice.add_(1)
        elif self.at == "values" and values is not None:
            values.neg_()
        return torch.arange(len(choice), device=choice.device), choice

    def best(self, canvas, trace, memory):
        return torch.zeros(1, dtype=torch.long)


def test_what_constraints_and_searches_get_is_watched():
    assert refused(constraint=Constrains("columns")).startswith("constraint Constrains has written into columns")
    assert refused(constraint=Constrains("states")).startswith("constraint Constrains has written into states.open")
    assert refused(constraint=Constrains("settle")).startswith("constraint Constrains has written into actions.place")
    assert refused(search=Roams("prune")).startswith("search Roams has written into actions.place")
    assert refused(search=Roams("move")).startswith("search Roams has written into choice")
    compared = {"select": Spread(2), "lookahead": LeastEntropyLeft()}
    assert refused(search=Roams("values"), **compared).startswith("search Roams has written into values")
    chooses = Writing(lambda step, actions, choice: choice.add_(1), mdmkit.Write())
    assert refused(commit=chooses).startswith("commit Writing has written into choice")


@pytest.mark.parametrize("what", ["logits", "top2", "logp"])
def test_what_a_belief_makes_on_demand_is_watched_too(what):
    """Of a prompt that is partly filled, these are copies that the first part makes that asks."""

    def writes(step, *_):
        getattr(step.belief, what)[..., 1] = 9.0

    for prompt in ("a_b_c", "ab"):
        sampler = Sampler(Writing(writes, ByConfidence()), TakeQuota(), plan=Plan(length=6))
        with pytest.raises(MdmkitError, match=f"score Writing has written into step.belief.{what} at tick 0"):
            mdmkit.decode(sampler, ToyBackbone(), [prompt])


def test_a_belief_is_watched_if_tokens_are_drawn_and_in_its_shadow_columns():
    drawn = {"draw": Draw(0.8)}
    said = refused(score=Writing(lambda step: step.belief.confidence.neg_(), ByConfidence()), **drawn)
    assert said.startswith("score Writing has written into step.belief.confidence at tick 0")

    @dataclass(frozen=True)
    class Shadows(Score):
        reads: ClassVar[tuple[str, ...]] = ("shadow",)

        def __call__(self, step):
            return step.shadow.confidence.neg_()

    assert refused(score=Shadows()).startswith("score Shadows has written into step.shadow.confidence at tick 0")


def test_what_is_remembered_changes_by_keep_only():
    def writes(step):
        step.recall("own.count", like="row", fill=0).add_(1)

    assert refused(score=Writing(writes, ByConfidence())).startswith(
        "score Writing has written into what step.recall('own.count') returns at tick 1"
    )


def test_a_tensor_of_another_shape_is_named():
    assert refused(score=Writing(lambda step: step.canvas.open.t_(), ByConfidence())).startswith(
        "score Writing has written into step.canvas.open at tick 0"
    )


def test_an_observer_changes_no_result():
    class Watches(mdmkit.Observer):
        def on_admit(self, id, prompt, canvas):
            canvas.seed.add_(1)

    class Steps(mdmkit.Observer):
        def on_step(self, step, actions, choice):
            step.canvas.open.fill_(False)

    sampler = Sampler(ByConfidence(), TakeQuota(), plan=Plan(length=6))
    for observer, where in ((Watches(), "canvas.seed in on_admit"), (Steps(), "step.canvas.open in on_step")):
        with pytest.raises(MdmkitError, match=f"observer {type(observer).__name__} has written into {where}"):
            mdmkit.decode(sampler, ToyBackbone(), ["ab", "c"], observers=[observer])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_one_number_of_many_is_seen(dtype):
    few = torch.zeros(3, 5, dtype=dtype)
    arguments = Arguments(few=few)
    few[-1, -1] = 1
    assert arguments.changed() == "few"
    logits = torch.randn(7, 50_000, dtype=dtype)
    logits[:, 3] = -torch.inf
    for write in (
        lambda x: x[:, 49_321].fill_(-torch.inf),
        lambda x: x[2, 7:8].add_(1),
        lambda x: x.copy_(x.sort()[0]),
    ):
        now = logits.clone()
        arguments = Arguments(logits=now, text="not compared")
        assert arguments.changed() is None
        write(now)
        assert arguments.changed() == "logits"
    assert Arguments(text="nothing to compare").changed() is None


def test_parts_may_get_numbers_that_are_not_numbers_and_keep_what_they_remember():
    @dataclass(frozen=True)
    class Odd(Score):
        def __call__(self, step):
            count = step.recall("odd.count", fill=0)
            step.keep("odd.count", count + 1)
            return torch.where(step.open, step.confidence, torch.nan)

    sampler = Sampler(Odd(), TakeQuota(), plan=Plan(length=6))
    assert mdmkit.decode(sampler, ToyBackbone(), ["ab"]).rows[0].nfe == 6
