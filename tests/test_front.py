"""The engine in its own thread: whatever happens, every task that waits gets its row or an error."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass

import pytest
import torch

import mdmkit
from mdmkit import AsyncEngine, Engine, Observer
from mdmkit.canvas.prompt import Prompt
from mdmkit.decoding.prompts import read_prompts
from mdmkit.errors import MdmkitError
from mdmkit.testing import ByConfidence, TakeQuota, ToyBackbone

# Seconds after which a task counts as one that would wait for ever.
PATIENCE = 5.0


def sampler(**parts):
    return mdmkit.compose(**{"score": ByConfidence(), "select": TakeQuota(), **parts})


def prompts_of(*sizes):
    """Prompts that have so many masks to fill, behind one letter."""
    return read_prompts([{"prompt": "abc"[i % 3], "length": n} for i, n in enumerate(sizes)], 0)


def answer(front, prompt, **options):
    """One prompt's row, from a loop of its own; a TimeoutError if nothing comes."""
    return asyncio.run(asyncio.wait_for(front.generate(prompt, **options), PATIENCE))


def test_tasks_that_wait_for_one_row_each_share_the_engine():
    asked = prompts_of(5, 2, 9, 1, 4, 7)
    alone = {prompt.index: mdmkit.decode(sampler(), ToyBackbone(), [prompt]).tokens[0] for prompt in asked}

    async def all_of_them(front):
        return await asyncio.gather(*(front.generate(prompt) for prompt in asked))

    engine = Engine(sampler(), ToyBackbone(), 3)
    with AsyncEngine(engine) as front:
        rows = asyncio.run(all_of_them(front))
    assert {row.index: row.tokens for row in rows} == alone
    assert engine.calls < sum(len(tokens) for tokens in alone.values())


def test_a_bad_prompt_and_a_cancelled_task_are_their_own_affair_alone():
    async def some(front):
        good = asyncio.ensure_future(front.generate(prompts_of(6)[0]))
        gone = asyncio.ensure_future(front.generate(prompts_of(3, 200)[1]))
        await asyncio.sleep(0.05)
        gone.cancel()
        with pytest.raises(MdmkitError, match="the toy reads"):
            await front.generate(Prompt(text="XYZ", length=3))
        with pytest.raises(asyncio.CancelledError):
            await gone
        with pytest.raises(MdmkitError, match="ran out of time"):
            await front.generate(prompts_of(3, 200)[1], timeout=1e-6)
        return await good

    engine = Engine(sampler(), ToyBackbone(), 2)
    with AsyncEngine(engine) as front:
        assert len(asyncio.run(some(front)).tokens) == 6
    assert not engine.busy and not engine.state.places
    with pytest.raises(MdmkitError, match="closed"):
        asyncio.run(front.generate(prompts_of(1)[0]))


def test_a_part_that_fails_fails_the_rows_at_work_and_the_engine_goes_on():
    @dataclass(frozen=True)
    class Once:
        def __call__(self, step):
            if not step.shared.get("failed"):
                step.shared["failed"] = True
                raise ValueError("no such table")
            return step.confidence

    async def twice(front):
        with pytest.raises(MdmkitError, match=r"score Once .*failed at tick 0 .*ValueError: no such table"):
            await front.generate(prompts_of(3)[0])
        return await front.generate(prompts_of(3)[0])

    with AsyncEngine(Engine(sampler(score=Once()), ToyBackbone(), 2)) as front:
        row = asyncio.run(twice(front))
    assert (len(row.tokens), row.nfe) == (3, 3)


# -- no error ends the thread in silence -----------------------------------------------------------------------------


class Slow(ToyBackbone):
    """Takes its time to encode."""

    def encode(self, prompts, plan):
        time.sleep(0.2)
        return super().encode(prompts, plan)


@pytest.mark.parametrize("text", ["AB", "ab"])
def test_a_task_may_be_cancelled_while_its_prompt_is_encoded(text):
    async def cancelled(front):
        task = asyncio.ensure_future(front.generate(Prompt(text=text, length=3)))
        await asyncio.sleep(0.05)  # the thread is encoding now
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with AsyncEngine(Engine(sampler(), Slow(), 2)) as front:
        asyncio.run(cancelled(front))
        assert len(answer(front, Prompt(text="ab", length=3)).tokens) == 3
    assert not front.engine.busy


