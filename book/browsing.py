"""A Chromium for what is made with one: the PDF, and still pictures of live figures."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Error, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
REMEDY = "no Chromium was found: install one, or run `.venv/bin/python -m playwright install chromium`"


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium or Chrome, else the one that playwright brought.

    Raises:
        RuntimeError: there is none.
    """
    path = next((found for found in map(shutil.which, NAMES) if found), None)
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except Error as error:
            raise RuntimeError(f"{REMEDY} ({str(error).splitlines()[0]})") from error
        try:
            yield browser
        finally:
            browser.close()
