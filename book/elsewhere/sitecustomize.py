"""Make a Python process as another machine, or another draw of the dice, would have it.

Python imports a module of this name when it starts, so that whatever runs with this folder on `PYTHONPATH` is changed
before its first line: a chapter's kernel, its worker processes, a `python -m uqlib` that it starts. It is done from
outside because a chapter sets its seeds and its threads itself, as it should, and an auditor is to change all of them
without a word of the chapter being written for it.

UQLIB_SEED_SHIFT=k moves every seed that torch and numpy are given, and with numpy's those of scikit-learn, SciPy and
    ASE: training, shuffling, splits, toy data, dynamics, bootstrap. The same k gives the same numbers again. What is
    not seeded stays as it is.
UQLIB_THREADS=n has torch compute with n threads, whatever it is told.

Neither set, or a shift of 0, changes nothing.
"""

import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

STEP = 1_000_003  # a prime, larger than any seed in use: no shifted seed is another one's unshifted


def _moved(seed: Any, shift: int) -> Any:
    """A seed moved by `shift` steps, be it a number or words of entropy; what is no seed comes back as it is."""
    import numpy as np

    if isinstance(seed, (int, np.integer)):
        return int(seed) + STEP * shift
    if isinstance(seed, (list, tuple)):
        return [*seed, STEP * shift]
    return seed


def _shift_torch(shift: int) -> None:
    import torch

    class Generator(torch.Generator):
        def manual_seed(self, seed: int) -> torch.Generator:
            super().manual_seed(_moved(seed, shift) % 2**63)
            return self

    def manual_seed(seed: int, _seed: Callable[[int], torch.Generator] = torch.manual_seed) -> torch.Generator:
        return _seed(_moved(seed, shift) % 2**63)

    _replace(torch, Generator=Generator, manual_seed=manual_seed)
    _replace(torch.random, manual_seed=manual_seed)


def _shift_numpy(shift: int) -> None:
    import numpy as np

    class SeedSequence(np.random.SeedSequence):
        def __init__(self, entropy: Any = None, **options: Any) -> None:
            super().__init__(entropy if options.get("spawn_key") else _moved(entropy, shift), **options)

    class RandomState(np.random.RandomState):
        def __init__(self, seed: Any = None) -> None:
            moved = _moved(seed, shift)
            super().__init__(moved % 2**32 if isinstance(moved, int) else moved)

    def default_rng(seed: Any = None, _make: Callable[[Any], np.random.Generator] = np.random.default_rng) -> Any:
        return _make(_moved(seed, shift))

    def seed(seed: Any = None, _seed: Callable[[Any], None] = np.random.seed) -> None:
        moved = _moved(seed, shift)
        _seed(moved % 2**32 if isinstance(moved, int) else moved)

    _replace(np.random, SeedSequence=SeedSequence, RandomState=RandomState, default_rng=default_rng, seed=seed)


def _force_threads(threads: int) -> None:
    import torch

    set_threads = torch.set_num_threads
    set_threads(threads)
    _replace(torch, set_num_threads=lambda _: set_threads(threads))


def _replace(module: ModuleType, **made: Any) -> None:
    for name, value in made.items():
        # Under the name of what it stands for it can be sent to a worker process, which looks it up there.
        value.__module__, value.__name__, value.__qualname__ = module.__name__, name, name
        setattr(module, name, value)


if _shift := int(os.environ.get("UQLIB_SEED_SHIFT") or 0):
    _shift_torch(_shift)
    _shift_numpy(_shift)
if _threads := int(os.environ.get("UQLIB_THREADS") or 0):
    _force_threads(_threads)
