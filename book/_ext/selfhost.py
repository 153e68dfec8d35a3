"""Serve every script from the site itself: the viewer, widgets without a kernel, formulas.

The scripts are put under `_static/`, and Sphinx, MyST-NB and the theme are told to look there. Pages load only what
they use. All addresses are relative, so that the site works under any prefix of any host, and from a disk.
"""

import hashlib
import json
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config

from uqlib.show import viewer

HERE = Path(__file__).parent
ARCHIVES = ("html-manager-1.0.15.zip", "require-2.3.8.zip", "mathjax-3.2.2.zip")
CHECKED = (HERE / "vendor", Path(viewer.__file__).parent)
"""Where scripts of others lie packed, each folder with their sums."""

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"

WITHOUT_SCRIPTS = (
    "<noscript><style>.uqv-print{position:static!important;width:auto!important;height:auto!important;"
    "clip-path:none!important}</style></noscript>"
)
"""Shows the still pictures beside the views of nglview, which then are not there."""

FRONT_ENDS = {"anywidget": "anywidget/index.js", "nglview": "nglview-js-widgets/index.js"}
"""Front ends that Python packages bring: name in the site, place under `share/jupyter/nbextensions`."""


UNCHECKED = {
    "gt=new(ht());gt.compile(At),gt.compile(pt);": "gt=null;",
    "k=new(w()),E=k.compile(y),$=k.compile(v);": "E=()=>!0,$=()=>!0;",
}
"""In the manager of widgets: it turns JSON schemas into code, which the policy of the pages forbids, only to check what
our own build has written."""


def mended(text: str, changes: dict[str, str]) -> str:
    """A script of others with its few changes. Raises ValueError for another edition, which has no such place."""
    for before, after in changes.items():
        if text.count(before) != 1:
            raise ValueError(f"{before!r} is there {text.count(before)} times, expected once: see selfhost.py")
        text = text.replace(before, after)
    return text


def verify(folder: Path) -> None:
    """Compare the archives of others with their recorded sums.

    Raises:
        ValueError: one is not the one that was checked, is missing, or has no sum.
    """
    lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {name: digest for digest, name in (line.split() for line in lines)}
    there = {path.name for path in folder.iterdir() if path.suffix in (".zip", ".gz")}
    if unknown := sorted(there ^ sums.keys()):
        raise ValueError(f"{folder}: {', '.join(unknown)}: either no archive or no sum; `git checkout` restores both")
    for name, expected in sums.items():
        found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        if found != expected:
            raise ValueError(f"{folder / name} has the sum {found}, expected {expected}; `git checkout` restores it")


def point_here(app: Sphinx, config: Config) -> None:
    """Replace the addresses of public servers by our own."""
    config["mathjax_path"] = "mathjax/tex-chtml-full.js"
    config["nb_ipywidgets_js"] = {"require/require.js": {}, "widgets/paths.js": {}, "html-manager/embed-amd.js": {}}


def remove_thebe(app: Sphinx, config: Config) -> None:
    """Take out the extension that Jupyter Book always loads to run cells in the page.

    Its script comes from a public server, and its settings, written twice into each page, are an error in a browser.
    """
    for event in ("env-before-read-docs", "doctree-resolved"):
        listeners = app.events.listeners[event]
        listeners[:] = [each for each in listeners if each.handler.__module__ != "sphinx_thebe"]


def copy_assets(app: Sphinx) -> None:
    """Fill `_static/` before the pages are written, so that they can name each script's checksum."""
    if app.builder.format != "html":
        return
    for folder in CHECKED:
        verify(folder)
    static = Path(app.outdir) / "_static"
    for name in ARCHIVES:
        with zipfile.ZipFile(HERE / "vendor" / name) as archive:
            archive.extractall(static)
    manager = static / "html-manager/embed-amd.js"
    manager.write_text(mended(manager.read_text(encoding="utf-8"), UNCHECKED), encoding="utf-8")
    for name, place in FRONT_ENDS.items():
        source = Path(sys.prefix) / "share/jupyter/nbextensions" / place
        # nglview's bundle looks for its own address and refuses one that is not on a server: let it take a file's, too
        text = source.read_text(encoding="utf-8")
        if name == "nglview":
            text = mended(text, {"/^http(s?):/.test(e)": "/^(https?|file):/.test(e)"})
        (static / "widgets" / name).mkdir(parents=True, exist_ok=True)
        (static / "widgets" / name / "index.js").write_text(text, encoding="utf-8")
    shutil.copyfile(HERE / "paths.js", static / "widgets/paths.js")
    shutil.copyfile(HERE / "book.css", static / "book.css")
    (static / "viewer").mkdir(exist_ok=True)
    (static / "viewer/uqlib-viewer.js").write_text(viewer.page_script(), encoding="utf-8")
    (static / "viewer/uqlib-viewer.css").write_text(viewer.style(), encoding="utf-8")
    (static / "viewer/uqlib-engine.js").write_text(viewer.engine_script(), encoding="utf-8")


def load_viewer(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    """Load our viewer on the pages that show structures."""
    if "uqv-print" in context.get("body", ""):
        context["body"] += WITHOUT_SCRIPTS
    if "uqv-" in context.get("body", ""):
        app.add_css_file("viewer/uqlib-viewer.css")
        app.add_js_file("viewer/uqlib-viewer.js", loading_method="defer")


def drop_idle_widgets(app: Sphinx, docname: str, source: list[str]) -> None:
    """Leave out the state of widgets that no output shows, such as progress bars that were taken away.

    Without state MyST-NB loads no widget manager, which spares the page several megabytes.
    """
    if not str(app.env.doc2path(docname)).endswith(".ipynb"):
        return
    notebook = json.loads(source[0])
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    if notebook["metadata"].get("widgets") and not any(WIDGET_VIEW in output.get("data", {}) for output in outputs):
        del notebook["metadata"]["widgets"]
        source[0] = json.dumps(notebook)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_css_file("book.css")
    app.connect("config-inited", point_here, priority=100)
    app.connect("config-inited", remove_thebe, priority=100)
    app.connect("builder-inited", copy_assets)
    app.connect("source-read", drop_idle_widgets)
    app.connect("html-page-context", load_viewer)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
