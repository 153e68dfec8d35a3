"""What every metric demands of its input, said once.

A metric that quietly returns NaN, or broadcasts a column against a row, does more harm than one that stops. Each
function here returns its input as float64, detached from any autograd graph, or raises an error that names the
argument, what arrived, what was expected and what to do about it.
"""

from __future__ import annotations

import torch
from torch import Tensor


class UndefinedMetric(ValueError):
    """The input is valid but the metric has no value for it, such as a rank correlation with a constant."""


def as_finite(name: str, tensor: Tensor) -> Tensor:
    """Return `tensor` in float64, refusing what is not a tensor, is empty, or holds NaN or infinity.

    Args:
        name: Name of the argument, for the message.
        tensor: Any shape, any real dtype.

    Raises:
        TypeError: Not a tensor.
        ValueError: Empty, or not finite everywhere.
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(
            f"{name} is a {type(tensor).__name__}, expected a torch.Tensor; wrap it in torch.as_tensor(...)"
        )
    if tensor.numel() == 0:
        raise ValueError(
            f"{name} is empty (shape {tuple(tensor.shape)}), expected at least one value; is the split empty?"
        )
    tensor = tensor.detach().to(torch.float64)
    # One reduction finds any NaN or infinity (times zero, either gives NaN); the count is made only for the message.
    if not bool(torch.isfinite((tensor * 0.0).sum())):
        bad = int((~torch.isfinite(tensor)).sum())
        raise ValueError(
            f"{name} holds {bad} NaN or infinite values out of {tensor.numel()}, expected finite values; "
            f"find the structures they come from with torch.isfinite({name}) before scoring"
        )
    return tensor


def as_vectors(**tensors: Tensor) -> tuple[Tensor, ...]:
    """Return tensors of one common shape (n,) in float64, in the order given; names are taken from the keywords.

    Raises:
        TypeError: One is not a tensor.
        ValueError: One is empty, not finite or not one-dimensional, or the lengths differ.
    """
    vectors = tuple(as_finite(name, tensor) for name, tensor in tensors.items())
    for name, vector in zip(tensors, vectors, strict=True):
        if vector.dim() != 1:
            raise ValueError(
                f"{name} has shape {tuple(vector.shape)}, expected (n,), one value per prediction; for forces use "
                "atom_force_error (one value per atom) or force_components (three per atom) first"
            )
    lengths = {name: len(vector) for name, vector in zip(tensors, vectors, strict=True)}
    if len(set(lengths.values())) > 1:
        arrived = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise ValueError(f"lengths differ: {arrived}; expected one value per prediction in each, in the same order")
    return vectors


def as_deviations(name: str, tensor: Tensor, *, positive: bool) -> Tensor:
    """Return standard deviations in float64; `positive` also refuses zero, where a density would be infinite.

    Raises:
        TypeError: Not a tensor.
        ValueError: Empty, not finite, or negative.
        UndefinedMetric: Zero, and `positive`.
    """
    tensor = as_finite(name, tensor)
    smallest = float(tensor.min())
    if smallest < 0:
        raise ValueError(
            f"{name} has a negative value ({smallest:.3g}), expected standard deviations; a score that only ranks "
            "(a log likelihood, a distance) must be calibrated on held-out data before it can be judged as one"
        )
    if positive and smallest == 0:
        zeros = int((tensor == 0).sum())
        raise UndefinedMetric(
            f"{name} is zero for {zeros} of {tensor.numel()} predictions, expected positive standard deviations "
            "(the density is infinite at zero); recalibrate with a floor, or leave out what symmetry makes exact"
        )
    return tensor


def as_fraction(name: str, value: float) -> float:
    """Return a number strictly between 0 and 1.

    Raises:
        ValueError: Outside (0, 1); a percentage is the usual reason.
    """
    if not 0.0 < value < 1.0:
        raise ValueError(f"{name} is {value!r}, expected a fraction between 0 and 1; write 95 % as 0.95")
    return float(value)
