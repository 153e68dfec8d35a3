"""Which structures train, validate, recalibrate and test: drawn anew, set aside, or added where a set lacks a split."""

from __future__ import annotations

from typing import Any

from uqlib.structures.datasets import Dataset


def resplit(data: Dataset, seed: int, *, share: float = 1.0) -> Dataset:
    """`train`, `valid` and `test` of the same sizes drawn anew, by whole groups; other splits stay as they are.

    With a `share`, `train` is so much smaller, as nearly as whole groups allow.
    """
    sizes: dict[str, Any] = {split: len(data.splits[split]) for split in ("train", "valid", "test")}
    pool = [index for split in sizes for index in data.splits[split]]
    sizes["train"] = max(round(share * sizes["train"]), 1)
    drawn = data.take(pool).split(seed=seed, by_group=_grouped(data.take(pool)), **sizes).splits
    anew = {split: tuple(pool[index] for index in chosen) for split, chosen in drawn.items()}
    return Dataset(name=data.name, atoms=data.atoms, splits={**data.splits, **anew}, card=data.card)


def set_aside(data: Dataset, share: float, seed: int) -> Dataset:
    """The same with a split `calibration`, a share of `test` by whole groups; it is in no other split."""
    number = max(round(share * len(data.splits["test"])), 1)
    parts: dict[str, Any] = {"test": len(data.splits["test"]) - number, "calibration": number}
    drawn = data["test"].split(seed=seed, by_group=_grouped(data["test"]), **parts).splits
    anew = {split: tuple(data.splits["test"][index] for index in chosen) for split, chosen in drawn.items()}
    return Dataset(name=data.name, atoms=data.atoms, splits={**data.splits, **anew}, card=data.card)


def recalibrating(data: Dataset) -> list[str]:
    """The split that recalibrates all methods and does nothing else, where there is one; else `valid` does it."""
    return [split for split in ("calibration",) if split in data.splits]


def complete(data: Dataset) -> Dataset:
    """With `valid` and `test`, a tenth of `train` each, where the authors of a set have made no such split."""
    splits, train = dict(data.splits), data.splits["train"]
    for place, split in ((0, "valid"), (5, "test")):
        if split not in data.splits:
            splits[split] = train[place::10]
            splits["train"] = tuple(index for index in splits["train"] if index not in set(splits[split]))
    return Dataset(name=data.name, atoms=data.atoms, splits=splits, card=data.card)


def _grouped(data: Dataset) -> bool:
    """Whether anything is known of which frames belong together; where not, they are drawn one by one."""
    return len(set(data.groups)) > 1
