"""What training asks of labels before it begins: that there are some, that they are numbers, of known elements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NoReturn

import numpy as np
from ase.data import chemical_symbols

from uqlib.structures.batch import LABELS
from uqlib.structures.dataset import Dataset, expect_dataset
from uqlib.structures.keys import may_be
from uqlib.structures.notices import say

MOST = 12  # names shown


def check_labels(train: Dataset, valid: Dataset, labels: Sequence[str] = ("energy", "forces")) -> None:
    """Refuse what cannot be learnt from, and say what is only learnt in part.

    `labels`: those that the loss uses, see `losses.labels_of`; nobody asks for others. A structure may lack some of
    them; a set may lack energies or forces altogether, which is said in a `DataWarning`.
    Raises TypeError for what is no data set; ValueError where a set has none of them, where it lacks one and holds a
    name that may be it, and where `train` lacks the stress that the loss weighs; for labels that are not finite, naming
    the structure; and for elements of `valid` that `train` does not have.
    """
    for argument, data in (("train", train), ("valid", valid)):
        expect_dataset(data, argument)
        known = {label: learnable(data, label) for label in labels}
        missing = refuse_unlabelled(data, argument, labels)
        for label in LABELS:
            _refuse_broken(data, label, argument)
        if argument == "train":
            _say_what_is_learnt_in_part(data, known, missing)
        elif "stress" in missing:
            say(f"valid: {data.name!r} has no stress; nothing there holds back what is learnt of it", depth=3)
    if unseen := sorted(set(valid.elements) - set(train.elements)):
        names = ", ".join(chemical_symbols[z] for z in unseen)
        raise ValueError(
            f"valid: {valid.name!r} holds {names}, which the training set {train.name!r} does not; "
            "nothing can be learnt of it: put a structure that has it into the training set"
        )


def learnable(data: Dataset, label: str) -> np.ndarray:
    """(S,) whether each structure has this label; of stress, whether it also has a period in all three directions.

    A network's stress is a virial over a volume, and a slab or a molecule has none.
    """
    known = data.known(label)
    return known & [bool(frame.pbc.all()) for frame in data.atoms] if label == "stress" else known


def refuse_unlabelled(data: Dataset, argument: str, labels: Sequence[str] = ("energy", "forces")) -> list[str]:
    """Which of `labels` no structure has, in sets that can be learnt from all the same.

    Raises ValueError where all are missing, where one is and a name is left over that may be it, and where the stress
    is missing from anything but a validation set.
    """
    missing = [label for label in labels if not learnable(data, label).any()]
    left = [name for name in _left_over(data) if any(may_be(name, label) for label in missing)]
    if len(missing) == len(labels) or left or ("stress" in missing and argument != "valid"):
        _refuse_missing(data, missing, left, argument)
    return missing


def _refuse_missing(data: Dataset, missing: Sequence[str], left: Sequence[str], argument: str) -> NoReturn:
    there, numbers = "", _numbers(data)
    if left:
        there = f"; it has {', '.join(left)}: name the one with {missing[0]}_key when you read"
    elif "stress" in missing:
        periodic = "no structure that has one is periodic in all directions"
        why = periodic if data.known("stress").any() else "none has one"
        there = f"; {why}, and the loss has a weight for it: set stress_weight=0, or add some"
    elif numbers:
        shown = ", ".join(numbers[:MOST]) + (f" and {len(numbers) - MOST} more" if len(numbers) > MOST else "")
        there = f"; they carry the numbers {shown}: if one is the energy, name it with energy_key when you read"
    raise ValueError(f"{argument}: the structures of {data.name!r} have none of {' and '.join(missing)}{there}")


def _say_what_is_learnt_in_part(data: Dataset, known: Mapping[str, np.ndarray], missing: Sequence[str]) -> None:
    labelled = np.any(list(known.values()), axis=0)
    if missing:
        what = {"energy": "energies are known up to a constant", "forces": "forces are slopes nobody checked"}
        say(f"train: {data.name!r} has no {missing[0]}; the loss is of the rest, and {what[missing[0]]}", depth=4)
    elif not labelled.all():
        bare = np.flatnonzero(~labelled)
        say(f"train: {len(bare)} structures of {data.name!r} have no labels (the first is {bare[0]})", depth=4)
    if "stress" in known and (flat := np.flatnonzero(data.known("stress") & ~known["stress"])).size:
        say(
            f"train: {len(flat)} structures of {data.name!r} have a stress and are not periodic in all directions (the "
            f"first is {flat[0]}): it is left out",
            depth=4,
        )


def label_or_nan(data: Dataset, label: str) -> np.ndarray:
    """Energies (S,) eV, forces (N, 3) eV/Å or stress (S, 6) eV/Å³ of all structures, nan where there are none."""
    shapes = {"energy": lambda _: (), "forces": lambda n: (n, 3), "stress": lambda _: (6,)}
    values = [
        frame.calc.results[label] if there and frame.calc is not None else np.full(shapes[label](len(frame)), np.nan)
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
