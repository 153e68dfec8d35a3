"""A headless Chromium, a small web server and a listener: what the tests of pages share."""

import functools
import http.server
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Playwright, Request, Response, sync_playwright

CHROMIUM = "/usr/bin/chromium"
HOST = "book.example"
"""A made-up host: scripts that report to others often keep quiet on localhost."""
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",  # WebGL on the CPU
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    f"--host-resolver-rules=MAP {HOST} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]


@contextmanager
def chromium(*extra: str) -> Iterator[Browser]:
    """A browser without a screen, with WebGL drawn by the CPU; `extra` are more of its flags."""
    with _driver() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *extra])
        try:
            yield browser
        finally:
            browser.close()


_drivers: list[Playwright] = []


@contextmanager
def _driver() -> Iterator[Playwright]:
    """The one that is open, or a new one: a thread can have only one at a time."""
    if _drivers:
        yield _drivers[-1]
        return
    with sync_playwright() as playwright:
        _drivers.append(playwright)
        try:
            yield playwright
        finally:
            _drivers.pop()


@contextmanager
def served(folder: Path, prefix: str = "/some/prefix") -> Iterator[str]:
    """Serve a folder under a prefix of the made-up host; yields its address, without a slash at the end."""
    handler = functools.partial(_Handler, directory=str(folder), prefix=prefix)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://{HOST}:{server.server_port}{prefix}"
        finally:
            server.shutdown()
            thread.join()


class _Handler(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *arguments: object, directory: str, prefix: str) -> None:
        self.prefix = prefix
        super().__init__(*arguments, directory=directory)  # pyright: ignore[reportArgumentType]

    def translate_path(self, path: str) -> str:
        """Only what lies under the prefix exists."""
        inside = path.startswith(f"{self.prefix}/")
        return super().translate_path(path.removeprefix(self.prefix) if inside else "/does-not-exist")

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


class Listener:
    """Everything that goes wrong in a page while this is open: `problems` holds it in words."""

    def __init__(self, page: Page, home: str) -> None:
        self.page, self.home = page, home
        self.problems: list[str] = []

    def __enter__(self) -> "Listener":
        self.page.on("console", self._console)
        self.page.on("pageerror", self._error)
        self.page.on("request", self._request)
        self.page.on("requestfailed", self._failed)
        self.page.on("response", self._response)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for event, listener in (
            ("console", self._console),
            ("pageerror", self._error),
            ("request", self._request),
            ("requestfailed", self._failed),
            ("response", self._response),
        ):
            self.page.remove_listener(event, listener)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.problems.append(f"console: {message.text}")

    def _error(self, error: Exception) -> None:
        self.problems.append(f"error: {error}")

    def _request(self, request: Request) -> None:
        if not request.url.startswith((self.home, "data:", "blob:")):
            self.problems.append(f"foreign request: {request.url}")

    def _failed(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # the page was left meanwhile
            self.problems.append(f"failed: {request.url} ({request.failure})")

    def _response(self, response: Response) -> None:
        if response.status >= 400:
            self.problems.append(f"status {response.status}: {response.url}")


def pixels(locator: Locator) -> NDArray[np.uint8]:
    """What an element looks like: (height, width, 3)."""
    return np.asarray(Image.open(io.BytesIO(locator.screenshot())).convert("RGB"))


def drawn(picture: NDArray[np.uint8]) -> float:
    """Fraction of pixels that differ visibly from the most frequent colour: 0 for a blank picture."""
    colours, counts = np.unique(picture.reshape(-1, 3), axis=0, return_counts=True)
    ground = colours[counts.argmax()].astype(int)
    return float((np.abs(picture.astype(int) - ground).max(axis=-1) > 24).mean())


def changed(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> float:
    """Fraction of pixels that differ visibly."""
    assert before.shape == after.shape
    return float((np.abs(before.astype(int) - after.astype(int)).max(axis=-1) > 24).mean())
