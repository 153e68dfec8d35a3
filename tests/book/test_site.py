"""The built site in a headless browser: every page, every viewer. `make book` builds it; `make test` does so first."""

import json
import re
import runpy
from pathlib import Path

import pytest
from browser import Listener, changed, drawn, pixels
from playwright.sync_api import Browser, Locator, Page

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build" / "html"
VENDOR = ROOT / "book" / "_ext" / "vendor"
MOST_NGLVIEWS = 4  # each holds one of about 16 WebGL contexts from the start
SETTLE = 400  # ms, time for a frame to be drawn

ALL_PAGES = sorted(str(path.relative_to(SITE)) for path in SITE.rglob("*.html") if "_static" not in path.parts)
MADE = [name for name in ALL_PAGES if name.startswith(("book/reference/", "_modules/"))]
"""Pages made from the library: many and all alike, so that one tab goes through those of the reference."""
PAGES = [name for name in ALL_PAGES if name not in MADE]


def pages_with(marker: str) -> list[str]:
    """Pages whose source contains a text."""
    return [page for page in PAGES if marker in (SITE / page).read_text(encoding="utf-8")]


WITH_VIEWERS = pages_with('class="uqv-static"')
WITH_NGLVIEW = pages_with('class="uqv-print"')


def live(viewer: Locator) -> Locator:
    """Scroll to a viewer and wait until it has drawn; gives its root."""
    viewer.scroll_into_view_if_needed()
    root = viewer.locator(".uqv[data-ready]")
    root.wait_for()
    viewer.page.wait_for_timeout(SETTLE)
    return root


def viewers_of(page: Page) -> list[Locator]:
    """Our viewers in a page, none of them hidden in a closed fold."""
    page.evaluate("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")
    return page.locator(".uqv-static").all()


def test_site_is_built_and_shows_every_kind_of_view(address: str) -> None:
    assert len(PAGES) > 4, f"the site in {SITE} has hardly a page: run `make book`"
    assert WITH_VIEWERS, "no page shows frames"
    assert WITH_NGLVIEW, "no page shows a structure in nglview"
    assert any(re.search(r'"x":"[^"]', (SITE / page).read_text(encoding="utf-8")) for page in WITH_VIEWERS), (
        "no linked plot"
    )


@pytest.mark.parametrize("name", PAGES)
def test_page_asks_nobody_else_and_has_no_error(name: str, page: Page, address: str) -> None:
    with Listener(page, address) as listener:
        page.goto(f"{address}/{name}", wait_until="networkidle")
        for canvas in page.locator(".uqv-view, .widget-subarea, img").all():
            if canvas.is_visible():
                canvas.scroll_into_view_if_needed()
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(SETTLE)
    assert listener.problems == []


@pytest.mark.parametrize("name", WITH_VIEWERS)
def test_every_viewer_draws_and_moves(name: str, page: Page, address: str) -> None:
    page.goto(f"{address}/{name}")
    for viewer in viewers_of(page):
        root = live(viewer)
        canvas = root.locator(".uqv-canvas")
        first = pixels(canvas)
        assert drawn(first) > 0.003, "the canvas is blank"
        slider = root.locator(".uqv-slider")
        if slider.count():
            slider.focus()
            page.keyboard.press("Home")
            page.wait_for_timeout(SETTLE)
            start = pixels(canvas)
            page.keyboard.press("ArrowRight")
            assert root.get_attribute("data-frame") == "1"
            page.keyboard.press("End")
            assert int(root.get_attribute("data-frame") or 0) >= 1
            page.wait_for_timeout(SETTLE)
            assert changed(start, pixels(canvas)) > 0.002, "the last frame looks like the first"
            play = root.locator(".uqv-play")
            before = root.get_attribute("data-frame")
            play.click()
            page.wait_for_function(
                "([root, before]) => root.dataset.frame !== before", arg=[root.element_handle(), before]
            )
            play.click()
        still = pixels(canvas)
        canvas.focus()
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowLeft")
        page.wait_for_timeout(SETTLE)
        assert changed(still, pixels(canvas)) > 0.002, "the arrow keys do not turn the view"


