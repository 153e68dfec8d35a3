"""How frames are divided into splits: whole groups, or stretches of a trajectory with a gap between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import ase
import numpy as np

from uqlib.structures.element_energies import is_isolated

GAP = 20  # a gap is one such part of the run of frames that is cut: in time, what lies next to a cut is alike
REMEDY = "ask for more, cut each group into stretches with blocks=True, or set by_group=False"


def divide(
    frames: Sequence[ase.Atoms],
    groups: Sequence[str] | np.ndarray,
    sizes: Mapping[str, int],
    *,
    seed: int,
    blocks: bool | None = None,
    gap: int | None = None,
) -> tuple[dict[str, list[int]], str]:
    """Indices for each split, and what is to be said of it. `groups`: a label for each frame.

    Whole groups go to one split; large ones first, while there is room, and first of all to "train" what holds an
    element that would else be missing there. An isolated atom is no sample but says where energies begin: all of them
    go to "train", and count there. With `blocks`, or (None) where all frames are one group, frames that
    follow one another and have the same atoms are cut into one stretch a split, `gap` frames apart.
    Raises ValueError where a split would stay empty.
    """
    alone = [index for index, frame in enumerate(frames) if is_isolated(frame)]
    if not alone or len(alone) >= sizes.get("train", 0):
        return _divided(frames, groups, sizes, seed, blocks, gap)
    rest = [index for index, frame in enumerate(frames) if not is_isolated(frame)]
    fewer = {**sizes, "train": sizes["train"] - len(alone)}
    splits, remark = _divided([frames[k] for k in rest], [groups[k] for k in rest], fewer, seed, blocks, gap)
    found = {name: [rest[k] for k in chosen] for name, chosen in splits.items()}
    return {**found, "train": [*alone, *found["train"]]}, remark


def _divided(
    frames: Sequence[ase.Atoms],
    groups: Sequence[str] | np.ndarray,
    sizes: Mapping[str, int],
    seed: int,
    blocks: bool | None,
    gap: int | None,
) -> tuple[dict[str, list[int]], str]:
    members: dict[str, list[int]] = {}
    for index, label in enumerate(groups):
        members.setdefault(str(label), []).append(index)
    random = np.random.default_rng(seed)
    if blocks is None:
        blocks = len(members) == 1 and len(sizes) > 1
    if blocks:
        return _stretches(frames, members, sizes, random, gap)
    order = [members[label] for label in random.permutation(sorted(members))]
    splits = _assign(frames, order, sizes, {name: [] for name in sizes})
    if empty := [name for name in sizes if not splits[name]]:
        raise ValueError(
            f"sizes: no whole group of correlated frames fits into {empty}; groups hold "
            f"{sorted({len(group) for group in order})} frames: {REMEDY}"
        )
    return splits, ""


def _assign(
    frames: Sequence[ase.Atoms],
    order: Sequence[Sequence[int]],
    sizes: Mapping[str, int],
    begun: Mapping[str, list[int]],
) -> dict[str, list[int]]:
    """Units of frames to splits, on top of what has begun; again with rare elements first where train lacks any."""
    first: list[Sequence[int]] = []
    while True:
        splits = {name: list(indices) for name, indices in begun.items()}
        for unit in first:
            splits["train"].extend(unit)
        rest = [unit for unit in order if not any(unit is chosen for chosen in first)]
        for unit in sorted(rest, key=len, reverse=True):  # large groups while there is room for them
            room = {name: size - len(splits[name]) for name, size in sizes.items()}
            roomiest = max(room, key=room.__getitem__)
            if len(unit) <= room[roomiest]:
                splits[roomiest].extend(unit)
        missing = _missing(frames, splits)
        free = sizes.get("train", 0) - sum(map(len, first)) - len(begun.get("train", []))
        found = next((u for u in rest if len(u) <= free and missing & _elements(frames, u)), None)
        if found is None:
            return splits
        first.append(found)


def _missing(frames: Sequence[ase.Atoms], splits: Mapping[str, list[int]]) -> set[int]:
    """Elements of other splits that "train" lacks."""
    if "train" not in splits:
        return set()
    elsewhere = [index for name, chosen in splits.items() if name != "train" for index in chosen]
    return _elements(frames, elsewhere) - _elements(frames, splits["train"])


def _elements(frames: Sequence[ase.Atoms], chosen: Sequence[int]) -> set[int]:
    return {int(z) for index in chosen for z in np.unique(frames[index].numbers)}


def _stretches(
    frames: Sequence[ase.Atoms],
    members: Mapping[str, list[int]],
    sizes: Mapping[str, int],
    random: np.random.Generator,
    gap: int | None,
) -> tuple[dict[str, list[int]], str]:
    """Long runs of frames with the same atoms are cut in proportion to `sizes`; short ones go whole to one split."""
    if gap is not None and gap < 0:
        raise ValueError(f"gap: got {gap}, expected a number of frames, 0 or more")
    runs = [run for group in members.values() for run in _runs(frames, group)]
    long = [run for run in runs if len(run) >= 4 * len(sizes)]
    splits: dict[str, list[int]] = {name: [] for name in sizes}
    left_out, gaps = 0, set()
    apart = {id(run): max(1, round(len(run) / GAP)) if gap is None else gap for run in long}
    room = {id(run): len(run) - (len(sizes) - 1) * apart[id(run)] for run in long}
    total, wanted = sum(room.values()) + sum(len(r) for r in runs if len(r) < 4 * len(sizes)), sum(sizes.values())
    for run in long:
        order = [str(name) for name in random.permutation(sorted(sizes))]
        between, start = apart[id(run)], 0
        share = min(1.0, wanted / total) * room[id(run)] / wanted
        lengths = {name: max(int(share * size + 1e-9), 1) for name, size in sizes.items()}
        while sum(lengths.values()) > room[id(run)] and max(lengths.values()) > 1:
            lengths[max(lengths, key=lengths.__getitem__)] -= 1
        for name in order:
            splits[name].extend(run[start : start + lengths[name]][: sizes[name] - len(splits[name])])
            start += lengths[name] + between
        left_out += (len(sizes) - 1) * between
        gaps.add(between)
    short = [run for run in runs if len(run) < 4 * len(sizes)]
    splits = _assign(frames, [short[k] for k in random.permutation(len(short))], sizes, splits)
    if empty := [name for name in sizes if not splits[name]]:
        raise ValueError(
            f"sizes: got {dict(sizes)}; {len(frames)} frames cut into stretches leave nothing for {empty}: "
            "ask for more, give a smaller gap, or set by_group=False"
        )
    if not long:
        return splits, ""
    one = "one group" if len(members) == 1 else f"{len(members)} groups"
    counts = ", ".join(f"{name} {len(chosen)}" for name, chosen in splits.items())
    wide = " or ".join(map(str, sorted(gaps)))
    return splits, (
        f"{len(frames)} frames are {one}: each split is a stretch of its frames in their order ({counts}), {wide} "
        f"frames apart, {left_out} left out between; by_group=False takes frames one by one"
    )


def _runs(frames: Sequence[ase.Atoms], group: Sequence[int]) -> list[list[int]]:
    """Frames that follow one another with the same atoms in the same order."""
    runs: list[list[int]] = []
    for index in group:
        same = runs and np.array_equal(frames[runs[-1][-1]].numbers, frames[index].numbers)
        if same:
            runs[-1].append(index)
        else:
            runs.append([index])
    return runs
