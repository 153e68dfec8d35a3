"""`train` on files that have energies alone, forces alone, or now one and now the other."""

from __future__ import annotations

from pathlib import Path

import ase.io
import pytest
import samples
from ase.calculators.singlepoint import SinglePointCalculator

from uqlib.__main__ import main

BRIEF = ["--method", "ensemble", "--members", "2", "--epochs", "1", "--features", "8", "--no-by-group"]


def trained(path: Path, *labels: tuple[str, ...]) -> int:
    """Train on twenty molecules of which the k-th has the labels `labels[k]`, over and over."""
    frames = []
    for k, frame in enumerate(samples.dataset({"all": 20}).atoms):
        assert frame.calc is not None
        results = {name: frame.calc.results[name] for name in labels[k % len(labels)]}
        bare = frame.copy()
        bare.calc = SinglePointCalculator(bare, **results)
        frames.append(bare)
    ase.io.write(path, frames, format="extxyz")
    return main(["train", "--data", str(path), *BRIEF])


@pytest.mark.parametrize(("label", "row", "other"), [("energy", "energy", "force"), ("forces", "force", "energy")])
def test_a_set_with_one_kind_of_label_is_scored_by_it(
    label: str, row: str, other: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trained(tmp_path / "one.xyz", (label,)) in (None, 0)
    said = capsys.readouterr()
    rows = [line.split() for line in said.out.splitlines() if line.startswith("test")]
    assert [line[2 if line[1] == "*" else 1] for line in rows] == [row]
    assert other not in {word for line in rows for word in line}
    assert said.err.count("the loss is of the rest") == 1, "a remark is said once, not once a member"
    assert "nan" not in said.err


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([("energy", "forces"), ("energy",)], "structures have energies and forces and are scored"),
        (
            [("energy", "forces"), ("forces",), ("energy", "forces")],
            "structures have energies and forces and are scored",
        ),
    ],
)
def test_structures_that_lack_what_others_have_are_not_scored(
    labels: list[tuple[str, ...]], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trained(tmp_path / "part.xyz", *labels) in (None, 0)
    said = capsys.readouterr().out
    assert words in said
    assert len([line for line in said.splitlines() if line.startswith("test") and "meV" in line]) == 2
