"""Readers without a mouse or without sight: every page by axe, and walks with the keyboard alone."""

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build" / "html"
PAGES = sorted(
    str(path.relative_to(SITE))
    for path in SITE.rglob("*.html")
    if not {"_static", "_modules", "reference"} & set(path.parts)
)
ALIKE = ["book/reference/uqlib.html", "book/reference/metrics.html", "_modules/uqlib/metrics/ranking.html"]
"""Of the pages made from the library, one of each kind."""

GRAVE = {"serious", "critical"}
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
STILL = "*, *::before, *::after { transition: none !important; animation: none !important; }"
WALK = 400  # presses of the tab key that any page of a chapter takes at most to where a test goes


def findings(page: Page) -> list[str]:
    """What axe finds grave on a page, in words: rule, place, reason."""
    options = {"resultTypes": ["violations"], "runOnly": {"type": "tag", "values": RULES}}
    found = Axe().run(page, options=options).response["violations"]
    return [
        f"{each['id']} at {node['target']}: {node['failureSummary']}"
        for each in found
        if each["impact"] in GRAVE
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("name", [*(name for name in PAGES if name != "index.html"), *ALIKE])
def test_axe_finds_nothing_grave(name: str, page: Page, address: str) -> None:
    for scheme, width in (("light", 1280), ("dark", 390)):
        page.emulate_media(color_scheme=scheme)  # pyright: ignore[reportArgumentType]
        page.set_viewport_size({"width": width, "height": 800})
        page.goto(f"{address}/{name}", wait_until="load")
        page.add_style_tag(content=STILL)  # a colour half-way between two schemes is nobody's choice
        page.evaluate("document.querySelectorAll('article details').forEach((fold) => { fold.open = true; })")
        page.wait_for_function("document.getAnimations().every((one) => one.playState !== 'running')")
        assert findings(page) == [], f"{scheme}, {width} px"


def test_axe_is_not_blind(page: Page) -> None:
    page.set_content('<!doctype html><html lang="en"><title>x</title><main><button></button></main></html>')
    assert [each for each in findings(page) if each.startswith("button-name")]


def walk_to(page: Page, wanted: str) -> None:
    """Press the tab key until an element that fits a selector has the focus."""
    for _ in range(WALK):
        page.keyboard.press("Tab")
        if page.evaluate("(wanted) => document.activeElement.matches(wanted)", wanted):
            return
    raise AssertionError(f"the tab key does not lead to {wanted}")


def place_before(page: Page, selector: str) -> None:
    """Put the focus just before the first such element, as if the reader had tabbed so far."""
    page.locator(selector).first.evaluate(
        """(node) => {
            const stone = document.createElement('span');
            stone.tabIndex = -1;
            node.before(stone);
            stone.focus();
        }"""
    )


def test_a_question_is_answered_with_the_keyboard(page: Page, address: str) -> None:
    page.goto(f"{address}/book/why_uncertainty.html")
    place_before(page, ".quiz")
    walk_to(page, ".quiz ol button")
    page.keyboard.press("Enter")
    quiz = page.locator(".quiz").first
    assert quiz.get_attribute("data-answered") in {"right", "wrong"}
    assert quiz.locator("details").evaluate("(fold) => fold.open")
    assert quiz.locator(".quiz-verdict").inner_text()


def test_a_viewer_plays_and_turns_with_the_keyboard(page: Page, address: str) -> None:
    page.goto(f"{address}/book/ensembles.html")
    page.locator(".uqv-static").first.scroll_into_view_if_needed()
    root = page.locator(".uqv[data-ready]").first
    root.wait_for()
    place_before(page, ".uqv-static")
    walk_to(page, ".uqv-canvas, .uqv-slider")
    walk_to(page, ".uqv-slider")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert root.get_attribute("data-frame") == "1"


def test_a_live_figure_learns_from_the_keyboard(page: Page, address: str) -> None:
    page.goto(f"{address}/book/why_uncertainty.html")
    page.locator(".live").scroll_into_view_if_needed()
    page.locator('.live[data-state="done"]').wait_for()
    place_before(page, ".live")
    walk_to(page, ".live svg")
    before = page.locator(".live").get_attribute("data-points")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Delete")
    assert page.locator(".live").get_attribute("data-points") != before


def test_a_word_of_the_glossary_explains_itself(page: Page, address: str) -> None:
    page.goto(f"{address}/book/why_uncertainty.html")
    words = page.locator("a.term").all_text_contents()
    assert len(words) == len(set(words)) > 8, "each word once"
    meaning = page.locator(".term-meaning").first
    assert not meaning.is_visible()
    place_before(page, ".term-place")
    walk_to(page, "a.term")
    assert meaning.is_visible()
    assert len(meaning.inner_text()) > 20
    page.keyboard.press("Escape")
    assert not meaning.is_visible()
    page.locator("a.term").nth(1).hover()
    assert page.locator(".term-meaning").nth(1).is_visible()


def test_a_touch_shows_the_meaning_and_a_second_one_leads_to_the_glossary(browser: Browser, address: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(f"{address}/book/painn.html")
    places = page.locator(".term-place:visible")
    for place in places.all():
        page.locator("article h1").tap()  # an open meaning may lie over the next word
        place.locator("a").tap()
        box = place.locator(".term-meaning").bounding_box()
        assert box, "the meaning is not shown"
        assert 0 <= box["x"] <= box["x"] + box["width"] <= 390
    places.last.locator("a").tap()
    page.wait_for_url("**/glossary.html#*")
    context.close()
