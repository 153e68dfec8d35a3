"""What the site mends in others' HTML, piece by piece."""

import runpy
from pathlib import Path
from typing import Any

ACCESSIBLE = runpy.run_path(str(Path(__file__).resolve().parents[2] / "book/_ext/accessible.py"))


def test_a_list_of_references_has_no_role_that_its_entries_do_not_fit() -> None:
    body = '<div role="list" class="citation-list"><div class="citation" role="doc-biblioentry">x</div></div>'
    assert ACCESSIBLE["mended"](body) == '<div class="citation-list"><div class="citation">x</div></div>'


def test_arguments_of_a_long_signature_are_lines_and_other_lists_stay() -> None:
    body = (
        '<dt>f<span class="sig-paren">(</span>\n<dl>\n<dd><em>a</em>,</dd>\n</dl>\n)</dt><dl><dt>b</dt><dd>c</dd></dl>'
    )
    found = ACCESSIBLE["mended"](body)
    assert '<span class="sig-lines">\n<span class="sig-line"><em>a</em>,</span>\n</span>' in found
    assert found.endswith("<dl><dt>b</dt><dd>c</dd></dl>")


def test_what_scrolls_can_be_reached_unless_there_are_buttons_in_it() -> None:
    wide = '<div style="overflow-x:auto;font-size:0.75em"><table>'
    assert 'tabindex="0"' in ACCESSIBLE["mended"](wide)
    with_buttons = '<div style="overflow-x: auto"><table id="sortable-1" class="sortable">'
    assert ACCESSIBLE["mended"](with_buttons) == with_buttons


def test_folds_of_the_contents_have_a_name() -> None:
    def tree(*arguments: Any, **options: Any) -> str:
        return '<details><summary><span class="toctree-toggle"></span></summary></details><summary>Named</summary>'

    found = ACCESSIBLE["named"](tree)("sidebar")
    assert found.count("aria-label=") == 1
    assert "<summary>Named</summary>" in found