@pytest.mark.parametrize("name", WITH_VIEWERS)
def test_a_picked_point_shows_its_structure(name: str, page: Page, address: str) -> None:
    page.goto(f"{address}/{name}")
    for viewer in viewers_of(page):
        if not viewer.locator(".uqv-scatter").count():
            continue
        root = live(viewer)
        plot = root.locator(".uqv-scatter")
        plot.scroll_into_view_if_needed()
        before = root.get_attribute("data-frame")
        place = plot.evaluate(
            """(svg) => { // on the screen: the point farthest from the marked one
                const ring = svg.querySelector('.uqv-ring');
                const [cx, cy] = ['cx', 'cy'].map((name) => Number(ring.getAttribute(name)));
                const points = [...svg.querySelector('.uqv-points').getAttribute('d').matchAll(/M([^,]+),([^h]+)h0/g)]
                  .map((m) => ({ x: Number(m[1]), y: Number(m[2]) }));
                points.sort((a, b) => Math.hypot(b.x - cx, b.y - cy) - Math.hypot(a.x - cx, a.y - cy));
                const p = new DOMPoint(points[0].x, points[0].y).matrixTransform(svg.getScreenCTM());
                return [p.x, p.y];
            }"""
        )
        page.mouse.click(*place)
        assert root.get_attribute("data-frame") != before
        plot.focus()
        now = root.get_attribute("data-frame")
        shown = set()  # the picked point may be the first or the last of all: one of the two keys moves
        for key in ("ArrowLeft", "ArrowRight"):
            page.keyboard.press(key)
            shown.add(root.get_attribute("data-frame"))
        assert shown != {now}


@pytest.mark.parametrize("name", WITH_NGLVIEW)
def test_nglview_structures_turn(name: str, page: Page, address: str) -> None:
    page.goto(f"{address}/{name}")
    views = page.locator(".widget-subarea canvas")
    views.first.wait_for()
    page.wait_for_timeout(5 * SETTLE)
    assert 0 < views.count() <= MOST_NGLVIEWS
    for canvas in views.all():
        canvas.scroll_into_view_if_needed()
        page.wait_for_timeout(SETTLE)
        before = pixels(canvas)
        assert drawn(before) > 0.003, "the canvas is blank"
        box = canvas.bounding_box()
        assert box
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 60, y + 30, steps=6)
        page.mouse.up()
        page.wait_for_timeout(SETTLE)
        assert changed(before, pixels(canvas)) > 0.002, "dragging does not turn the structure"


@pytest.mark.parametrize("name", sorted({*WITH_VIEWERS, *WITH_NGLVIEW}))
def test_print_shows_still_pictures(name: str, page: Page, address: str) -> None:
    page.goto(f"{address}/{name}")
    viewers_of(page)
    page.emulate_media(media="print")
    stills = page.locator(".uqv-still")
    assert stills.count()
    for still in stills.all():
        assert still.is_visible()
        assert still.get_attribute("alt")
        assert still.evaluate("(image) => image.naturalWidth") > 0
    assert not any(button.is_visible() for button in page.locator(".uqv-play, .uqv-canvas").all())


@pytest.mark.parametrize("name", pages_with("<img"))
def test_pictures_have_alternative_texts(name: str, page: Page, address: str) -> None:
    page.goto(f"{address}/{name}", wait_until="networkidle")
    texts = page.locator("img").evaluate_all("(images) => images.map((image) => image.getAttribute('alt') || '')")
    assert [text for text in texts if not text.strip() or "_images/" in text] == []


@pytest.mark.parametrize("name", PAGES)
def test_pages_fit_a_phone(name: str, page: Page, address: str) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(f"{address}/{name}", wait_until="networkidle")  # index.html leads on to the first chapter
    assert page.evaluate("document.documentElement.scrollWidth") <= 391


