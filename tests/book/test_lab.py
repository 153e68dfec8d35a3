"""One look at live JupyterLab: the cells of the chapters show moving views there, too."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
from browser import changed, chromium, drawn, pixels
from playwright.sync_api import Page

TOKEN = "only-for-this-test"
START = 120  # s, for a server on a busy machine
WAIT = 120_000  # ms, for anything in the page

CELL = """\
import numpy as np
from ase.build import molecule
from uqlib.show.viewers import show_frames, show_structure

frames = [molecule("NH3") for _ in range(5)]
for k, atoms in enumerate(frames):
    atoms.positions[1:, 2] += 0.3 * k
view = show_frames(frames, np.arange(20.0), value_label="uncertainty (eV/Å)")
view"""

SOURCES = (CELL, 'print(f"the kernel sees {view.frame}")', "show_structure(frames[0])")


KERNEL_IS_READY = """\
() => {
    const context = window.jupyterapp?.shell.currentWidget?.sessionContext;
    return context?.isReady && context.session?.kernel?.status === 'idle';
}"""
"""A cell that is run too early is forgotten, or JupyterLab opens a dialog that asks for a kernel. Only the application
itself knows: the sign beside the kernel's name shows "idle" at first, before a kernel is even asked for."""

NOTEBOOK = """\
() => {
    const text = (element) => element.innerText.replaceAll(/\\s+/g, ' ').trim().slice(-2000);
    const indicator = document.querySelector('.jp-Notebook-ExecutionIndicator');
    return {
        kernel: indicator && indicator.dataset.status,
        focus: document.activeElement && document.activeElement.className,
        dialogs: [...document.querySelectorAll('.jp-Dialog, .Toastify__toast')].map(text),
        cells: [...document.querySelectorAll('.jp-CodeCell')].map((cell) => ({
            prompt: [...cell.querySelectorAll('.jp-InputPrompt')].map(text).join(),
            output: [...cell.querySelectorAll('.jp-OutputArea-output')].map((shown) => [text(shown), shown.className]),
            view: [...cell.querySelectorAll('.uqv')].map((view) => view.outerHTML.slice(0, 300)),
        })),
    };
}"""
"""What the notebook shows at a moment, in words."""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[str]:
    """A JupyterLab server on the loopback, with a notebook `views.ipynb`; yields its address."""
    cells = [nbformat.v4.new_code_cell(source) for source in SOURCES]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), tmp_path / "views.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--allow-root"]
    command += [f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={tmp_path}"]
    command += ["--LabApp.expose_app_in_browser=True"]  # as `jupyterapp`
    quiet = tmp_path / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    quiet.parent.mkdir(parents=True)
    quiet.write_text('{"fetchNews": "false", "checkForUpdates": false}')  # or a question lies over the notebook
    home = {f"JUPYTER_{kind}_DIR": str(tmp_path / kind) for kind in ("CONFIG", "DATA", "RUNTIME")}
    environment = {**os.environ, **home, "JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "settings")}
    environment.pop("UQLIB_STATIC_HTML", None)
    with (tmp_path / "lab.log").open("w") as log:
        server = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=subprocess.STDOUT)
        address = f"http://127.0.0.1:{port}"
        try:
            wait_for(f"{address}/api?token={TOKEN}", server, tmp_path / "lab.log")
            yield address
        finally:
            server.terminate()
            server.wait(timeout=30)


def wait_for(url: str, server: subprocess.Popen, log: Path) -> None:
    """Wait until the server answers."""
    end = time.monotonic() + START
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")


@contextmanager
def explained(page: Page, log: Path) -> Iterator[None]:
    """A failure in here also says what the notebook shows, what the browser complained of and what the server wrote."""
    said: list[str] = []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(f"uncaught: {error}"))
    try:
        yield
    except Exception as error:
        error.add_note(f"The server and its kernels:\n{log.read_text()[-3000:]}")
        error.add_note("The browser's console:\n" + "\n".join(said[-30:]))
        page.screenshot(path=log.with_name("page.png"))
        error.add_note(f"The notebook (picture: {log.with_name('page.png')}):")
        error.add_note(json.dumps(page.evaluate(NOTEBOOK), indent=1, ensure_ascii=False))
        raise


def test_viewer_moves_in_a_live_kernel(lab: str, tmp_path: Path) -> None:
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(WAIT)
        with explained(page, tmp_path / "lab.log"):
            page.goto(f"{lab}/lab/tree/views.ipynb?token={TOKEN}")
            page.locator(".jp-NotebookPanel .jp-Cell").first.wait_for()
            page.wait_for_function(KERNEL_IS_READY)
            page.locator(".jp-Cell .cm-content").first.click()
            page.keyboard.press("Shift+Enter")
            root = page.locator(".jp-OutputArea .uqv[data-ready]")
            root.wait_for()
            page.wait_for_timeout(1000)
            canvas = root.locator(".uqv-canvas")
            before = pixels(canvas)
            assert drawn(before) > 0.003, "the canvas is blank"
            root.locator(".uqv-slider").press("End")
            page.wait_for_timeout(1000)
            assert root.get_attribute("data-frame") == "4"
            assert changed(before, pixels(canvas)) > 0.002, "the slider does not change the picture"
            page.locator(".jp-Cell .cm-content").nth(1).click()
            page.keyboard.press("Shift+Enter")
            page.get_by_text(re.compile(r"^the kernel sees 4")).wait_for()
            page.locator(".jp-Cell .cm-content").nth(2).click()
            page.keyboard.press("Shift+Enter")
            structure = page.locator(".jp-OutputArea .ui-resizable canvas")
            structure.wait_for()
            structure.scroll_into_view_if_needed()
            page.wait_for_timeout(3000)
            assert drawn(pixels(structure)) > 0.003, "nglview's canvas is blank"
