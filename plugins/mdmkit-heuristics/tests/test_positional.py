"""Scores of place and frequency equal their formulas, whatever the block; tables are checked."""

import json
import math
import os
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner

import mdmkit
from mdmkit import MdmkitError, Plan, Sampler
from mdmkit.cli import main
from mdmkit.testing import ToyBackbone, make_step
from mdmkit_heuristics.corpus import _ids
from mdmkit_heuristics.frequency import fingerprint, read
from mdmkit_heuristics.frontier import IGFD
from mdmkit_heuristics.positional import PC, LinearPosition
from mdmkit_heuristics.selects import TopK


def places(step, b):
    """Row b's first editable column, and how many columns from there to its last."""
    columns = step.canvas.editable[b].nonzero()[:, 0].tolist()
    return columns[0], columns[-1] - columns[0] + 1


def frequency(path, token):
    counts = dict(read(path).counts)
    return counts.get(token, 1) / sum(counts.values())


@pytest.mark.parametrize(("decay", "clip"), [(0.25, 10.0), (0.0, 1.0), (1.0, 0.5)])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_pc(toy_table, decay, clip, temperature):
    step = make_step(2, temperature=temperature)
    got = PC(toy_table, decay, clip)(step)
    unseen = 0
    for b, w in step.open.nonzero().tolist():
        token = int(step.tokens[b, w])
        unseen += token == 4
        c = float(step.belief.logits[b, w].double().softmax(-1)[token])
        i = int(step.position[b, w]) - places(step, b)[0]
        expected = math.exp(-decay * i) * min(clip, -c * math.log(frequency(toy_table, token)))
        assert float(got[b, w]) == pytest.approx(expected, abs=1e-5)
    assert unseen  # a token that the corpus does not have


def test_the_bias_of_pc_goes_on_from_block_to_block(toy_table):
    """In the second block the places count from the prompt, not from the block."""
    seen = []

    class Watch(mdmkit.Observer):
        def on_step(self, step, actions, choice):
            seen.append((int(step.position[0, 0]), PC(toy_table, decay=1.0)(step), step.confidence, step.tokens))

    sampler = Sampler(PC(toy_table), TopK(), plan=Plan(length=6, block=3))
    mdmkit.decode(sampler, ToyBackbone(), ["ab"], observers=[Watch()])
    start, got, sure, tokens = next(step for step in seen if step[0] == 5)
    for w in range(3):
        rarity = -float(sure[0, w]) * math.log(frequency(toy_table, int(tokens[0, w])))
        assert float(got[0, w]) == pytest.approx(math.exp(-(start - 2 + w)) * min(10.0, rarity), rel=1e-4)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("calibrated", [False, True])
def test_linear_position(toy_table, weight, calibrated):
    step = make_step(4)
    got = LinearPosition(weight, toy_table if calibrated else None)(step)
    for b in range(step.rows):
        columns = step.open[b].nonzero()[:, 0].tolist()
        sure = {w: float(step.confidence[b, w]) for w in columns}
        if calibrated:
            sure = {w: min(10.0, -c * math.log(frequency(toy_table, int(step.tokens[b, w])))) for w, c in sure.items()}
        for w in columns:
            low, high = min(sure.values()), max(sure.values())
            scaled = (sure[w] - low) / (high - low) if high > low else 0.0
            first, length = places(step, b)
            expected = (1 - weight) * scaled + weight * (length - (int(step.position[b, w]) - first)) / length
            assert float(got[b, w]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    "score", [IGFD(), IGFD(alpha=0.1, beta=2.0, gamma=1.0, reach=1, distance=1, size=3, dull=(3, 7))]
)
@pytest.mark.parametrize("untouched", [False, True])
def test_igfd(score, untouched):
    step = make_step(6, rows=12)
    if untouched:  # nothing generated yet
        canvas = step.canvas
        step.__dict__["canvas"] = canvas.reopened(canvas.editable)
    got = score(step)
    for b in range(step.rows):
        columns = step.open[b].nonzero()[:, 0].tolist()
        editable, still = step.canvas.editable[b], step.canvas.open[b]
        written = [t for t in range(len(still)) if editable[t] and not still[t]]
        plain = {}
        for w in columns:
            around = [float(step.belief.entropy[b, k]) for k in columns if abs(k - w) <= score.reach]
            c = float(step.confidence[b, w])
            dull = int(step.tokens[b, w]) in score.dull
            plain[w] = score.alpha * c + score.beta * c * sum(around) / len(around) - score.gamma * dull
        near = [w for w in columns if any(abs(int(step.position[b, w]) - t) <= score.distance for t in written)]
        close = near if written else columns[: score.size]
        frontier = sorted(close, key=lambda w: (-plain[w], w))[: score.size]
        for w in columns:
            assert float(got[b, w]) == pytest.approx(plain[w] + 1e3 * (w in frontier), abs=1e-3)


def run(*words):
    result = CliRunner().invoke(main, ["corpus", *map(str, words)])
    return result.exit_code, " ".join(result.output.split())


def test_build_counts_a_text_and_leaves_unknown_words_out(tmp_path):
    text, table = tmp_path / "text.txt", tmp_path / "table.json"
    text.write_text("In the beginning, the earth.\n\nthe Zyzzyva, the _ heavens\n")
    code, said = run("build", text, "--model", "zoo:bigram", "--output", table, "--source", "two lines")
    assert code == 0, said
    assert "1 words left out" in said
    backbone = mdmkit.load("zoo:bigram", device="cpu")
    counts = {backbone.render(token): number for token, number in read(str(table)).counts}
    assert counts == {"the": 4, "in": 1, "beginning": 1, ",": 1, "earth": 1, ".": 1, "heavens": 1}
    assert read(str(table)).source == "two lines"
    assert run("check", table, "--model", "zoo:bigram")[0] == 0
    code, said = run("build", text, "--model", "zoo:bigram", "--output", table)
    assert code != 0
    assert "--overwrite" in said
    assert run("build", text, "--model", "zoo:bigram", "--output", table, "--overwrite")[0] == 0


