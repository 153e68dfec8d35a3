"""Quotations of source code in the chapters."""

import inspect
import textwrap
from functools import cached_property

import pytest

from uqlib.chapters import quoting
from uqlib.chapters.quoting import show_source
from uqlib.networks.losses import EnergyForceLoss
from uqlib.structures import units
from uqlib.structures.batch import Batch


class Sample:
    """About this class."""

    size: int = 1  # kept

    def twice(self) -> int:
        """Two lines

        of words.
        """
        # a comment
        return 2 * self.size

    def nothing(self) -> None:
        """Only words."""

    @property
    def half(self) -> float:
        """Half of it."""
        return self.size / 2

    @cached_property
    def third(self) -> float:
        return self.size / 3


def test_what_is_shown_is_what_runs() -> None:
    shown = show_source(EnergyForceLoss)
    assert shown.code == f"# uqlib/networks/losses.py\n{inspect.getsource(EnergyForceLoss).rstrip()}"
    assert shown._repr_markdown_() == f"```python\n{shown.code}\n```"
    assert repr(shown) == shown.code


def test_methods_lose_the_indentation_of_their_class() -> None:
    code = show_source(Sample.twice).code.splitlines()
    assert code[:2] == ["# test_quoting.py, Sample", "def twice(self) -> int:"]
    assert code[-1] == "    return 2 * self.size"


def test_a_property_and_a_class_method() -> None:
    assert show_source(Sample.half).code.splitlines()[1:3] == ["@property", "def half(self) -> float:"]
    assert textwrap.dedent(inspect.getsource(Batch.from_atoms)).rstrip() in show_source(Batch.from_atoms).code


def test_the_place_is_named_once() -> None:
    code = show_source(Sample.twice, Sample.half, EnergyForceLoss.__call__, show_source).code
    assert code.count("# test_quoting.py, Sample\n") == 1
    assert code.count("# uqlib/networks/losses.py, EnergyForceLoss\n") == 1
    assert code.count("# uqlib/chapters/quoting.py\n") == 1


def test_docstrings_can_be_left_out() -> None:
    assert show_source(Sample, docstrings=False).code == textwrap.dedent("""\
        # test_quoting.py
        class Sample:
            size: int = 1  # kept

            def twice(self) -> int:
                # a comment
                return 2 * self.size

            def nothing(self) -> None:
                ...

            @property
            def half(self) -> float:
                return self.size / 2

            @cached_property
            def third(self) -> float:
                return self.size / 3""")


def test_code_with_fences_in_it() -> None:
    shown = quoting.Quotation("text = '''\n```\n'''")._repr_markdown_()
    assert shown.startswith("````python\n")
    assert shown.endswith("\n````")


def test_what_cannot_be_quoted() -> None:
    with pytest.raises(TypeError, match="got none"):
        show_source()
    with pytest.raises(TypeError, match=r"got the module uqlib\.structures\.units"):
        show_source(units)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="of an instance, quote its type"):
        show_source(EnergyForceLoss())
