"""The browser half of the viewers on small pages of their own: what the chapters may not happen to show."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from browser import Listener, chromium, drawn, pixels, served
from playwright.sync_api import Browser, Page

from uqlib.show import viewer
from uqlib.show.viewers import show_frames

MOST_CONTEXTS = 16  # WebGL contexts that a browser keeps


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all pages."""
    with chromium() as found:
        yield found


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A fresh tab."""
    tab = browser.new_page(viewport={"width": 700, "height": 600})
    tab.set_default_timeout(90_000)  # a busy machine draws slowly
    yield tab
    tab.close()


@pytest.fixture(autouse=True)
def _static(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UQLIB_STATIC_HTML", "1")


def write_page(folder: Path, *views: Any) -> None:
    """A page with these views and a space below each."""
    (folder / "uqlib-viewer.js").write_text(viewer.page_script(), encoding="utf-8")
    (folder / "uqlib-engine.js").write_text(viewer.engine_script(), encoding="utf-8")
    body = "".join(f"{view._repr_html_()}<div style='height:300px'></div>" for view in views)
    head = f"<meta charset='utf-8'><link rel='icon' href='data:,'><style>{viewer.style()}</style>"
    text = (
        f"<!doctype html><html lang='en'><head>{head}</head><body>{body}<script src='uqlib-viewer.js'></script></body>"
    )
    (folder / "index.html").write_text(text, encoding="utf-8")


def centre(picture: np.ndarray, channel: int) -> np.ndarray:
    """Mean place (right, down) of the pixels in which one colour channel stands out."""
    others = [k for k in range(3) if k != channel]
    rows, columns = np.nonzero(picture[..., channel].astype(int) - picture[..., others].max(axis=-1) > 60)
    assert len(rows) > 20, "this colour is not in the picture"
    return np.array([columns.mean(), rows.mean()])


def test_first_view_has_the_orientation_asked_for(page: Page, tmp_path: Path) -> None:
    """Red oxygen to the right of blue nitrogen, green fluorine above it: a mirrored picture would fail."""
    atoms = Atoms("NOF", positions=[[0, 0, 0], [3.0, 0, 0], [0, 3.0, 0]])
    write_page(tmp_path, show_frames(atoms, rotation=""), show_frames(atoms, rotation="180y"))
    with served(tmp_path) as home:
        page.goto(f"{home}/index.html")
        for turned, view in zip((1, -1), page.locator(".uqv-static").all(), strict=True):
            view.scroll_into_view_if_needed()
            view.locator(".uqv[data-ready]").wait_for()
            page.wait_for_timeout(500)
            picture = pixels(view.locator(".uqv-canvas"))
            oxygen, fluorine, nitrogen = centre(picture, 0), centre(picture, 1), centre(picture, 2)
            assert turned * (oxygen - nitrogen)[0] > 50
            assert abs((oxygen - nitrogen)[1]) < 15
            assert (fluorine - nitrogen)[1] < -50


def test_colour_follows_the_value_frame_by_frame(page: Page, tmp_path: Path) -> None:
    """Viridis runs from violet to yellow: in the last frame red outweighs blue."""
    atoms = Atoms("N", positions=[[0, 0, 0]])
    write_page(tmp_path, show_frames([atoms, atoms, atoms], np.array([[0.0], [np.nan], [1.0]])))
    with served(tmp_path) as home:
        page.goto(f"{home}/index.html")
        root = page.locator(".uqv[data-ready]")
        root.wait_for()
        balance = []
        for frame in range(3):
            page.wait_for_timeout(500)
            assert root.get_attribute("data-frame") == str(frame)
            picture = pixels(root.locator(".uqv-canvas")).astype(int)
            ball = picture[(picture.max(axis=-1) < 250) & (picture.max(axis=-1) > 60)]
            balance.append(float((ball[:, 0] - ball[:, 2]).mean()))
            root.locator(".uqv-slider").press("ArrowRight")
    violet, grey, yellow = balance
    assert violet < -10
    assert abs(grey) < 10
    assert yellow > 60


def test_many_viewers_never_hold_too_many_contexts(page: Page, tmp_path: Path) -> None:
    write_page(tmp_path, *[show_frames(molecule("NH3"), height=120) for _ in range(MOST_CONTEXTS + 4)])
    with served(tmp_path) as home, Listener(page, home) as listener:
        page.goto(f"{home}/index.html")
        views = page.locator(".uqv-static").all()
        for view in (views[0], views[len(views) // 2], views[-1], views[0]):
            view.scroll_into_view_if_needed()
            view.locator(".uqv[data-ready]").wait_for()
            assert page.locator(".uqv-canvas canvas").count() < MOST_CONTEXTS
        page.wait_for_timeout(500)
        assert drawn(pixels(views[0].locator(".uqv-canvas"))) > 0.003, "blank after coming back"
    assert listener.problems == []


def test_thousands_of_points_stay_quick(page: Page, tmp_path: Path, rng: np.random.Generator) -> None:
    count = 5000
    frames = [molecule("NH3")] * count
    write_page(tmp_path, show_frames(frames, x=rng.random(count), y=rng.random(count)))
    with served(tmp_path) as home:
        page.goto(f"{home}/index.html")
        root = page.locator(".uqv[data-ready]")
        root.wait_for()
        seconds = root.locator(".uqv-slider").evaluate(
            """(slider) => {
                const start = performance.now();
                for (let frame = 1; frame <= 50; frame++) {
                    slider.value = frame;
                    slider.dispatchEvent(new Event('input'));
                }
                return (performance.now() - start) / 1000;
            }"""
        )
    assert seconds / 50 < 0.1


def test_without_webgl_the_still_picture_and_the_plot_remain(tmp_path: Path, rng: np.random.Generator) -> None:
    write_page(tmp_path, show_frames([molecule("NH3")] * 9, x=np.arange(9.0), y=rng.random(9), alt="Ammonia."))
    with chromium("--disable-3d-apis") as browser, served(tmp_path) as home:
        page = browser.new_page()
        page.goto(f"{home}/index.html")
        page.locator(".uqv-failed").wait_for()
        assert "needs WebGL" in page.locator(".uqv-wait").inner_text()
        still = page.get_by_alt_text("Ammonia.")
        assert still.is_visible()
        assert drawn(pixels(still)) > 0.01
        assert not page.locator(".uqv-canvas").is_visible()
        page.locator(".uqv-slider").press("ArrowRight")
        assert page.locator(".uqv").get_attribute("data-frame") == "1"


def test_without_scripts_the_still_picture_is_there(browser: Browser, tmp_path: Path) -> None:
    write_page(tmp_path, show_frames(molecule("NH3"), alt="Ammonia."))
    context = browser.new_context(java_script_enabled=False)
    with served(tmp_path) as home:
        page = context.new_page()
        page.goto(f"{home}/index.html")
        assert page.get_by_alt_text("Ammonia.").is_visible()
    context.close()