def test_a_prompt_beside_a_close_gets_an_answer():
    front = AsyncEngine(Engine(sampler(), ToyBackbone(), 2))
    closing = threading.Thread(target=front.close)

    class Between(deque):
        """Lets `close` run between the check and the append, as far as it can."""

        def append(self, asked):
            closing.start()
            closing.join(0.3)
            super().append(asked)

    front._asked = Between()
    assert len(answer(front, prompts_of(3)[0]).tokens) == 3
    closing.join(PATIENCE)
    assert not closing.is_alive()


@pytest.mark.parametrize(
    "error", [KeyError("k"), StopIteration(), SystemExit(3)], ids=lambda error: type(error).__name__
)
def test_an_encode_that_raises_anything_is_answered(error):
    class Raises(ToyBackbone):
        def encode(self, prompts, plan):
            if prompts[0].length == 9:
                raise error
            return super().encode(prompts, plan)

    with AsyncEngine(Engine(sampler(), Raises(), 2)) as front:
        with pytest.raises(MdmkitError, match=f"(failed in encode|cannot be encoded): {type(error).__name__}"):
            answer(front, prompts_of(9)[0])
        if isinstance(error, Exception):
            assert len(answer(front, prompts_of(3)[0]).tokens) == 3


class Panic(BaseException):
    """As libraries in Rust raise it: no `Exception`, so it ends the thread."""


def test_a_prompt_that_the_thread_never_took_is_answered_too():
    go = threading.Event()

    class Ends(ToyBackbone):
        def encode(self, prompts, plan):
            go.wait(PATIENCE)
            raise Panic(3)

    async def two(front):
        tasks = [asyncio.ensure_future(front.generate(prompt)) for prompt in prompts_of(5, 3)]
        await asyncio.sleep(0)  # both have asked; the thread has taken one at most
        go.set()
        return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), PATIENCE)

    first, second = asyncio.run(two(AsyncEngine(Engine(sampler(), Ends(), 2))))
    assert "the prompt cannot be encoded: Panic" in str(first)
    assert str(second) == "the engine has ended: Panic: 3. Make a new one."


class Breaks(Observer):
    """Raises `error` when a prompt of 7 masks joins, and again when the others are given up."""

    def __init__(self, error):
        self.error = error

    def on_admit(self, id, prompt, canvas):
        if prompt.length == 7:
            raise self.error

    def on_leave(self, id, row):
        if row is None:
            raise self.error


async def together(front, prompts):
    return await asyncio.gather(
        *(asyncio.wait_for(front.generate(prompt), PATIENCE) for prompt in prompts), return_exceptions=True
    )


def test_an_observer_that_raises_again_and_again_fails_the_row_that_it_was_told_of_alone():
    with AsyncEngine(Engine(sampler(), ToyBackbone(), 2, observers=[Breaks(ValueError("bad observer"))])) as front:
        got = asyncio.run(together(front, prompts_of(5, 7, 5, 5)))
        assert "observer Breaks failed in on_admit: ValueError: bad observer." in str(got.pop(1))
        assert [len(row.tokens) for row in got] == [5, 5, 5]
        assert len(answer(front, prompts_of(3)[0]).tokens) == 3
    assert not front.engine.busy and not front.engine.state.places


def test_what_ends_the_thread_answers_every_task_and_every_later_one():
    front = AsyncEngine(Engine(sampler(), ToyBackbone(), 2, observers=[Breaks(Panic(4))]))
    got = asyncio.run(together(front, prompts_of(5, 7, 5, 5)))
    words = "the engine has ended: Panic: 4. Make a new one."
    assert [(type(each), str(each)) for each in got] == [(MdmkitError, words)] * 4
    front._thread.join(PATIENCE)
    assert not front._thread.is_alive()
    with pytest.raises(MdmkitError, match=r"the engine has ended: Panic: 4\."):
        answer(front, prompts_of(3)[0])
    front.close()


