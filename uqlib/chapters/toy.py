"""A double well in one dimension and small networks that learn it: the whole book in miniature, in seconds.

A particle moves along x, as the nitrogen of ammonia does along its umbrella coordinate: two minima, a barrier between
them. Energies are known at a few points, with some noise. Everything that the later chapters do with atoms can be drawn
here on one axis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from uqlib.methods.evidential import Evidence, evidence, misplaced_evidence, student_nll

WELLS_SEEN = ((-0.62, -0.18), (0.20, 0.45))  # Å: the left well, the inner part of the right one, never the barrier


@dataclass(frozen=True, kw_only=True)
class DoubleWell:
    """Energy h ((x/a)^2 - 1)^2, in eV for x in Å, and the noise of a measurement of it."""

    barrier: float = 0.25  # h, eV
    half_distance: float = 0.4  # a, Å: minima at -a and +a
    noise_left: float = 0.004  # eV
    noise_right: float = 0.020  # eV

    def energy(self, x: Tensor) -> Tensor:
        """Energy without noise, eV; x in Å, any shape."""
        return self.barrier * ((x / self.half_distance).square() - 1).square()

    def noise(self, x: Tensor) -> Tensor:
        """Standard deviation of the noise at x, eV: small in the left well, larger in the right one."""
        return self.noise_left + (self.noise_right - self.noise_left) * torch.sigmoid(x / 0.05)

    def sample(
        self, n: int, *, seed: int, domain: Sequence[tuple[float, float]] = WELLS_SEEN, noisy: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Positions (n,) in Å, uniform over the intervals of the domain, in increasing order, and energies (n,) in eV.

        Raises:
            ValueError: n below 2, or an interval that does not run upwards.
        """
        if n < 2 or not domain or any(low >= high for low, high in domain):
            raise ValueError(f"n is {n} and domain {domain}, expected at least 2 points and intervals (low, high) in Å")
        generator = torch.Generator().manual_seed(seed)
        lows, highs = torch.tensor(domain, dtype=torch.float64).unbind(dim=1)
        interval = torch.multinomial(highs - lows, n, replacement=True, generator=generator)
        x = lows[interval] + (highs - lows)[interval] * torch.rand(n, generator=generator, dtype=torch.float64)
        x = x.sort().values
        error = self.noise(x) * torch.randn(n, generator=generator, dtype=torch.float64)
        return x, self.energy(x) + (error if noisy else 0.0)


@dataclass(frozen=True, kw_only=True)
class ToyPrediction:
    """What an ensemble of M networks says about n points, in eV."""

    members: Tensor  # (M, n)  mean predicted by each network
    noise: Tensor  # (M, n)  standard deviation of the noise, predicted by each network

    @property
    def mean(self) -> Tensor:
        """(n,) mean over the members."""
        return self.members.mean(dim=0)

    @property
    def epistemic(self) -> Tensor:
        """(n,) what the model does not know: standard deviation of the members' means."""
        return self.members.std(dim=0, correction=1 if len(self.members) > 1 else 0)

    @property
    def aleatoric(self) -> Tensor:
        """(n,) what no model could know: root mean square of the members' noise."""
        return self.noise.square().mean(dim=0).sqrt()

    @property
    def total(self) -> Tensor:
        """(n,) both, their variances added (law of total variance)."""
        return (self.epistemic.square() + self.aleatoric.square()).sqrt()


