"""The built site in a browser, for all tests that look at it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import chromium, served
from playwright.sync_api import Browser, Page

SITE = Path(__file__).resolve().parents[2] / "_build" / "html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all pages."""
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where the site is served."""
    if not (SITE / "index.html").exists():
        pytest.fail(f"there is no site in {SITE}: run `make book`")
    with served(SITE) as home:
        yield home


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A fresh tab."""
    tab = browser.new_page(viewport={"width": 1280, "height": 800})
    tab.set_default_timeout(90_000)  # a busy machine draws slowly
    yield tab
    tab.close()
