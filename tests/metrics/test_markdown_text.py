"""Text in a table of Markdown stays text."""

from __future__ import annotations

import pytest

from uqlib.metrics.table import plain_markdown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a|b", r"a\|b"),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("two\nlines | <b>", r"two lines \| &lt;b&gt;"),
        ("forces (eV/Å)", "forces (eV/Å)"),
    ],
)
def test_plain_markdown(text: str, shown: str) -> None:
    assert plain_markdown(text) == shown