def test_an_engine_that_cannot_be_emptied_ends_with_an_answer(monkeypatch):
    front = AsyncEngine(Engine(sampler(), ToyBackbone(), 2))

    def broken(rows, sound=()):
        raise RuntimeError("device-side assert")

    monkeypatch.setattr(front.engine.state, "drop", broken)
    with pytest.raises(MdmkitError, match="the engine failed: RuntimeError: device-side assert"):
        answer(front, prompts_of(3)[0])
    front._thread.join(PATIENCE)
    assert not front._thread.is_alive()
    with pytest.raises(MdmkitError, match=r"the engine has ended: RuntimeError: device-side assert\."):
        answer(front, prompts_of(3)[0])


class Small(ToyBackbone):
    """Memory for so many tokens in a forward."""

    def __init__(self, tokens):
        super().__init__()
        self.most, self.released = tokens, 0

    def release(self):
        self.released += 1

    def forward(self, tokens, *rest, **options):
        if tokens.numel() > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return super().forward(tokens, *rest, **options)


@pytest.mark.parametrize("name", ["confidence", "info_gain", "best_of_n"])
def test_out_of_memory_lets_the_rows_begin_again_half_as_many_at_a_time(name):
    asked, composed = prompts_of(5, 4, 6, 3, 5, 2), mdmkit.compose(name, draw={"temperature": 0.7})
    alone = {prompt.index: mdmkit.decode(composed, ToyBackbone(), [prompt]).rows[0] for prompt in asked}
    most = {"confidence": 14, "info_gain": 70, "best_of_n": 112}[name]
    said = "Out of GPU memory with 4 rows: decoding 2 at a time from here on"
    with pytest.warns(UserWarning, match=said), AsyncEngine(Engine(composed, Small(most), 4)) as front:
        rows = asyncio.run(together(front, asked))
    assert front.engine.slots == 2 and front.engine.backbone.released == 1
    for row in rows:
        own = alone[row.index]
        assert (row.tokens, row.order, row.nfe) == (own.tokens, own.order, own.nfe)


def test_out_of_memory_with_one_slot_fails_its_row_says_what_to_change_and_goes_on():
    with AsyncEngine(Engine(sampler(), Small(5), 1)) as front:
        bad, good = asyncio.run(together(front, prompts_of(5, 3)))
        assert len(good.tokens) == 3  # it only waited
        assert "the engine is out of GPU memory with 1 row at work, the longest of 6 columns, and" in str(bad)
        assert "Shorten the prompt or plan.length" in str(bad) and "Tried to allocate 2.00 GiB." in str(bad)
        assert len(answer(front, prompts_of(3)[0]).tokens) == 3


def test_a_wrong_prompt_or_timeout_is_the_tasks_own_error():
    with AsyncEngine(Engine(sampler(), ToyBackbone(), 2)) as front:
        for prompt, options, words in (
            ("ab", {}, "the engine takes a prompt, not 'ab'"),
            (None, {}, "the engine takes a prompt, not None"),
            (prompts_of(3)[0], {"timeout": 0}, "timeout=0: it is a number of seconds above 0"),
        ):
            with pytest.raises(MdmkitError, match=words):
                answer(front, prompt, **options)
        assert len(answer(front, prompts_of(3)[0]).tokens) == 3


ABANDONED = """
import asyncio
import threading

from mdmkit import AsyncEngine, Engine, MdmkitError, Sampler, read_prompts
from mdmkit.testing import ByConfidence, TakeQuota, ToyBackbone

front = AsyncEngine(Engine(Sampler(ByConfidence(), TakeQuota()), ToyBackbone(), slots=2))
(prompt,) = read_prompts([{"prompt": "a", "length": 250}], 0)

async def ask():
    try:
        await front.generate(prompt)
    except MdmkitError:
        pass

threading.Thread(target=asyncio.run, args=(ask(),), daemon=True).start()
while not front.engine.busy:
    pass
"""


def test_a_program_may_end_while_rows_are_at_work():
    done = subprocess.run([sys.executable, "-c", ABANDONED], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
