"""The least that a network costs: its matrix products and nothing else, replayed with the shapes that they have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from uqlib.networks import fast_painn

PRODUCTS = {"mm": torch.mm, "bmm": torch.bmm, "addmm": torch.mm, "baddbmm": torch.bmm}
"""Operations that multiply matrices, and what replays them; what `addmm` adds is no product."""


class _Recorder(TorchDispatchMode):
    """Writes down the factors of each matrix product: shapes, and whether they lie transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[tuple[tuple[int, ...], bool], ...]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if (name := func.overloadpacket.__name__) in PRODUCTS:
            factors = tuple((tuple(tensor.shape), _transposed(tensor)) for tensor in args[-2:])
            self.found.append((name, factors))
        return func(*args, **(kwargs or {}))


def _transposed(tensor: Tensor) -> bool:
    return not tensor.is_contiguous() and tensor.mT.is_contiguous()


def floor_of(run: Callable[[], object]) -> Callable[[], None]:
    """What replays the matrix products of `run`, into arrays that are there already.

    Recorded with all pairs at once: what `fast_painn` makes twice, to save memory, counts once.
    """
    large, fast_painn.LARGE = fast_painn.LARGE, 10**12
    try:
        with _Recorder() as recorder:
            run()
    finally:
        fast_painn.LARGE = large
    assert recorder.found, "a compiled network shows no products: give the same network uncompiled"
    factors: dict[Any, Tensor] = {}
    results: dict[Any, Tensor] = {}
    steps = []
    for name, shapes in recorder.found:
        one, other = (factors.setdefault((place, *each), _factor(*each)) for place, each in enumerate(shapes))
        shape = (*one.shape[:-1], other.shape[-1])
        steps.append((PRODUCTS[name], one, other, results.setdefault(shape, torch.empty(shape))))

    def replay() -> None:
        with torch.no_grad():
            for product, one, other, result in steps:
                product(one, other, out=result)

    return replay


def _factor(shape: tuple[int, ...], transposed: bool) -> Tensor:
    return torch.randn(*shape[:-2], shape[-1], shape[-2]).mT if transposed else torch.randn(shape)
