"""Still pictures of the live figures, for print and for readers without scripts.

python book/stills.py     make them anew, in Chromium, into book/_ext/live/stills

Run it after a change of the figures' scripts; a test compares the pictures with the figures.
"""

import runpy
import shutil
import tempfile
from pathlib import Path

import asides
import notebooks
from browsing import chromium

HERE = notebooks.ROOT / "book" / "_ext"
STILLS = HERE / "live" / "stills"
WIDTH, HEIGHT = 760, 1000  # pixels of the window
QUIET = """
body { margin: 0; background: #ffffff; --pst-color-border: #c9c9c9; --pst-color-text-base: #222222;
  --pst-color-text-muted: #555555; --pst-color-background: #ffffff; font: 16px sans-serif }
.live { border: 0; margin: 0; padding: 4px }
.live-controls, .live-help, .live-selection { display: none }
"""


def figures() -> list[tuple[str, str]]:
    """(figure, head) of every live figure of the book."""
    found = [
        each for name in notebooks.chapter_names() for each in asides.read(notebooks.ROOT / "book/asides", name)[1]
    ]
    return sorted({(each.figure, each.head) for each in found})


def page(folder: Path, figure: str, head: str) -> Path:
    """Write a page with nothing but a figure; returns its path."""
    live = runpy.run_path(str(HERE / "live.py"))
    shutil.copytree(HERE / "live", folder / "live", dirs_exist_ok=True)
    (folder / "quiet.css").write_text(QUIET, encoding="utf-8")
    body = f'<div class="live" data-figure="{figure}" data-head="{head}"></div>'
    tags = "".join(f'<script src="live/{script}" defer></script>' for script in live["scripts"](body))
    styles = '<link rel="stylesheet" href="live/live.css"><link rel="stylesheet" href="quiet.css">'
    path = folder / f"{figure}-{head}.html"
    path.write_text(f'<!DOCTYPE html><meta charset="utf-8">{styles}{tags}{body}', encoding="utf-8")
    return path


def main() -> None:
    """Make all pictures."""
    live = runpy.run_path(str(HERE / "live.py"))
    (STILLS).mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as place, chromium() as browser:
        tab = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, device_scale_factor=1.5)
        for figure, head in figures():
            tab.goto(page(Path(place), figure, head).as_uri())
            root = tab.locator(".live[data-state]")
            root.evaluate("(root) => root.figure.complete && root.figure.complete()")
            root.screenshot(path=HERE / "live" / live["still"](figure, head))
            print(f"{figure} {head}".strip())


if __name__ == "__main__":
    main()
