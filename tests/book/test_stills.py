"""Still pictures of the live figures: one for each, and like the figure as it is now."""

import io
import runpy
from pathlib import Path

import numpy as np
import pytest
import stills
from PIL import Image
from playwright.sync_api import Browser

LIVE = runpy.run_path(str(stills.HERE / "live.py"))
MOST = 0.03  # of the pixels may differ visibly: letters are not the same on every machine


def test_there_is_one_for_each_figure_and_no_other() -> None:
    wanted = {Path(LIVE["still"](figure, head)).name for figure, head in stills.figures()}
    assert wanted == {path.name for path in stills.STILLS.iterdir()}
    assert len(wanted) > 4


@pytest.mark.parametrize(("figure", "head"), stills.figures())
def test_it_shows_what_the_figure_shows(figure: str, head: str, browser: Browser, tmp_path: Path) -> None:
    tab = browser.new_page(viewport={"width": stills.WIDTH, "height": stills.HEIGHT}, device_scale_factor=1.5)
    tab.goto(stills.page(tmp_path, figure, head).as_uri())
    root = tab.locator(".live[data-state]")
    root.evaluate("(root) => root.figure.complete && root.figure.complete()")
    now = Image.open(io.BytesIO(root.screenshot())).convert("RGB")
    kept = Image.open(stills.HERE / "live" / LIVE["still"](figure, head)).convert("RGB")
    assert abs(now.height - kept.height) < 20, "make stills"
    size = (200, 150)
    difference = np.abs(np.asarray(now.resize(size), dtype=int) - np.asarray(kept.resize(size), dtype=int)).max(axis=-1)
    assert (difference > 60).mean() < MOST, "make stills"
    tab.close()


def test_a_page_gets_the_picture_into_the_place_of_its_figure() -> None:
    body = '<div class="live" data-figure="well" data-head="mve"><p>words</p></div>'
    body += '<div class="live" data-figure="calibration">'
    found = LIVE["with_stills"](body, "../_static")
    assert 'data-head="mve"><img class="live-still" src="../_static/live/stills/well-mve.png"' in found
    assert 'src="../_static/live/stills/calibration.png"' in found
    assert LIVE["with_stills"]("<p>nothing</p>", "x") == "<p>nothing</p>"
