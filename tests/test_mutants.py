"""The list of planted bugs: each can still be planted, and the tests that must notice it are there."""

from pathlib import Path

import pytest

from scripts.checks.mutants import LIST, ROOT, Mutant, read


def test_every_bug_can_be_planted_and_has_its_tests() -> None:
    listed = read()
    assert len(listed) >= 56
    gone = []
    for mutant in listed:
        text = (ROOT / mutant.file).read_text(encoding="utf-8")
        try:
            assert mutant.planted(text) != text
        except ValueError as error:
            gone.append(str(error))
        for test in mutant.tests:
            path, _, name = test.partition("::")
            assert (ROOT / path).exists(), test
            assert not name or f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), test
    assert gone == [], "the code moved on: say in tests/mutants.toml where the line is now"


@pytest.mark.parametrize("text", ["a = 1", "a = 2\na = 2", ""])
def test_a_bug_whose_line_is_gone_is_refused(text: str) -> None:
    mutant = Mutant(file="some.py", before="a = 2", after="a = 3", tests=())
    with pytest.raises(ValueError, match=r"some\.py: 'a = 2' is there \d times, expected once"):
        mutant.planted(text)


@pytest.mark.parametrize(
    "entry", ['file = "a.py"', 'tests = ["b"]\nwhy = 1', 'tests = ["b"]\nfile = "a"\nbefore = "c"']
)
def test_an_entry_that_lacks_something_is_named(entry: str, tmp_path: Path) -> None:
    path = tmp_path / LIST.name
    path.write_text(f"[[mutant]]\n{entry}\n")
    with pytest.raises(ValueError, match=r"mutants\.toml: "):
        read(path)