def test_pages_of_the_library_fit_a_phone_and_have_no_error(page: Page, address: str) -> None:
    sources = [name for name in MADE if name.startswith("_modules/")]
    assert len(sources) > 50
    page.set_viewport_size({"width": 390, "height": 800})
    with Listener(page, address) as listener:
        for name in [*(name for name in MADE if name not in sources), *sources[:3]]:
            page.goto(f"{address}/{name}", wait_until="load")
            assert page.evaluate("document.documentElement.scrollWidth") <= 391, name
    assert listener.problems == []


@pytest.mark.parametrize("name", sorted({*WITH_VIEWERS[:1], *WITH_NGLVIEW[:1]}))
def test_page_opens_from_a_disk(name: str, page: Page) -> None:
    """`make book` prints the address of a file: a reader may simply open it."""
    with Listener(page, "file://") as listener:
        page.goto((SITE / name).as_uri())
        for viewer in viewers_of(page)[:1]:
            live(viewer)
        if name in WITH_NGLVIEW:
            page.locator(".widget-subarea canvas").first.wait_for()
            page.wait_for_timeout(5 * SETTLE)
            assert drawn(pixels(page.locator(".widget-subarea canvas").first)) > 0.003, "the canvas is blank"
    assert listener.problems == []


@pytest.mark.parametrize("name", pages_with('class="live"'))
def test_live_figures_come_to_life(name: str, page: Page, address: str) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(f"{address}/{name}")
    page.locator(".live").scroll_into_view_if_needed()
    page.locator('.live[data-state="done"]').wait_for()
    assert page.locator(".live-numbers").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= 391


@pytest.mark.parametrize("name", pages_with('class="quiz"'))
def test_questions_become_buttons(name: str, page: Page, address: str) -> None:
    page.goto(f"{address}/{name}")
    for quiz in page.locator(".quiz").all():
        assert not quiz.locator("details").evaluate("(fold) => fold.open")
        quiz.locator("button").nth(int(quiz.get_attribute("data-right") or 0) - 1).click()
        assert quiz.get_attribute("data-answered") == "right"
        assert quiz.locator("details").evaluate("(fold) => fold.open")


@pytest.mark.parametrize("name", sorted({*WITH_VIEWERS[:2], *WITH_NGLVIEW[:1], *pages_with('class="live"')}))
def test_without_scripts_still_pictures_stand(name: str, browser: Browser, address: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}/{name}", wait_until="load")
    stills = page.locator(".uqv-still, .live-still")
    assert stills.count()
    for still in stills.all():
        if still.locator("xpath=ancestor::*[contains(@class, 'dropdown')]").count():
            continue  # a solution's, which is folded
        still.scroll_into_view_if_needed()
        box = still.bounding_box()
        assert box
        assert box["width"] > 100
        assert box["height"] > 60
    context.close()


def test_no_page_names_a_repository_that_nobody_knows() -> None:
    assert pages_with("OWNER/REPOSITORY") == []


def test_the_page_of_what_was_checked_opens_its_folds(page: Page, address: str) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(f"{address}/book/what_was_checked.html")
    folds = page.locator("details.checks")
    assert folds.count(), "make audit"
    for fold in folds.all():
        fold.locator("summary").click()
        assert fold.locator("table").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 391


@pytest.mark.parametrize("path", sorted((ROOT / "_build/executed/book").glob("*.ipynb")), ids=lambda path: path.stem)
def test_page_says_what_the_chapter_cost(path: Path) -> None:
    sentence = runpy.run_path(str(VENDOR.parent / "measured.py"))["sentence"]
    cost = json.loads(path.read_text(encoding="utf-8"))["metadata"].get("uqlib")
    assert cost, f"{path} was not executed: run `make book`"
    text = re.sub(r"<[^>]+>", "", (SITE / "book" / f"{path.stem}.html").read_text(encoding="utf-8"))
    assert sentence(cost) in text
