"""A chapter's claims have words, a bound, and a cell that is seen; and nothing stops a reader."""

import claim_rules
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell


def faults(*sources: str, tags: tuple[str, ...] = ("remove-input",)) -> list[str]:
    """Of a notebook with these code cells below its title."""
    return claim_rules.faults(
        [new_markdown_cell("# Title"), *(new_code_cell(each, metadata={"tags": list(tags)}) for each in sources)]
    )


@pytest.mark.parametrize(
    "source",
    [
        "claim('a', 1, above=0)\nclaim('b', 1, below=2)\nclaims.claim('c', x, equals='word')",
        "for name in names:\n    claim(f'{name} ranks', rank[name], above=0)\n    claim(f'{name} ranks', 1, above=0)",
        "claim('in two ' 'pieces', lambda: 1, **bounds)",
        "claim(words='a', value=1, above=0)",
        "%matplotlib inline\n!ls\nx?\n# assert nothing\ntext = 'assert'",
    ],
)
def test_what_is_allowed(source: str) -> None:
    assert faults(source) == []


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("x = 1\nassert x", "cell 2: `assert` would stop a reader"),
        ("def f():\n    if True:\n        assert x, 'why'", "`assert` would stop a reader"),
        ("claim(words, 1, above=0)", "claim(words, ...): the words are a claim's name"),
        ("claim('a' + b, 1, above=0)", "claim('a' + b, ...): the words are a claim's name"),
        ("claim(value=1, above=0)", "claim(, ...): the words are"),
        ("claim('a', x > 0)", "claim('a', ...) has no bound"),
        ("claim('a', 1, above=0)\nif x:\n    claim('a', 2, above=0)", "an earlier claim of this chapter"),
        ("x = (", "cell 2 is not Python"),
    ],
)
def test_what_is_refused(source: str, fault: str) -> None:
    (found,) = faults(source)
    assert fault in found


def test_the_same_words_are_refused_across_cells() -> None:
    (found,) = faults("claim('a', 1, above=0)", "claim('a', 2, above=0)")
    assert found.startswith("cell 3: claim('a', ...)")


@pytest.mark.parametrize("tag", sorted(claim_rules.OUT_OF_SIGHT))
def test_a_claim_stands_where_it_is_seen(tag: str) -> None:
    (found,) = faults("claim('a', 1, above=0)", tags=(tag,))
    assert f"the tag '{tag}' hides what falls short" in found
    assert faults("x = 1", tags=(tag,)) == []
