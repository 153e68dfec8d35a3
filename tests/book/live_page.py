"""A page with nothing but a live figure or a question, and the scripts that the site would load for it."""

import runpy
import shutil
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Locator, Page

ROOT = Path(__file__).resolve().parents[2]
EXTENSION = ROOT / "book" / "_ext" / "live.py"
POLICY = '<meta http-equiv="Content-Security-Policy" content="default-src \'self\'">'
"""The strictest that a host may ask for: no inline script, no inline style, no eval, nobody else."""

scripts: Callable[[str], list[str]] = runpy.run_path(str(EXTENSION))["scripts"]


def write(folder: Path, body: str, name: str = "index.html") -> Path:
    """Write the page and its scripts into a folder; returns the page's path."""
    shutil.copytree(EXTENSION.parent / "live", folder / "live", dirs_exist_ok=True)
    shutil.copy(ROOT / "book" / "logo.svg", folder)
    tags = "".join(f'<script src="live/{script}" defer></script>' for script in scripts(body))
    head = (
        f'<meta charset="utf-8">{POLICY}<link rel="icon" href="logo.svg"><link rel="stylesheet" href="live/live.css">'
    )
    width = '<meta name="viewport" content="width=device-width">'
    page = folder / name
    page.write_text(f'<!DOCTYPE html><html lang="en"><title>live</title>{head}{width}{tags}{body}', encoding="utf-8")
    return page


def figure(kind: str, head: str = "") -> str:
    """The tag of a live figure, as a chapter has it."""
    return f'<div class="live" data-figure="{kind}" data-head="{head}"><p><em>A sentence instead.</em></p></div>'


def by_itself(page: Page) -> Locator:
    """The figure, when it has done, slice by slice."""
    page.locator('.live[data-state="done"]').wait_for()
    return page.locator(".live")


def learnt(page: Page) -> Locator:
    """The figure after the rest of its training, at once: a busy machine is slow with pictures."""
    root = page.locator(".live[data-state]")
    root.evaluate("(root) => root.figure.complete && root.figure.complete()")
    return root


def place(root: Locator, x: float, y: float) -> tuple[float, float]:
    """Where in the window a point of the upper panel is."""
    code = """(root, [x, y]) => {
        const { upper } = root.figure;
        const box = upper.svg.getBoundingClientRect();
        return [box.left + upper.px(x), box.top + upper.py(y)];
    }"""
    return tuple(root.evaluate(code, [x, y]))
