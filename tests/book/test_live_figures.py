"""The live figures under a reader's hands: mouse, finger, keyboard, phone, dark, no scripts. Numbers, not pixels."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import live_page
import pytest
from browser import Listener, served
from live_page import by_itself, learnt, place
from playwright.sync_api import Browser, Locator, Page, expect

HEADS = ("ensemble", "mve", "evidential", "mixture", "llpr")
WAIT = 90_000  # ms, for a training on a busy machine


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page for each figure."""
    place = tmp_path_factory.mktemp("figures")
    for head in HEADS:
        live_page.write(place, live_page.figure("well", head), f"{head}.html")
    live_page.write(place, live_page.figure("calibration"), "calibration.html")
    return place


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A fresh tab, as high as the figure."""
    tab = browser.new_page(viewport={"width": 900, "height": 900})
    tab.set_default_timeout(WAIT)
    yield tab
    tab.close()


def opened(page: Page, folder: Path, name: str) -> Locator:
    """Open a figure from the disk, and wait until it has learnt."""
    page.goto((folder / f"{name}.html").as_uri())
    return learnt(page)


def data(root: Locator, name: str) -> float:
    """A number that the figure states."""
    return float(root.get_attribute(f"data-{name}") or "nan")


def key(root: Locator, x: float) -> float:
    """What the lower panel is about, at x in Å, in eV or nats."""
    return root.evaluate("(root, i) => root.figure.seen.key[i]", round((x + 0.75) / 0.01))


def mean(root: Locator, x: float) -> float:
    """The prediction at x in Å, in eV."""
    return root.evaluate("(root, i) => root.figure.seen.mean[i]", round((x + 0.75) / 0.01))


def points(root: Locator) -> list[list[float]]:
    """The training points, (x, y), from left to right."""
    code = "(root) => root.figure.points.map((p) => [p.x, root.figure.heightOf(p)]).sort((a, b) => a[0] - b[0])"
    return root.evaluate(code)


def field(page: Page, words: str) -> Locator:
    """A field with choices."""
    return page.get_by_role("combobox", name=words)


def press(page: Page, words: str) -> None:
    """Click on a button."""
    page.get_by_role("button", name=words).click()


@pytest.mark.parametrize("head", HEADS)
def test_every_figure_learns_and_says_its_numbers(head: str, page: Page, folder: Path) -> None:
    with served(folder) as home, Listener(page, home) as listener:
        page.goto(f"{home}/{head}.html")
        root = by_itself(page)
        said = root.locator(".live-numbers").inner_text()
        page.reload()
        assert by_itself(page).locator(".live-numbers").inner_text() == said, "another visit, other numbers"
    assert listener.problems == []
    assert data(root, "points") == 40
    assert data(root, "beyond") > data(root, "left")
    assert "40 points" in said
    assert ("nats" if head == "mixture" else "meV") in said


@pytest.mark.parametrize("head", ["ensemble", "mixture", "llpr"])
def test_the_band_opens_where_points_are_removed_and_closes_where_they_come(
    head: str, page: Page, folder: Path
) -> None:
    root = opened(page, folder, head)
    before = {x: key(root, x) for x in (-0.4, 0.0, 0.35)}
    press(page, "Add three points at the barrier")
    learnt(page)
    assert data(root, "points") == 43
    assert key(root, 0.0) < 0.5 * before[0.0]
    press(page, "Reset")
    learnt(page)
    assert {x: key(root, x) for x in before} == before
    press(page, "Remove the right well")
    learnt(page)
    assert max(x for x, _ in points(root)) < 0.15
    assert key(root, 0.35) > 4 * before[0.35]
    if head == "ensemble":
        assert key(root, 0.35) > 4 * key(root, -0.4)


def test_a_point_is_dragged_and_the_curve_follows(page: Page, folder: Path) -> None:
    root = opened(page, folder, "ensemble")
    x, y = points(root)[0]
    before = mean(root, -0.61)
    page.mouse.move(*place(root, x, y))
    page.mouse.down()
    page.mouse.move(*place(root, x - 0.02, y + 0.12), steps=4)
    page.mouse.move(*place(root, x - 0.04, y + 0.25), steps=4)
    page.mouse.up()
    learnt(page)
    assert points(root)[0] == pytest.approx([x - 0.04, y + 0.25], abs=0.01)
    assert mean(root, -0.65) > before
    assert "Point 1 of 40" in root.locator(".live-selection").inner_text()


def test_points_are_added_by_a_click_and_removed_by_dragging_them_out(page: Page, folder: Path) -> None:
    root = opened(page, folder, "ensemble")
    before = key(root, 0.7)
    page.mouse.click(*place(root, 0.65, 0.6))
    learnt(page)
    assert data(root, "points") == 41
    assert points(root)[-1] == pytest.approx([0.65, 0.6], abs=0.01)
    assert key(root, 0.65) < before
    page.mouse.move(*place(root, 0.65, 0.6))
    page.mouse.down()
    page.mouse.move(*place(root, 0.65, 1.2), steps=5)
    page.mouse.up()
    learnt(page)
    assert data(root, "points") == 40
    assert key(root, 0.7) == before


def test_the_keyboard_does_all_of_it(page: Page, folder: Path) -> None:
    root = opened(page, folder, "ensemble")
    plot = root.locator("svg[role=application]")
    plot.focus()
    (x, y), *_ = points(root)
    page.keyboard.press("ArrowRight")
    said = root.locator(".live-selection")
    assert said.inner_text().startswith("Point 1 of 40: x = −0.6")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Shift+ArrowLeft")
    assert points(root)[0] == pytest.approx([x - 0.02, y + 0.02], abs=1e-9)
    page.keyboard.press("ArrowRight")
    assert said.inner_text().startswith("Point 2 of 40")
    page.keyboard.press("Delete")
    assert len(points(root)) == 39
    page.keyboard.press("ArrowRight")
    page.keyboard.press("+")
    assert len(points(root)) == 40
    learnt(page)
    plot.evaluate("(svg) => { svg.blur(); }")
    reached = []
    for _ in range(8):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.textContent || document.activeElement.tagName"))
    assert "Reset" in reached or any("Reset" in each for each in reached)


def test_a_finger_adds_a_point(browser: Browser, folder: Path) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 900}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.set_default_timeout(WAIT)
    root = opened(page, folder, "llpr")
    page.touchscreen.tap(*place(root, 0.0, 0.5))
    learnt(page)
    assert data(root, "points") == 41
    context.close()


def test_a_few_points_stay(page: Page, folder: Path) -> None:
    root = opened(page, folder, "llpr")
    root.evaluate("(root) => root.figure.keep((point) => point.x > 9)")
    assert data(root, "points") == 40
    assert "stay at least" in root.locator(".live-selection").inner_text()
    press(page, "Remove the chosen point")
    assert "Choose a point first" in root.locator(".live-selection").inner_text()
    root.evaluate("(root) => { for (let k = 0; k < 60; k += 1) root.figure.insert(0.1, 0.2); }")
    assert len(points(root)) == 80


def test_noise_members_and_width_are_obeyed(page: Page, folder: Path) -> None:
    root = opened(page, folder, "ensemble")
    noisy = root.evaluate("(root) => root.figure.seen.lines[1][1][110]")  # learnt noise in the right well, meV
    field(page, "Noise").select_option("0")
    learnt(page)
    assert root.evaluate("(root) => root.figure.seen.lines[1][1][110]") < 0.7 * noisy
    heights = [y - 0.25 * ((x / 0.4) ** 2 - 1) ** 2 for x, y in points(root)]
    assert max(map(abs, heights)) < 1e-12
    field(page, "Networks").select_option("2")
    learnt(page)
    assert root.locator(".live-line.thin").count() == 2
    field(page, "Width").select_option("6")
    learnt(page)
    assert root.evaluate("(root) => root.figure.training.networks[0].width") == 6


def test_lambda_decides_the_share_and_the_data_the_sum(page: Page, folder: Path) -> None:
    root = opened(page, folder, "evidential")
    found = {}
    for weight in ("0", "1"):
        field(page, "λ").select_option(weight)
        learnt(page)
        wells = [*range(20, 56), *range(97, 119)]
        code = """(root, wells) => {
            const { share, key } = root.figure.seen;
            const middle = (list) => list.sort((a, b) => a - b)[Math.floor(list.length / 2)];
            return [middle(wells.map(share)), middle(wells.map((i) => key[i]))];
        }"""
        found[weight] = root.evaluate(code, wells)
    assert found["1"][0] > 0.9 > found["0"][0]
    assert 0.5 < found["1"][1] / found["0"][1] < 2.5


def test_a_slider_stretches_sigma(page: Page, folder: Path) -> None:
    root = opened(page, folder, "calibration")
    start: dict[str, Any] = {name: data(root, name) for name in ("factor", "area", "nll", "crps", "coverage95")}
    assert start["factor"] == 1
    assert start["area"] > 0.2, "it begins with the overconfident one"
    slider = page.get_by_role("slider")
    slider.focus()
    for _ in range(60):
        page.keyboard.press("ArrowRight")
    assert data(root, "factor") > 1.3
    assert data(root, "area") < start["area"]
    assert data(root, "nll") < start["nll"]
    press(page, "The factor with the lowest NLL")
    assert data(root, "factor") == pytest.approx(3, rel=0.1)
    assert data(root, "area") < 0.03
    assert data(root, "coverage95") == pytest.approx(0.95, abs=0.02)
    assert data(root, "crps") < start["crps"]
    field(page, "Forecaster").select_option("wrong order")
    press(page, "The factor with the lowest NLL")
    assert 0.5 < data(root, "factor") < 4
    said = root.locator(".live-numbers").inner_text()
    assert "Wrong order" in said
    assert "NLL" in said
    press(page, "Reset")
    assert {name: data(root, name) for name in start} == start


@pytest.mark.parametrize("name", ["ensemble", "evidential", "calibration"])
def test_figures_fit_a_phone(name: str, page: Page, folder: Path) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    root = opened(page, folder, name)
    assert page.evaluate("document.documentElement.scrollWidth") <= 391
    sizes = root.locator("svg text").evaluate_all("(all) => all.map((text) => text.getBoundingClientRect().height)")
    assert min(sizes) > 8, "letters shrink with the figure"
    strokes = []
    for scheme in ("light", "dark"):
        page.evaluate("(scheme) => { document.documentElement.dataset.theme = scheme; }", scheme)
        strokes.append(root.locator(".live-line.mean").first.evaluate("(line) => getComputedStyle(line).stroke"))
    assert strokes[0] != strokes[1], "the colour for white ground is too dark for a dark one"


@pytest.mark.parametrize("name", ["ensemble", "calibration"])
def test_a_place_without_width_is_waited_for(name: str, page: Page, folder: Path) -> None:
    """A page that is being laid out may give a figure a few pixels for a moment."""
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    root = opened(page, folder, name)
    wide = root.locator("svg").first.get_attribute("width")
    assert wide
    for width in ("24px", "0px", "61px", "auto"):
        root.evaluate("(root, width) => { root.style.width = width; }", width)
        page.wait_for_timeout(60)
    expect(root.locator("svg").first).to_have_attribute("width", wide)
    assert not errors


def test_less_motion_shows_the_finished_picture_only(browser: Browser, folder: Path) -> None:
    page = browser.new_page(reduced_motion="reduce")
    page.set_default_timeout(WAIT)
    opened(page, folder, "ensemble")
    page.locator("select").nth(1).select_option("3")
    before = page.evaluate("document.querySelector('.live-line.mean').getAttribute('d')")
    page.wait_for_timeout(300)
    if page.locator('.live[data-state="learning"]').count():
        assert page.evaluate("document.querySelector('.live-line.mean').getAttribute('d')") == before
    by_itself(page)
    page.close()


def test_without_scripts_a_sentence_stands(browser: Browser, folder: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((folder / "mve.html").as_uri())
    assert page.get_by_text("A sentence instead.").is_visible()
    context.close()


def test_a_printed_page_has_a_finished_figure(page: Page, folder: Path) -> None:
    page.goto((folder / "llpr.html").as_uri())
    page.locator(".live[data-state]").wait_for()
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator('.live[data-state="done"]').count() == 1