def test_build_replaces_only_tables(tmp_path):
    text, link = tmp_path / "text.txt", tmp_path / "link.json"
    text.write_text("the earth\n")
    for output, word in ((text, "one of the texts"), (tmp_path, "a directory"), (tmp_path / ("x" * 253), "too long")):
        assert word in run("build", text, "--model", "zoo:bigram", "--output", output, "--overwrite")[1]
    os.mkfifo(tmp_path / "pipe")
    assert "a device" in run("build", text, "--model", "zoo:bigram", "--output", tmp_path / "pipe", "--overwrite")[1]
    assert (tmp_path / "pipe").is_fifo()
    assert text.read_text() == "the earth\n"
    (tmp_path / "real.json").write_text("old")
    link.symlink_to("real.json")
    assert run("build", text, "--model", "zoo:bigram", "--output", link, "--overwrite")[0] == 0
    assert link.is_symlink()
    assert read(str(tmp_path / "real.json")).total == 2


def test_what_stands_around_every_line_is_not_counted():
    class Instructed(ToyBackbone):
        ends = (7,)

        def encode(self, prompts, plan):
            read = [replace(p.read(), text=p.text if p.chat is False else f"c{p.text}c") for p in prompts]
            canvas, conditioning = super().encode(read, plan)
            column = torch.full_like(canvas.tokens[:, :1], 7)  # an end token before everything
            given = {name: torch.cat((extra, getattr(canvas, name)), 1) for name, extra in self.before(column)}
            return replace(canvas, **given), conditioning

        def before(self, column):
            return ("tokens", column), ("editable", column < 0), ("valid", column > 0)

    backbone = Instructed()
    assert [backbone.render(token) for token in _ids(backbone, "ab")] == ["a", "b"]


def test_the_shipped_table_fits_its_model_and_no_other():
    assert run("check", "web", "--model", "zoo:bigram")[0] == 0
    code, said = run("check", "web", "--model", "zoo:puzzles")
    assert code != 0
    assert "tokenizer of zoo:bigram" in said
    sampler = mdmkit.compose("pc", plan={"length": 8})
    decoded = mdmkit.decode(sampler, mdmkit.load("zoo:bigram", device="cpu"), ["in the"])
    assert len(decoded.tokens[0]) == 8
    for other in (sampler, mdmkit.compose("linear_position", score={"table": "web"})):
        for model in (ToyBackbone(), ToyBackbone(vocab=2001)):  # also where the number of ids is the same
            with pytest.raises(MdmkitError, match=r"tokenizer of zoo:bigram \(2001 ids\), which is not this model's"):
                mdmkit.decode(other, model, ["ab"])


def test_a_fingerprint_is_of_every_token():
    class Other(ToyBackbone):
        def render(self, token):
            return "ß" if token == 7 else super().render(token)

    assert fingerprint(ToyBackbone(seed=1)) == fingerprint(ToyBackbone(seed=2)) != fingerprint(Other())


TABLE = {
    "format": "mdmkit corpus 1",
    "model": "m",
    "vocab": 3,
    "fingerprint": "",
    "source": "",
    "counts": [[0, 1]],
}


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{",
        pytest.param("[" * 100_000, id="deep"),
        json.dumps(TABLE | {"counts": [[0, math.inf]]}),
        json.dumps(TABLE | {"format": "x"}),
        json.dumps({key: value for key, value in TABLE.items() if key != "vocab"}),
        *(json.dumps(TABLE | {"counts": counts}) for counts in ([], [[3, 1]], [[0, 0]], [[0]], "no")),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path, content):
    path = tmp_path / "table.json"
    path.write_text(content)
    with pytest.raises(MdmkitError, match="corpus table"):
        PC(table=str(path))


def test_bad_input_leaves_no_table(tmp_path):
    text, table = tmp_path / "text.txt", tmp_path / "table.json"
    text.write_bytes(b"\xff\xfe\xff")
    assert "UTF-8" in run("build", text, "--model", "zoo:bigram", "--output", table)[1]
    text.write_text("Zyzzyva\n")
    assert "no word to count" in run("build", text, "--model", "zoo:bigram", "--output", table)[1]
    assert "does not exist" in run("build", text, "--model", "zoo:bigram", "--output", tmp_path / "no" / "t.json")[1]
    assert list(tmp_path.iterdir()) == [text]


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (lambda: PC(decay=-1.0), "decay=-1.0"),
        (lambda: PC(clip=0.0), "clip=0.0"),
        (lambda: PC(table="nowhere"), "corpus table 'nowhere' cannot be read"),
        (lambda: LinearPosition(weight=2.0), "weight=2.0"),
        (lambda: LinearPosition(clip=math.inf), "clip=inf"),
        (lambda: IGFD(size=0), "size=0"),
        (lambda: IGFD(reach=-1), "reach=-1"),
        (lambda: IGFD(beta=-0.1), "beta=-0.1"),
    ],
)
def test_parameters_out_of_range_are_refused(part, words):
    with pytest.raises(MdmkitError, match=words):
        part()
