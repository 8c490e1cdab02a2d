"""The trace page in a real browser, Debian's chromium without a window: what a reader does, and what is seen then."""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

import pytest
from browsing import launched, playwright

from mdmkit.watch.page import page
from mdmkit.watch.page.reading import read_trace

MASK = 9


def row(index=0, **more):
    """Given "a", then three masks: c in step 1 (alternative 2 of 2), a token taken back in step 3, "b" and "d" last."""
    found = {
        "index": index,
        "seed": 1,
        "prompt_tokens": [1, MASK, MASK, MASK],
        "tokens": [1, 2, 3, 4],
        "order": [-1, 3, 0, 3],
        "confidence": [0.0, 0.25, 1.0, 0.5],
        "entropy": [0.0, 2.0, 0.0, 1.0],
        "uncertainty": 3.0,
        "nfe": 7,
        "row_tokens": 28,
        "choices": [1, 0, 0, 0],
        "values": [[-2.5, -0.5], None, None, None],
        "pieces": ["a", "b", "c", "d"],
        "mask_id": MASK,
        "entropy_scale": 2.0,
        "names": {"2": "b", "3": "c", "4": "d", "5": "e", "9": "_"},
        "steps": [
            {"written": [[2, 3]], "open": [1, "_Q-"], "alternatives": [[[1, 5]], [[2, 3]]]},
            {"written": [[1, 5, 0.125]], "open": [1, "_f"]},
            {"written": [[1, MASK]], "open": [3, "f"]},
            {"written": [[1, 2], [3, 4]], "open": [1, "_f"]},
        ],
    }
    return found | more


def image():
    """Two by three cells, filled in two steps."""
    six = {
        "prompt_tokens": [MASK] * 6,
        "tokens": [0, 1, 2, 3, 4, 5],
        "order": [0, 1, 0, 1, 0, 1],
        "pieces": [*"012345"],
    }
    six |= {"confidence": [0.5] * 6, "entropy": [1.0] * 6, "choices": [0, 0], "values": [None, None], "grid": [2, 3]}
    found = row(**six)
    del found["steps"], found["names"], found["entropy_scale"]
    return found


@pytest.fixture(scope="module")
def browser():
    with launched() as chromium:
        yield chromium


@pytest.fixture
def show(browser, tmp_path):
    """Open a page of traces, one list of rows each; no error, dialog or request may come of it."""
    wrong, contexts = [], []

    def open_(*traces, width=1100, height=800, scheme="light"):
        read = []
        for n, rows in enumerate(traces):
            file = tmp_path / f"{n}.json"
            file.write_text(json.dumps({"model": "m", "sampler": {"sampler": f"s{n}"}, "rows": rows}))
            read.append((file.name, read_trace(file)))
        html = tmp_path / "page.html"
        html.write_text(page(read), encoding="utf-8")
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        contexts.append(context)
        tab = context.new_page()
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.on("console", lambda message: wrong.append(message.text))
        tab.on("dialog", lambda dialog: (wrong.append("a dialog"), dialog.dismiss()))
        tab.on("request", lambda request: request.url != html.as_uri() and wrong.append(request.url))
        tab.goto(html.as_uri())
        return tab

    yield open_
    for context in contexts:
        context.close()
    assert wrong == []


def texts(tab, pane=0):
    return tab.locator(".pane").nth(pane).locator(".cell").all_inner_texts()


def kinds(tab):
    return [cell.split()[1] for cell in tab.locator(".cell").evaluate_all("cells => cells.map(c => c.className)")]


def at(tab):
    return tab.locator("#count").inner_text()


