"""The next turn of a conversation does not compute the last one again, for a model with attention by blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import mdmkit

GOLDEN = Path(__file__).parents[3] / "tests" / "golden" / "sdar"
PROMPT = list(range(5, 30))


@pytest.fixture(scope="module")
def blocks() -> Any:
    return mdmkit.load(str(GOLDEN), device="cpu", block_length=8)


def turn(live: Any, ids: list[int], **more: Any) -> list[int]:
    """Ask for one row; return its prompt and its tokens."""
    status, answer = live.complete(prompt=ids, max_tokens=20, seed=3, **more, mdmkit={"tokens": True})
    assert status == 200, answer
    return ids + answer["choices"][0]["mdmkit"]["tokens"]


def test_turns_have_the_tokens_of_decode_and_what_they_reuse_is_counted(serve: Any, blocks: Any) -> None:
    with serve(blocks, keep=1 << 20) as live:
        read = live.service.metrics.read
        first = turn(live, PROMPT)
        second = turn(live, [*first, 40, 41])
        drawn = turn(live, [*first, 40, 42], temperature=1.0)
        found = read("mdmkit_reused_rows_total"), read("mdmkit_reused_columns_total")
        # The sampler that draws has an engine of its own, which has no place for them before its first forward.
        assert found[0] == 1 and len(PROMPT) <= found[1] <= len(first)
        assert turn(live, [*first, 40, 42], temperature=1.0) == drawn
        assert read("mdmkit_reused_rows_total") == 2 and read("mdmkit_kept_bytes") > 0
    with serve(blocks) as live:
        assert turn(live, [*turn(live, PROMPT), 40, 41]) == second
        assert live.service.metrics.read("mdmkit_reused_rows_total") == 0
    asked = [{"prompt_ids": [*first, 40, 41], "length": 20}]
    assert second == [*first, 40, 41, *mdmkit.decode(mdmkit.compose("confidence"), blocks, asked, seed=3).tokens[0]]


def test_if_memory_is_too_small_what_is_kept_goes_before_any_row(
    serve: Any, blocks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(blocks, keep=1 << 20, slots=4) as live:
        first, scheduler = turn(live, PROMPT), live.service.scheduler
        held, forward = scheduler.held, blocks.forward

        def fails(*given: Any, **more: Any) -> Any:
            if scheduler.held:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return forward(*given, **more)

        with monkeypatch.context() as patched:
            patched.setattr(blocks, "forward", fails)
            assert turn(live, PROMPT) == first
        assert live.notes == [f"Out of memory: at most {held // 2} bytes of keys are kept from here on."]
        assert scheduler.most == 4 and 0 < scheduler.held <= held // 2


def test_a_client_that_leaves_while_its_columns_are_frozen_ends_its_row_alone(serve: Any, blocks: Any) -> None:
    with serve(blocks, keep=1 << 20, slots=2) as live:
        line = live.open(b'{"model": "puzzles", "prompt": [5, 6, 7], "max_tokens": 200}')
        live.until(lambda: live.service.metrics.read("mdmkit_steps_total") > 20)
        line.close()
        # Counted after its row has left the engine.
        live.until(lambda: live.service.metrics.read("mdmkit_rows_total", how="given up") == 1)
        assert live.service.scheduler.working == 0
        assert len(turn(live, PROMPT)) > len(PROMPT)