class ToyEnsemble(nn.Module):
    """M networks side by side, 1 -> width -> width -> (mean, variance); every tensor has a leading member axis."""

    def __init__(self, x: Tensor, y: Tensor, *, members: int, seed: int, width: int = 24, outputs: int = 2) -> None:
        super().__init__()
        # Networks learn numbers around one: both axes are shifted and scaled by what the training data show.
        self.x_scale, self.y_scale = (x.mean(), x.std()), (y.mean(), y.std())
        sizes = ((1, width), (width, width), (width, outputs))
        # Member m depends on (seed, m) alone, so an ensemble of ten begins with the ensemble of five.
        generators = [torch.Generator().manual_seed(1000 * seed + m) for m in range(members)]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for fan_in, fan_out in sizes:
            draws = [torch.randn(fan_in + 1, fan_out, generator=g, dtype=torch.float64) for g in generators]
            gain = 2.0 if fan_in == 1 else fan_in**-0.5  # the first sets how much members may differ off the data
            scaled = gain * torch.stack(draws)
            self.weights.append(nn.Parameter(scaled[:, :-1].contiguous()))
            self.biases.append(nn.Parameter(scaled[:, -1:].contiguous()))

    def outputs(self, x: Tensor) -> Tensor:
        """(M, n, outputs) what the last layers say at x (n,) in Å."""
        hidden = ((x - self.x_scale[0]) / self.x_scale[1]).reshape(1, -1, 1).expand(len(self.weights[0]), -1, 1)
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            hidden = nn.functional.silu(hidden @ weight + bias)
        return hidden @ self.weights[-1] + self.biases[-1]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Means (M, n) and variances of the noise (M, n), in scaled units, at x (n,) in Å."""
        mean, raw = self.outputs(x).unbind(dim=2)
        return mean, nn.functional.softplus(raw) + 1e-4  # positive, with a floor: the likelihood has a pole at zero

    @torch.no_grad()
    def predict(self, x: Tensor) -> ToyPrediction:
        """Predictions in eV at x (n,) in Å."""
        mean, variance = self(x)
        return ToyPrediction(members=self.y_scale[0] + self.y_scale[1] * mean, noise=self.y_scale[1] * variance.sqrt())


class ToyEvidential:
    """M networks that predict a mean and the evidence for it, as `uqlib.methods.evidential` has it."""

    def __init__(self, x: Tensor, y: Tensor, *, members: int, seed: int) -> None:
        self.network = ToyEnsemble(x, y, members=members, seed=seed, outputs=4)

    @torch.no_grad()
    def predict(self, x: Tensor) -> tuple[Tensor, Evidence]:
        """Means (M, n) in eV and the evidence, (M, n) each, its β in eV², at x (n,) in Å."""
        shift, scale = self.network.y_scale
        out = self.network.outputs(x)
        return shift + scale * out[..., 0], evidence(out[..., 1:], scale)


def fit_ensemble(x: Tensor, y: Tensor, *, members: int = 5, seed: int, steps: int = 1000) -> ToyEnsemble:
    """Train M networks that differ only in their initial weights, by maximum likelihood.

    The first half of the steps minimises the squared error, the second half the Gaussian negative log likelihood: a
    network that is still wrong everywhere would otherwise call all of its errors noise, and stop learning.

    Args:
        x: (n,) positions in Å, float64.
        y: (n,) energies in eV, float64.
        members: M, at least 1.
        seed: Of the initial weights.
        steps: Of Adam, each on all data.

    Raises:
        ValueError: Shapes differ, fewer than two points, not finite, or no members or steps.

    Source: D. A. Nix, A. S. Weigend, ICNN 1994; B. Lakshminarayanan, A. Pritzel, C. Blundell, NeurIPS 2017.
    """
    _check(x, y, members, steps)
    model = ToyEnsemble(x, y, members=members, seed=seed)
    target = (y - model.y_scale[0]) / model.y_scale[1]

    def loss(step: int) -> Tensor:
        mean, variance = model(x)
        squared = (mean - target).square()
        return squared if step < steps // 2 else 0.5 * (squared / variance + variance.log())

    _minimise(model, loss, steps)
    return model


def fit_evidential(
    x: Tensor, y: Tensor, *, regulariser: float = 0.1, members: int = 1, seed: int, steps: int = 1000
) -> ToyEvidential:
    """Train M networks that differ only in their initial weights, by the evidential loss; errors as `fit_ensemble`.

    Args:
        x: (n,) positions in Å, float64.
        y: (n,) energies in eV, float64.
        regulariser: The weight λ of misplaced evidence, for energies scaled to a standard deviation of one.
        members: M, at least 1; more than one only to see what chance does.
        seed: Of the initial weights.
        steps: Of Adam, each on all data.

    Source: A. Amini, W. Schwarting, A. Soleimany, D. Rus, NeurIPS 2020, arXiv:1910.02600, eqs. 8 to 10.
    """
    _check(x, y, members, steps)
    model = ToyEvidential(x, y, members=members, seed=seed)
    network = model.network
    target = (y - network.y_scale[0]) / network.y_scale[1]

    def loss(step: int) -> Tensor:
        out = network.outputs(x)
        error, known = out[..., 0] - target, evidence(out[..., 1:], 1.0)
        return student_nll(error.square(), known) + regulariser * misplaced_evidence(error, known)

    _minimise(network, loss, steps)
    return model


def _check(x: Tensor, y: Tensor, members: int, steps: int) -> None:
    if x.shape != y.shape or x.dim() != 1 or len(x) < 2 or not bool(torch.isfinite(x + y).all()):
        raise ValueError(
            f"x has shape {tuple(x.shape)} and y {tuple(y.shape)}, expected the same (n,), n > 1, without NaN; "
            "DoubleWell().sample(...) makes such data"
        )
    if members < 1 or steps < 1:
        raise ValueError(f"members is {members} and steps {steps}, expected at least 1 of each")


def _minimise(model: ToyEnsemble, loss: Callable[[int], Tensor], steps: int) -> None:
    """Adam with a falling learning rate on the loss of a step, (M, n), meaned over points."""
    optimiser = torch.optim.Adam(model.parameters(), lr=0.005, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(steps):
        optimiser.zero_grad()
        loss(step).mean(dim=1).sum().backward()  # summed over members: each is trained as if alone
        optimiser.step()
        schedule.step()