def test_the_slider_moves_through_the_states_of_the_canvas(show, tmp_path):
    tab = show([row()])
    assert (at(tab), texts(tab)) == ("4 / 4", ["a", "b", "c", "d"])
    box = tab.locator("#slider").bounding_box()
    pictures = [tab.screenshot(path=tmp_path / "end.png")]
    tab.mouse.click(box["x"] + 4, box["y"] + box["height"] / 2)
    assert (at(tab), texts(tab)) == ("0 / 4", ["a", "·", "·", "·"])
    assert kinds(tab) == ["given", "open", "open", "open"]
    pictures.append(tab.screenshot())
    tab.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert (at(tab), texts(tab)) == ("2 / 4", ["a", "e", "c", "·"])
    pictures.append(tab.screenshot())
    assert len({*pictures}) == 3
    assert tab.locator("#slider").get_attribute("aria-valuetext") == "step 2 of 4"


def test_keys_step_play_and_jump(show):
    tab = show([row()])
    for key, where in [
        ("Home", 0),
        ("ArrowRight", 1),
        ("ArrowRight", 2),
        ("ArrowLeft", 1),
        ("End", 4),
        ("ArrowRight", 4),
    ]:
        tab.keyboard.press(key)
        assert at(tab) == f"{where} / 4", key
    tab.keyboard.press("Shift+ArrowLeft")
    assert at(tab) == "0 / 4"
    tab.locator("#slider").focus()
    tab.keyboard.press("ArrowRight")
    assert at(tab) == "1 / 4", "one step also where the slider has the focus"
    tab.locator("#pace").select_option("4")
    tab.locator("h1").click()
    tab.keyboard.press("Space")
    assert tab.locator("#play").get_attribute("aria-label") == "Pause"
    playwright.expect(tab.locator("#play")).to_have_attribute("aria-label", "Play")
    assert at(tab) == "4 / 4"
    tab.keyboard.press("Space")
    assert at(tab) == "0 / 4", "playing at the end begins anew"
    tab.keyboard.press("Space")
    tab.locator("#on").focus()
    tab.keyboard.press("Space")
    assert at(tab) == "1 / 4", "a button that has the focus is what the space bar presses"


def test_a_token_that_is_taken_back_is_open_again(show):
    tab = show([row()])
    tab.locator("#slider").fill("2")
    label = tab.locator(".cell").nth(1).get_attribute("aria-label")
    assert label == "position 1: “e”, written in step 2, probability 13 %"
    tab.locator("#slider").fill("3")
    assert texts(tab) == ["a", "·", "c", "·"]
    assert "taken back in this step, entropy 2.00 nats" in tab.locator(".cell").nth(1).get_attribute("aria-label")
    assert "1 taken back" in tab.locator(".looked").inner_text()
    tab.locator("#slider").fill("4")
    label = tab.locator(".cell").nth(1).get_attribute("aria-label")
    assert label == "position 1: “b”, written in step 4, probability 25 %, entropy 2.00 nats"


def test_what_was_never_decoded_and_a_mask_that_was_given_say_so(show):
    one = row(order=[-1, -1, 0, -1], steps=[{"written": [[2, 3]], "open": [2, "f"]}], choices=[0], values=[None])
    tab = show(
        [one | {"prompt_tokens": [MASK, 2, MASK, MASK], "tokens": [MASK, 2, 3, 3], "pieces": ["_", "b", "c", "c"]}]
    )
    assert kinds(tab) == ["left", "given", "written", "left"]
    assert tab.locator(".cell").nth(3).get_attribute("aria-label") == "position 3: not decoded"


def test_open_positions_tell_their_entropy_and_a_picked_one_its_history(show):
    tab = show([row()])
    tab.keyboard.press("Home")
    cells = tab.locator(".cell")
    # Levels 63, 16 and 62 of 63, squared, of 2 nats.
    assert [cells.nth(n).get_attribute("aria-label").split(", ")[1] for n in (1, 2, 3)] == [
        "entropy 2.00 nats",
        "entropy 0.13 nats",
        "entropy 1.94 nats",
    ]
    shade = "c => getComputedStyle(c).backgroundColor"
    assert cells.nth(1).evaluate(shade) != cells.nth(2).evaluate(shade)
    cells.nth(3).click()
    assert tab.locator(".detail").first.inner_text() == "position 3: open, entropy 1.94 nats"
    assert tab.locator(".pane svg").count() == 1
    tab.keyboard.press(",")
    assert tab.locator(".detail").first.inner_text().startswith("position 2")
    assert tab.locator("#said").inner_text().startswith("position 2")


