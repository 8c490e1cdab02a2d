"""`mdmkit trace`: what it reads, what it refuses, and that the page is safe and needs nothing else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from click.testing import CliRunner

from mdmkit.cli import main
from mdmkit.watch.page import embedded

# A row in which "b c" is filled in two steps; what a decode of a search writes, which records no steps.
PLAIN = {
    "index": 0,
    "seed": 5,
    "prompt_tokens": [1, 9, 9],
    "tokens": [1, 2, 3],
    "order": [-1, 1, 0],
    "confidence": [0.0, 0.75, 0.5],
    "entropy": [0.0, 0.25, 1.0],
    "uncertainty": 1.25,
    "nfe": 3,
    "row_tokens": 9,
    "choices": [1, 0],
    "values": [[-1.5, -1.0, None], None],
    "pieces": ["a", "b", "c"],
}
STEPS = {
    "mask_id": 9,
    "entropy_scale": 2.0,
    "names": {"2": "b", "3": "c"},
    "steps": [
        {"written": [[2, 3]], "open": [1, "f-"], "alternatives": [[[1, 2]], [[2, 3]], None]},
        {"written": [[1, 2]], "open": [1, "Q"]},
    ],
}


def write(path, *rows, **more):
    path.write_text(json.dumps({"mdmkit": "0", "model": "m", "sampler": {"sampler": "s"}, "rows": rows, **more}))
    return path


@pytest.fixture
def trace(tmp_path):
    """Run `mdmkit trace`."""

    def call(*words):
        return CliRunner().invoke(main, ["trace", *map(str, words)])

    return call


class Data(HTMLParser):
    """Reads the page as a browser would: the scripts, and what elements ask for from elsewhere."""

    def __init__(self, text):
        super().__init__()
        self.scripts, self.asks, self._script = [], [], None
        self.feed(text)
        self.close()
        self.traces = json.loads(next(body for kind, body in self.scripts if kind == "application/json"))

    def handle_starttag(self, tag, attrs):
        names = dict(attrs)
        self.asks += [names[key] for key in ("src", "href", "action", "data") if key in names]
        if tag == "script":
            self._script = (names.get("type"), "")

    def handle_data(self, data):
        if self._script is not None:
            self._script = (self._script[0], self._script[1] + data)

    def handle_endtag(self, tag):
        if tag == "script":
            self.scripts.append(self._script)
            self._script = None


def test_the_page_holds_the_rows_and_asks_for_nothing(trace, tmp_path):
    file = write(tmp_path / "t.json", PLAIN | STEPS, PLAIN | STEPS | {"index": 1})
    result = trace(file)
    assert result.exit_code == 0, result.output
    assert re.search(r"t\.html: 2 rows, 0\.\d MB", result.output)
    text = (tmp_path / "t.html").read_text()
    page = Data(text)
    assert page.asks == []
    assert "default-src 'none'" in text
    assert not re.search(r"url\(|@import|fetch\(|XMLHttp|https?://(?!www\.w3\.org/2000/svg)", text)
    ((first, second),) = [found["rows"] for found in page.traces]
    assert (first["steps"], first["names"]) == (STEPS["steps"], {"1": "a", "2": "b", "3": "c"})
    assert (first["recorded"], first["mask"], second["index"]) == (True, 9, 1)
    assert not re.search(r"/\*\{", text)


def test_a_trace_without_steps_gets_those_of_its_order(trace, tmp_path):
    trace(write(tmp_path / "t.json", PLAIN))
    ((row,),) = [found["rows"] for found in Data((tmp_path / "t.html").read_text()).traces]
    assert row["steps"] == [{"written": [[2, 3]]}, {"written": [[1, 2]]}]
    assert (row["recorded"], row["mask"]) == (False, 9)


def test_several_files_and_rows_by_index(trace, tmp_path):
    a = write(tmp_path / "a.json", *(PLAIN | {"index": n} for n in (4, 5, 6)))
    b = write(tmp_path / "b.json", *(PLAIN | STEPS | {"index": n} for n in (6, 4)))
    assert trace(a, b, "--row", 6, "--row", 4, "--output", tmp_path / "two.html").exit_code == 0
    found = Data((tmp_path / "two.html").read_text()).traces
    assert [(one["title"], [row["index"] for row in one["rows"]]) for one in found] == [
        (str(a), [6, 4]),
        (str(b), [6, 4]),
    ]


NASTY = [
    "</script><script>alert(1)</script>",
    "<!--",
    "]]>",
    "&lt;",
    "\x00\x1b[2J",
    "\u2028",
    "\ud83d",
    "🙂",
    "/*{js}*/",
]


def test_no_token_can_break_out_of_the_data(trace, tmp_path):
    row = PLAIN | {key: PLAIN[key][:1] * len(NASTY) for key in ("prompt_tokens", "order", "confidence", "entropy")}
    row |= {"tokens": [*range(len(NASTY))], "pieces": NASTY}
    trace(write(tmp_path / "t.json", row))
    text = (tmp_path / "t.html").read_text()
    page = Data(text)
    assert list(page.traces[0]["rows"][0]["names"].values()) == NASTY
    assert len(page.scripts) == 2 and text.count("<script") == text.count("</script") == 2
    assert embedded(NASTY).isascii() and not set("<>&") & set(embedded(NASTY))


ROW = PLAIN | STEPS
BROKEN = {
    "no JSON": ("{]", ["t.json is not whole JSON", "line 1"]),
    "cut off": (json.dumps({"rows": [ROW]})[:200], ["is not whole JSON"]),
    "JSON lines": ('{"index": 0}\n{"index": 1}\n', ["JSON lines, as --output writes them", "--trace FILE.json"]),
    "a list": ([ROW], ["is not a trace", "no object with `rows`"]),
    "another object": ({"score": "confidence"}, ["is not a trace"]),
    "rows are no list": ({"rows": {}}, ["is not a trace"]),
    "no rows": ({"rows": []}, ["has no rows"]),
    "not a number": ('{"rows": [NaN]}', ["NaN is not a number of JSON"]),
    "deep": ("[" * 200_000, ["is not"]),
    "a row of --json": (
        {"rows": [{"index": 0, "uncertainty": 1.0, "nfe": 3, "tokens": [1]}]},
        ["rows[0]: `prompt_tokens` must be a list, and is missing"],
    ),
    "a number for a row": ({"rows": [ROW, 3]}, ["rows[1]: it is no object"]),
    "short list": ({"rows": [ROW | {"order": [0]}]}, ["`order` has 1 items where 3 are due"]),
    "word for a number": (
        {"rows": [ROW | {"confidence": [0, "x", 1]}]},
        ['`confidence[1]` is "x"'],
    ),
    "true for a number": ({"rows": [ROW | {"tokens": [True, 2, 3]}]}, ["`tokens[0]` is true"]),
    "tick without a step": ({"rows": [ROW | {"choices": [0], "values": [None]}]}, ["`order` names tick 1"]),
    "a step too few": ({"rows": [ROW | {"steps": STEPS["steps"][:1]}]}, ["`steps` has 1 items where 2 are due"]),
    "written elsewhere": (
        {"rows": [ROW | {"steps": [{"written": [[7, 1]]}, {"written": []}]}]},
        ["`steps[0]` is"],
    ),
    "no scale": ({"rows": [ROW | {"entropy_scale": None}]}, ["`entropy_scale` must be a number"]),
    "grid of another size": ({"rows": [ROW | {"grid": [2, 2]}]}, ["`grid` is [2, 2]", "3 tokens"]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_trace_is_refused_in_one_paragraph(name, trace, tmp_path):
    content, said = BROKEN[name]
    (tmp_path / "t.json").write_text(content if isinstance(content, str) else json.dumps(content))
    result = trace(tmp_path / "t.json")
    assert result.exit_code == 2, result.output
    assert len(result.stderr.strip().split("\n\n")) == 1
    for words in said:
        assert words in " ".join(result.stderr.split())
    assert [file.name for file in tmp_path.iterdir()] == ["t.json"]


def test_a_key_that_stands_twice_is_refused(trace, tmp_path):
    """The last one would win, in silence."""
    file = write(tmp_path / "t.json", PLAIN)
    file.write_text(file.read_text().replace('"nfe": 3', '"nfe": 3, "nfe": 4'))
    done = trace(file)
    assert done.exit_code == 2 and "the key 'nfe' stands twice in one object" in " ".join(done.output.split())


def test_bytes_that_are_no_text_and_missing_files_are_refused(trace, tmp_path):
    (tmp_path / "t.json").write_bytes(b"\xff\xfe{}")
    assert "is not JSON" in trace(tmp_path / "t.json").stderr
    assert "No such file" in trace(tmp_path / "none.json").stderr
    assert "Is a directory" in trace(tmp_path, "--output", tmp_path / "o.html").stderr
    good = write(tmp_path / "good.json", ROW)
    result = trace(good, "--row", 3)
    assert (result.exit_code, "has no row 3" in result.stderr, "There are: 0" in result.stderr) == (2, True, True)
    assert not list(tmp_path.glob("*.html"))


def test_an_output_that_exists_stays_unless_it_is_offered(trace, tmp_path):
    file, page = write(tmp_path / "t.json", ROW), tmp_path / "t.html"
    page.write_text("mine")
    result = trace(file)
    assert result.exit_code == 2 and page.read_text() == "mine"
    assert "the file exists" in result.stderr and "--overwrite" in result.stderr and "--resume" not in result.stderr
    assert trace(file, "--overwrite").exit_code == 0 and "mdmkit trace" in page.read_text()
    result = trace(file, "--output", file, "--overwrite")
    assert result.exit_code == 2 and "both name" in result.stderr
    assert "does not exist" in trace(file, "--output", tmp_path / "no" / "p.html").stderr
    assert json.loads(file.read_text())["rows"]
    result = trace(file, "--output", "/dev/full", "--overwrite")
    assert result.exit_code == 2 and "No space left" in result.stderr


@pytest.mark.parametrize("output", ["/dev/stdout", "-"])
def test_a_page_on_standard_output_stands_there_alone(tmp_path, output):
    file = write(tmp_path / "t.json", ROW)
    words = [sys.executable, "-m", "mdmkit", "trace", str(file), "--output", output]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("<!doctype html>") and done.stdout.endswith("</html>\n")
    assert "1 row, 0.0 MB" in done.stderr


def test_a_page_is_appended_where_the_shell_appends(tmp_path):
    file, page = write(tmp_path / "t.json", ROW), tmp_path / "page"
    page.write_text("before\n")
    with page.open("a") as end:
        subprocess.run([sys.executable, "-m", "mdmkit", "trace", str(file), "--output", "-"], stdout=end, check=True)
    assert page.read_text().startswith("before\n<!doctype html>")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(("page", ".page"))] == ["page"]


def test_the_command_imports_no_torch(tmp_path):
    file = write(tmp_path / "t.json", ROW)
    code = f"import sys; from mdmkit.cli import main; main(['trace', {str(file)!r}], standalone_mode=False)"
    code += "; print(sorted({'torch', 'numpy', 'transformers', 'jinja2'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
