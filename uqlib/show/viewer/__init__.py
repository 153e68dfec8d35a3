"""Front end of the viewers: the scripts, the style sheet and the NGL engine, as text ready to be sent to a browser.

Two entries share one source: a static page loads `page_script()` and, when the first viewer scrolls into view,
`engine_script()`; a live kernel sends `live_module()` with the widget. See `README.md` beside this file.
"""

import base64
import gzip
from functools import cache
from importlib import resources

# NGL is written for several module systems and asks which one it is in. These lines answer "CommonJS", so that
# RequireJS, if a page has it, does not capture it, and put what it exports where our scripts look for it.
_WRAP = (
    "globalThis.uqlibNGL = (() => { const exports = {}, module = { exports };\n",
    "\nreturn module.exports; })();\n",
)
_SHARED = ("scene.js", "scatter.js", "viewer.js")


def _text(name: str) -> str:
    return resources.files(__name__).joinpath(name).read_text(encoding="utf-8")


def _engine_gz() -> bytes:
    return resources.files(__name__).joinpath("ngl.js.gz").read_bytes()


@cache
def style() -> str:
    """Style sheet of the viewer (CSS)."""
    return _text("viewer.css")


@cache
def page_script() -> str:
    """Classic script that brings every static viewer of a page to life."""
    parts = "\n".join(_text(name) for name in (*_SHARED, "page.js"))
    return f"(() => {{\n'use strict';\n{parts}\n}})();\n"


@cache
def engine_script() -> str:
    """Classic script that defines `globalThis.uqlibNGL`, the NGL engine (MIT licence, about 1.3 MB)."""
    source = gzip.decompress(_engine_gz()).decode("utf-8")
    return _WRAP[0] + source + _WRAP[1]


@cache
def live_module() -> str:
    """ES module for anywidget: the viewer and, compressed, the engine (about 0.5 MB)."""
    engine = base64.b64encode(_engine_gz()).decode("ascii")
    parts = "\n".join(_text(name) for name in (*_SHARED, "live.js"))
    # ASCII only and no quotes to escape in base64; repr of the wrapping lines is a valid JavaScript string.
    return f"const ENGINE_GZ = '{engine}';\nconst ENGINE_WRAP = [{_WRAP[0]!r}, {_WRAP[1]!r}];\n{parts}"
