"""freedave writes the tokens of `confidence` with every model of the zoo, with and without a cache."""

import pytest

import mdmkit

tasks = pytest.importorskip("mdmkit_zoo.tasks")
PUZZLES = [*tasks.Sudoku4().prompts(4, 0), *tasks.Countdown().prompts(4, 0), *tasks.OneWay().prompts(1, 0)]
CASES = {
    "puzzles": ("puzzles", PUZZLES, {}, {}),
    "puzzles in blocks": ("puzzles", PUZZLES, {}, {"plan": {"block": 8}}),
    # The zoo's models have full attention. With attention by blocks the puzzles' model has the cache `block`.
    "puzzles, cache block": ("puzzles", PUZZLES, {"block_length": 8}, {"plan": {"block": 8}, "cache": "block"}),
    "puzzles, cache dual": ("puzzles", PUZZLES, {}, {"plan": {"block": 8}, "cache": "dual"}),
    "antibody": ("antibody", tasks.Antibody(hidden=0.2).prompts(2, 0), {}, {}),
    "bigram": ("bigram", tasks.BigramLikelihood().prompts(6, 0), {}, {}),
    "digits": ("digits", ["3", "8"], {}, {}),
}


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("case", CASES)
def test_the_tokens_are_those_of_confidence_in_fewer_steps(registry, case, k):
    model, prompts, options, settings = CASES[case]
    if model == "digits":
        pytest.importorskip("mdmkit_image")
    backbone = mdmkit.load(f"zoo:{model}", device="cpu", **options)
    settings = {"cache": "none", **settings, "plan": {**settings.get("plan", {}), "tokens_per_step": k}}
    static, drafted = (
        mdmkit.decode(mdmkit.compose(name, registry=registry, **settings), backbone, prompts).rows
        for name in ("confidence", "freedave")
    )
    assert [row.tokens for row in drafted] == [row.tokens for row in static]
    taken, before = (sum(max(row.order) + 1 for row in rows) for rows in (drafted, static))
    assert taken < before
