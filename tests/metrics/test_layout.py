"""Tables of words: aligned, with a rule, and in Markdown."""

import pytest

from uqlib.metrics.layout import as_markdown, as_text

ROWS = [("split", "of", "MAE"), ("hot *", "energy", "1.20 ± 0.03"), ("t", "f", "–")]


def test_columns_are_aligned_under_a_rule() -> None:
    assert as_text(ROWS) == [
        "split  of      MAE",
        "-----  ------  -----------",
        "hot *  energy  1.20 ± 0.03",
        "t      f       –",
    ]


def test_markdown_is_a_table_for_whoever_reads_it() -> None:
    lines = as_markdown([("a", "b|c"), ("1", "")])
    assert lines == ["| a   | b\\|c |", "| --- | ---- |", "| 1   |      |"]
    assert {line.count("|") for line in as_markdown(ROWS)} == {4}


def test_rows_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="argument 2 is"):
        as_text([("a", "b"), ("c",)])
