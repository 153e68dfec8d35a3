"""How wrong the predictions are: mean absolute error, root mean square error, and errors of forces."""

from __future__ import annotations

from torch import Tensor

from .checks import UndefinedMetric, as_finite, as_vectors


def mae(prediction: Tensor, reference: Tensor) -> Tensor:
    """Mean absolute error, over every element; forces (N, 3) therefore count by component.

    Args:
        prediction: Any shape, any unit.
        reference: Same shape, same unit.

    Returns:
        Scalar, same unit.

    Raises:
        ValueError: Shapes differ, empty, or not finite.
    """
    return _difference(prediction, reference).abs().mean()


def rmse(prediction: Tensor, reference: Tensor) -> Tensor:
    """Root mean square error, over every element. Never smaller than the MAE; large errors weigh more.

    Arguments, return value and errors as for `mae`.
    """
    return _difference(prediction, reference).square().mean().sqrt()


def atom_force_error(prediction: Tensor, reference: Tensor) -> Tensor:
    """Size of the force error of each atom: the root mean square over x, y and z.

    An atom has one uncertainty but three force components. The spread of an ensemble is the square root of the
    variance averaged over x, y, z, so the error it should be held against is averaged the same way: then a perfectly
    calibrated spread equals the error in the mean square. (The length of the error vector is sqrt(3) times this: ranks
    do not notice, sizes do.) It depends on no choice of axes. Use it to *rank* and to *detect*. To test whether the
    *size* of an error bar is right use `force_components`: a root mean square of three Gaussians is no Gaussian.

    Args:
        prediction: (N, 3) forces in eV/Å.
        reference: (N, 3) forces in eV/Å.

    Returns:
        (N,) in eV/Å, float64.

    Raises:
        ValueError: Shapes differ or are not (N, 3), empty, or not finite.
    """
    return _force_difference(prediction, reference).square().mean(dim=1).sqrt()


def force_components(
    prediction: Tensor, reference: Tensor, std: Tensor, *, directions: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Signed error and standard deviation of every force component, for the metrics that assume a Gaussian.

    The one standard deviation of an atom stands for each of its three components: an isotropic Gaussian, the
    only choice that does not depend on the axes.

    Args:
        prediction: (N, 3) forces in eV/Å.
        reference: (N, 3) forces in eV/Å.
        std: (N,) standard deviation of one component of each atom's force, in eV/Å.
        directions: (N, 3, 3) from `allowed_directions`: components along these, in place of x, y and z. Structures with
            mirror planes or axes need them, since symmetry makes some of their errors zero.

    Returns:
        Errors (3 N,) and standard deviations (3 N,) in eV/Å, x, y, z of the first atom first. The three components
        are not independent data: for error bars pass `groups=structure_of_atom.repeat_interleave(3)` to `bootstrap`.
        With `directions`, there are as many as rows that are not zero, in their order.

    Raises:
        ValueError: Shapes do not fit, empty, or not finite.
        UndefinedMetric: No direction is allowed on any atom.
    """
    difference = _force_difference(prediction, reference)
    (std,) = as_vectors(std=std)
    if len(std) != len(difference):
        raise ValueError(f"std has {len(std)} values for {len(difference)} atoms, expected one per atom")
    if directions is None:
        return difference.reshape(-1), std.repeat_interleave(3)
    if directions.shape != (len(difference), 3, 3):
        raise ValueError(
            f"directions has shape {tuple(directions.shape)}, expected ({len(difference)}, 3, 3): "
            "allowed_directions of these very structures"
        )
    there = directions.any(dim=2)
    if not bool(there.any()):
        raise UndefinedMetric("symmetry makes every force zero: there is no error that an error bar could be held to")
    along = (directions.to(difference) @ difference[:, :, None])[:, :, 0]
    return along[there], std[:, None].expand_as(there)[there]


def _difference(prediction: Tensor, reference: Tensor) -> Tensor:
    prediction, reference = as_finite("prediction", prediction), as_finite("reference", reference)
    if prediction.shape != reference.shape:
        raise ValueError(
            f"prediction has shape {tuple(prediction.shape)} and reference {tuple(reference.shape)}, expected "
            "the same; reshape explicitly, since broadcasting would average over pairs that do not belong together"
        )
    return prediction - reference


def _force_difference(prediction: Tensor, reference: Tensor) -> Tensor:
    difference = _difference(prediction, reference)
    if difference.dim() != 2 or difference.shape[1] != 3:
        raise ValueError(f"forces have shape {tuple(difference.shape)}, expected (N, 3), one row x, y, z per atom")
    return difference