def test_alternatives_stand_with_tokens_and_values(show):
    tab = show([row()])
    tab.locator("#slider").fill("1")
    lines = [line.split("\t") for line in tab.locator("tbody tr").all_inner_texts()]
    assert lines == [["1", "1: e", "-2.5000"], ["2 ✓", "2: c", "-0.5000"]]
    assert tab.locator("tr.taken").count() == 1
    tab.locator("#slider").fill("2")
    assert tab.locator("table").count() == 0
    assert "Nothing was compared" in tab.locator(".looked").inner_text()


def test_two_traces_of_different_length_stand_side_by_side(show):
    tab = show([row(), row(1)], [image() | {"grid": [1, 6], "index": 0}, row(1)])
    assert tab.locator(".pane").count() == 2
    left, right = (tab.locator(".pane").nth(n) for n in (0, 1))
    assert left.bounding_box()["y"] == right.bounding_box()["y"]
    tab.locator("#slider").fill("3")
    assert "step 3 of 4" in left.inner_text() and "step 2 of 2" in right.inner_text()
    tab.locator("#align").select_option("share")
    tab.locator("#slider").fill("2")
    assert "step 2 of 4" in left.inner_text() and "step 1 of 2" in right.inner_text()
    assert tab.locator("#lines path.line").count() == 2
    tab.keyboard.press("ArrowDown")
    assert [tab.locator("h2").nth(n).inner_text() for n in (0, 1)] == ["m · s0 · row 1", "m · s1 · row 1"]
    tab.locator("#row-1").select_option(label="nothing")
    assert tab.locator(".pane").count() == 1


def test_rows_are_selectable_by_list_and_by_key(show):
    tab = show([row(0), row(7, pieces=["A", "B", "C", "D"], names={})])
    assert tab.locator(".pane").count() == 1
    tab.locator("#row-0").select_option(label="row 7")
    assert texts(tab) == ["A", "B", "C", "D"]
    tab.locator("h1").click()
    tab.keyboard.press("ArrowUp")
    assert texts(tab) == ["a", "b", "c", "d"]
    tab.keyboard.press("ArrowUp")
    assert texts(tab) == ["a", "b", "c", "d"]


def test_an_image_is_a_grid_of_square_cells(show):
    tab = show([image()])
    boxes = tab.locator(".cell").evaluate_all("cells => cells.map(c => c.getBoundingClientRect().toJSON())")
    assert [round(b["y"]) for b in boxes[:3]] == [round(boxes[0]["y"])] * 3
    assert boxes[3]["y"] > boxes[0]["y"] and boxes[3]["x"] == boxes[0]["x"]
    assert all(b["width"] == pytest.approx(b["height"], abs=0.5) for b in boxes)
    tab.locator("#slider").fill("1")
    assert kinds(tab) == ["written", "open"] * 3
    assert "each position's last write only" in tab.locator(".note").inner_text()
    tab.locator("#colour").select_option("token")
    back = tab.locator(".cell.written").evaluate_all("cells => cells.map(c => getComputedStyle(c).backgroundColor)")
    assert len({*back}) == 3


