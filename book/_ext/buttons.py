"""Which buttons the theme shows: those that need the book's repository only when the build knows where it is."""

from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config

BUTTONS = ("use_repository_button", "use_issues_button", "use_source_button")


def choose_buttons(app: Sphinx, config: Config) -> None:
    """Turn the repository and launch buttons on or, without an address, off."""
    options = config["html_theme_options"]
    known = bool(options.get("repository_url"))
    options.update(dict.fromkeys(BUTTONS, known))
    if not known:
        options.pop("repository_url", None)
        options.pop("launch_buttons", None)
    options["navbar_persistent"] = []  # else a second search field stands in an otherwise empty bar above the page


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("config-inited", choose_buttons)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
