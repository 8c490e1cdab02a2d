"""The page at `/` in a real browser, Debian's chromium without a window: what a person does, and what is seen then."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from browsing import launched

PICTURES = """() => {
  window.pictures = [];
  const canvas = document.getElementById("canvas");
  new MutationObserver(() => window.pictures.push(canvas.textContent)).observe(canvas, {childList: true});
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as chromium:
        yield chromium


@pytest.fixture
def tab(browser: Any) -> Iterator[Any]:
    """A tab that may ask one server only, and in which nothing may go wrong but what a test expects."""
    context = browser.new_context()
    page = context.new_page()
    page.wrong = []
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("request", lambda request: "127.0.0.1" in request.url or page.wrong.append(request.url))
    yield page
    context.close()
    assert page.wrong == []


def test_a_person_types_and_watches_the_canvas_fill(tab: Any, live: Any) -> None:
    tab.goto(live.url)
    tab.locator("#sampler option").first.wait_for(state="attached")
    assert tab.locator("#served").inner_text() == "puzzles"
    assert tab.locator("#sampler").input_value() == "confidence" and tab.locator("#as").input_value() == "chat"
    assert tab.locator("#tokens").get_attribute("placeholder") == "8"
    tab.evaluate(PICTURES)
    tab.locator("#as").select_option("text")
    tab.locator("#sampler").select_option("info_gain")
    tab.locator("#prompt").fill("7*8=_______")
    tab.locator("#seed").fill("5")
    tab.locator("#run").click()
    tab.get_by_text("seed 5").wait_for()
    assert tab.locator("#canvas").inner_text() == "7*8=0111000"
    facts = tab.locator("#facts").inner_text()
    assert facts.startswith("info_gain · ") and "7 tokens" in facts and "H̃ 0.004 nats" in facts and "NFE 7" in facts
    masks = [picture.count("▁") for picture in tab.evaluate("window.pictures") if picture]
    assert masks[0] > 2 and masks[-1] == 0 and masks == sorted(masks, reverse=True)
    assert all(picture.startswith("7*8=") for picture in tab.evaluate("window.pictures") if picture)


def test_a_message_is_answered(tab: Any, live: Any) -> None:
    tab.goto(live.url)
    tab.locator("#sampler option").first.wait_for(state="attached")
    tab.locator("#prompt").fill("7*8=")
    tab.locator("#tokens").fill("7")
    tab.locator("#prompt").press("Control+Enter")
    tab.get_by_text("NFE 7").wait_for()
    assert tab.locator("#canvas").inner_text() == "0111000"


def test_an_error_is_shown_and_the_next_try_works(tab: Any, live: Any) -> None:
    tab.goto(live.url)
    tab.locator("#sampler option").first.wait_for(state="attached")
    tab.locator("#prompt").fill("<img src=x onerror=alert(1)>")
    tab.locator("#run").click()
    tab.get_by_text("cannot read").wait_for()
    assert tab.locator("#wrong img").count() == 0
    tab.locator("#prompt").fill("7*8=")
    tab.locator("#run").click()
    tab.get_by_text("NFE 8").wait_for()
    assert tab.locator("#wrong").inner_text() == ""


def test_stop_gives_the_row_up(tab: Any, serve: Any, gated: Any) -> None:
    gated.seconds = 0.02
    with serve(gated) as live:
        tab.goto(live.url)
        tab.locator("#sampler option").first.wait_for(state="attached")
        assert tab.locator("#as").input_value() == "text"  # the toy has no template
        tab.locator("#prompt").fill("abc")
        tab.locator("#tokens").fill("200")
        tab.locator("#run").click()
        tab.get_by_text(re.compile("[0-9]+ steps")).wait_for()
        tab.locator("#stop").click()
        tab.get_by_text("Stopped.").wait_for()
        live.until(lambda: live.service.scheduler.working == 0)
        assert tab.locator("#run").is_enabled() and not tab.locator("#stop").is_visible()


def test_a_key_is_asked_for(tab: Any, serve: Any, gated: Any) -> None:
    with serve(gated, own={"key": "sesame"}) as live:
        tab.goto(live.url)
        tab.get_by_text("no API key, or a wrong one").wait_for()
        tab.locator("#key").fill("sesame")
        tab.locator("#prompt").fill("ab")
        tab.locator("#sampler option").first.wait_for(state="attached")
        tab.locator("#run").click()
        tab.get_by_text("NFE 8").wait_for()


def test_the_page_may_run_its_own_script_only(live: Any) -> None:
    status, text, headers = live.ask("GET", "/")
    assert status == 200 and headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "http://" not in text and "https://" not in text
