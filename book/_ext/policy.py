"""A strict Content-Security-Policy on every page: scripts are files of this site, and none is made from text.

A static host sets no headers, so that the policy stands in the page itself, before everything it is to govern. What
Sphinx, the theme and tables write between `<script>` tags is moved into files under `_static/inline/`, named after
their content, and what the theme writes into `onclick` is done by `policy.js`. No page is an exception; the front door
alone, which `build.py` writes after Sphinx, brings its own policy.
"""

import hashlib
import re
import shutil
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

HERE = Path(__file__).parent

POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self'",
        "worker-src 'self' blob:",  # NGL makes its workers itself
        "style-src 'self' 'unsafe-inline'",  # MathJax, widgets and the highlighter write styles into the page
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' data: blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",  # the search
    )
)
META = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}" />'

INLINE = "_static/inline"
HEAD = re.compile(r"<head>\s*<meta charset=[^>]*>", re.IGNORECASE)
SCRIPT = re.compile(r"<script\b([^>]*)>(.*?)</script>", re.DOTALL | re.IGNORECASE)
DATA = re.compile(r"""\btype=["']?application/(?!javascript)""")  # a block of JSON, which no browser runs
CLICK = re.compile(r'\bonclick="(\w+(?:\.\w+)?)\(\)"')
CLICKS = {"toggleFullScreen": "full-screen", "window.print": "print"}
ATTRIBUTE = r"""\s+[^\s"'=<>/]+(?:=(?:"[^"]*"|'[^']*'|[^\s"'<>]+))?"""
HANDLER = re.compile(
    rf"""<[a-z][\w-]*(?:{ATTRIBUTE})*?\s+(?:on[a-z]+\s*=|(?:href|src|action)\s*=\s*["']?\s*javascript:)""",
    re.IGNORECASE,
)
"""A script in an attribute of a tag; not the same words in a value, such as `alt="one = two"`."""


def strict(html: str, root: str) -> tuple[str, dict[str, str]]:
    """A page under the policy.

    Args:
        html: the page as Sphinx wrote it; one that has the policy already comes back as it is.
        root: the way from the page to the top of the site, such as `../`.

    Returns:
        The page, and the scripts that were moved out of it by the names of their files.

    Raises:
        ValueError: the page has no head, or a script in an attribute that `policy.js` does not know.
    """
    moved: dict[str, str] = {}

    def script(found: re.Match[str]) -> str:
        attributes, code = found.groups()
        if "src=" in attributes or DATA.search(attributes):
            return found[0]
        name = f"{hashlib.sha256(code.encode()).hexdigest()[:16]}.js"
        moved[name] = code
        return f'<script{attributes} src="{root}{INLINE}/{name}"></script>'

    def click(found: re.Match[str]) -> str:
        if found[1] not in CLICKS:
            raise ValueError(f"{found[0]} would be refused by the policy; add it to CLICKS and to policy.js")
        return f'data-click="{CLICKS[found[1]]}"'

    if META in html:
        return html, moved
    begin = HEAD.search(html)
    if begin is None:
        raise ValueError("no <head> with a charset, behind which the policy could stand")
    html = CLICK.sub(click, SCRIPT.sub(script, html))
    if handler := HANDLER.search(SCRIPT.sub("", html)):
        raise ValueError(f"{handler[0][:200]!r} would be refused by the policy")
    clicks = f'<script defer src="{root}_static/policy.js"></script>' if "data-click=" in html else ""
    return HEAD.sub(lambda found: f"{found[0]}\n    {META}{clicks}", html, count=1), moved


def copy_script(app: Sphinx) -> None:
    """Put what answers the theme's buttons into the site."""
    if app.builder.format == "html":
        target = Path(app.outdir) / "_static"
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(HERE / "policy.js", target / "policy.js")


def apply(app: Sphinx, error: Exception | None) -> None:
    """Bring every page that was written under the policy. Raises ValueError with the page's name as `strict`."""
    if error is not None or app.builder.format != "html":
        return
    site = Path(app.outdir)
    (site / INLINE).mkdir(parents=True, exist_ok=True)
    for path in sorted(site.rglob("*.html")):
        place = path.relative_to(site)
        if place.parts[0] == "_static" or place == Path("index.html"):
            continue  # templates of the theme, which are no pages; the front door
        html = path.read_text(encoding="utf-8")
        try:
            page, scripts = strict(html, "../" * (len(place.parts) - 1))
        except ValueError as fault:
            raise ValueError(f"{place.as_posix()}: {fault}") from fault
        for name, code in scripts.items():
            (site / INLINE / name).write_text(code, encoding="utf-8")
        if page != html:
            path.write_text(page, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("builder-inited", copy_script)
    app.connect("build-finished", apply, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
