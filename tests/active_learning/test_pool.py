"""Structures of a pool: those of the training set are left out, and the seed draws among the others."""

import numpy as np
import pytest
import samples

from uqlib.active_learning import FromPool
from uqlib.structures.datasets import Dataset

SOME = [samples.rattled("NH3", seed) for seed in range(12)]


class Nobody:
    """The pool asks no predictor."""


def drawn(known: int, number: int, seed: int) -> list[bytes]:
    train = Dataset(name="train", atoms=tuple(SOME[:known]))
    found = FromPool(pool=Dataset(name="pool", atoms=tuple(SOME))).candidates(
        Nobody(),  # pyright: ignore[reportArgumentType]
        train,
        number=number,
        seed=seed,
    )
    assert found.counts == {"kept": len(found.structures)}
    return [np.round(atoms.positions, 3).tobytes() for atoms in found.structures]


@pytest.mark.parametrize(("known", "number"), [(4, 100), (9, 100), (11, 1), (12, 5)])
def test_what_is_known_is_left_out(known: int, number: int) -> None:
    found = drawn(known, number, seed=0)
    others = {np.round(atoms.positions, 3).tobytes() for atoms in SOME[known:]}
    assert len(found) == min(number, 12 - known)
    assert set(found) <= others
    assert len(set(found)) == len(found)


def test_seeds_draw_others_and_the_same_seed_the_same() -> None:
    runs = [tuple(drawn(2, 4, seed)) for seed in (0, 0, 1, 2, 3)]
    assert runs[0] == runs[1]
    assert len(set(runs)) == 4
