"""What training asks of labels before it begins: that there are some, that they are numbers, of known elements."""

from __future__ import annotations

import numpy as np
from ase.data import chemical_symbols

from uqlib.structures.dataset import Dataset, expect_dataset
from uqlib.structures.keys import may_be
from uqlib.structures.notices import say

MOST = 12  # names shown


def check_labels(train: Dataset, valid: Dataset) -> None:
    """Refuse what cannot be learnt from, and say what is only learnt in part.

    A structure may lack energy or forces; a set may lack one of them altogether, which is said in a `DataWarning`.
    Raises TypeError for what is no data set; ValueError where a set has neither energies nor forces, or lacks one of
    them and holds a name that may be it; for labels that are not finite, naming the structure; and for elements of
    `valid` that `train` does not have.
    """
    for argument, data in (("train", train), ("valid", valid)):
        expect_dataset(data, argument)
        known = {label: data.known(label) for label in ("energy", "forces")}
        missing = refuse_unlabelled(data, argument)
        for label in known:
            _refuse_broken(data, label, argument)
        if missing and argument == "train":
            what = {"energy": "energies are known up to a constant", "forces": "forces are slopes nobody checked"}
            say(f"train: {data.name!r} has no {missing[0]}; the loss is of the rest, and {what[missing[0]]}", depth=3)
        elif argument == "train" and not (known["energy"] | known["forces"]).all():
            bare = np.flatnonzero(~(known["energy"] | known["forces"]))
            say(f"train: {len(bare)} structures of {data.name!r} have no labels (the first is {bare[0]})", depth=3)
    if unseen := sorted(set(valid.elements) - set(train.elements)):
        names = ", ".join(chemical_symbols[z] for z in unseen)
        raise ValueError(
            f"valid: {valid.name!r} holds {names}, which the training set {train.name!r} does not; "
            "nothing can be learnt of it: put a structure that has it into the training set"
        )


def refuse_unlabelled(data: Dataset, argument: str) -> list[str]:
    """Which of energy and forces no structure has, in sets that can be learnt from all the same.

    Raises ValueError where both are missing, or where one is and a name is left over that may be it.
    """
    missing = [label for label in ("energy", "forces") if not data.known(label).any()]
    left = [name for name in _left_over(data) if any(may_be(name, label) for label in missing)]
    if len(missing) < 2 and not left:
        return missing
    there = ""
    if left:
        there = f"; it has {', '.join(left)}: name the one with {missing[0]}_key when you read"
    elif numbers := _numbers(data):
        shown = ", ".join(numbers[:MOST]) + (f" and {len(numbers) - MOST} more" if len(numbers) > MOST else "")
        there = f"; they carry the numbers {shown}: if one is the energy, name it with energy_key when you read"
    raise ValueError(f"{argument}: the structures of {data.name!r} have none of {' and '.join(missing)}{there}")


def label_or_nan(data: Dataset, label: str) -> np.ndarray:
    """Energies (S,) eV or forces (N, 3) eV/Å of all structures, nan where there are none."""
    empty = {"energy": lambda n: np.nan, "forces": lambda n: np.full((n, 3), np.nan)}[label]
    values = [
        frame.calc.results[label] if there and frame.calc is not None else empty(len(frame))
        for frame, there in zip(data.atoms, data.known(label), strict=True)
    ]
    return np.concatenate(values) if label == "forces" else np.array(values)


def _numbers(data: Dataset) -> list[str]:
    """Names of single numbers that structures carry, in the order of the file."""
    found = (name for frame in data.atoms for name, value in frame.info.items() if _is_number(value))
    return [name for name in dict.fromkeys(found) if name not in ("group", "charge", "spin", "total_charge")]


def _is_number(value: object) -> bool:
    return np.ndim(value) == 0 and np.asarray(value).dtype.kind in "iuf"  # type: ignore[arg-type]


def _left_over(data: Dataset) -> list[str]:
    """Names that the structures carry and nobody reads."""
    return sorted({name for frame in data.atoms for name in (*frame.info, *frame.arrays)})


def _refuse_broken(data: Dataset, label: str, argument: str) -> None:
    for index, frame in enumerate(data.atoms):
        value = None if frame.calc is None else frame.calc.results.get(label)
        if value is not None and not np.isfinite(value).all():
            of = f" (of {frame.info['group']!r})" if "group" in frame.info else ""
            raise ValueError(
                f"{argument}: {label} of structure {index}{of} of {data.name!r} is not finite; remove it, or the label"
            )