# Contrast as WCAG has it; the browser itself turns its colours into numbers.
CONTRAST = """() => {
  const paper = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const seen = (...layers) => {
    for (const layer of layers) { paper.fillStyle = layer; paper.fillRect(0, 0, 1, 1); }
    return [...paper.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (element, ...below) => {
    const style = getComputedStyle(element);
    const under = [...below, style.backgroundColor];
    const [a, b] = [light(seen(...under, style.color)), light(seen(...under))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  };
  const ground = getComputedStyle(document.body).backgroundColor;
  const panel = getComputedStyle(document.querySelector(".pane")).backgroundColor;
  return { ground: light(seen(ground)), body: ratio(document.body),
    soft: ratio(document.querySelector(".facts"), panel),
    cells: [...document.querySelectorAll(".cell:not(.open)")].map((cell) => ratio(cell, panel)) };
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_follow_the_system_and_can_be_read(show, scheme):
    tab = show([row(n, order=[-1, n, 3 - n, 3], confidence=[0, n / 3, 1 - n / 3, 0]) for n in range(4)], scheme=scheme)
    for colour in ("when", "sure", "entropy"):
        tab.locator("#colour").select_option(colour)
        for _ in range(4):
            seen = tab.evaluate(CONTRAST)
            assert (seen["ground"] > 0.5) == (scheme == "light")
            assert min(seen["body"], seen["soft"], *seen["cells"]) >= 4.5, (colour, seen)
            tab.locator("h1").click()
            tab.keyboard.press("ArrowDown")


def test_the_theme_can_be_chosen(show):
    tab = show([row()], scheme="light")
    button = tab.locator("#theme")
    ground = "getComputedStyle(document.body).backgroundColor"
    system = tab.evaluate(ground)
    button.click()
    assert (button.inner_text(), tab.evaluate(ground)) == ("Theme: light", system)
    button.click()
    assert button.inner_text() == "Theme: dark" and tab.evaluate(ground) != system
    tab.reload()
    assert button.inner_text() == "Theme: dark" and tab.evaluate(ground) != system
    tab.keyboard.press("t")
    assert (button.inner_text(), tab.evaluate(ground)) == ("Theme: system", system)


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_shows_all_without_scrolling_sideways(show, width):
    long = row(pieces=["a", "b" * 120, "c", "d"], names={})
    tab = show([long], [row()], width=width, height=700)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    left, right = (tab.locator(".pane").nth(n).bounding_box() for n in (0, 1))
    assert right["y"] > left["y"] + left["height"]
    for name in ("play", "back", "on", "first", "last"):
        box = tab.locator(f"#{name}").bounding_box()
        assert box["width"] >= 44 and box["height"] >= 44 and 0 <= box["x"] <= width - box["width"]
        assert box["y"] + box["height"] <= 700, "the controls stay in view"


def test_everything_that_acts_has_a_name_for_screen_readers(show):
    tab = show([row(), row(1)], [row()])
    tree = tab.locator("body").aria_snapshot()
    for part in ('slider "Step"', 'button "Play"', 'button "Step back"', 'combobox "Row"', 'combobox "Beside it"'):
        assert part in tree, tree
    assert not re.search(r"- (button|combobox|slider)(:| \[|$)", tree, re.M), "one without a name"
    assert 'img "position 2: “c”, written in step 1, probability 100.00 %, entropy 0.00 nats"' in tree
    tab.keyboard.press("Home")
    assert "Nothing is written yet" in tab.locator("[role=status]").inner_text()


def test_tokens_are_text_whatever_is_in_them(show):
    pieces = ["<img src=x onerror=alert(1)>", "</script><script>alert(2)</script>", "\n\t\x1b", "\u202eabc"]
    tab = show([row(pieces=pieces, names={})])
    assert texts(tab) == [pieces[0], pieces[1], "⏎⇥␛", "‹202e›abc"]
    assert tab.locator("img").count() == 0 and tab.locator("script").count() == 2


def test_512_tokens_in_512_steps_load_in_two_seconds_and_three_megabytes(browser, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "benchmarks"))
    sys.modules.pop("trace_page", None)
    from trace_page import long_row, write_trace

    file = write_trace(tmp_path / "long.json", long_row(512, 512))
    html = tmp_path / "long.html"
    html.write_text(page([("long", read_trace(file))]))
    assert file.stat().st_size < 1e6 and html.stat().st_size < 1e6
    seconds = []
    for _ in range(2):
        tab = browser.new_page()
        began = time.perf_counter()
        tab.goto(html.as_uri())
        playwright.expect(tab.locator(".cell.written")).to_have_count(512)
        seconds.append(time.perf_counter() - began)
        tab.keyboard.press("Home")
        assert tab.locator(".cell.open").count() == 512
        tab.close()
    assert min(seconds) < 2
