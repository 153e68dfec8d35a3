"""One small network on the double well, and four ways to an error bar without training five of them.

Each is the simplest form of what `uqlib.methods` does with atoms: energies alone, no forces, on one axis.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

RATE = 0.01


@dataclass(frozen=True, kw_only=True)
class Band:
    """What a method says about n points, in eV."""

    mean: Tensor  # (n,)
    std: Tensor  # (n,)
    members: Tensor  # (M, n)  the functions it holds possible, or a few of them

    @classmethod
    def of(cls, members: Tensor) -> Band:
        """Mean and spread of members (M, n)."""
        return cls(mean=members.mean(0), std=members.std(0), members=members)


class ToyNetwork(nn.Module):
    """1 -> width -> width -> outputs. A mask of the last hidden layer may be set, for dropout."""

    def __init__(self, x: Tensor, y: Tensor, *, seed: int, width: int = 24, outputs: int = 1) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(seed)
        self.x_scale, self.y_scale = (x.mean(), x.std()), (y.mean(), y.std())
        shapes = ((2, width), (width + 1, width), (width + 1, outputs))  # one row for the bias
        gains = (2.0, width**-0.5, width**-0.5)
        self.weights = nn.ParameterList(
            gain * torch.randn(*shape, generator=random, dtype=torch.float64)
            for shape, gain in zip(shapes, gains, strict=True)
        )
        self.mask = torch.ones(width, dtype=torch.float64)

    def hidden(self, x: Tensor) -> Tensor:
        """(n, width + 1) what the last layer sees at x (n,) in Å; the last column is the constant 1."""
        h = ((x - self.x_scale[0]) / self.x_scale[1])[:, None]
        for weight in list(self.weights)[:-1]:
            h = nn.functional.silu(h @ weight[:-1] + weight[-1])
        return torch.cat([h * self.mask, torch.ones_like(h[:, :1])], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, outputs) in eV."""
        return self.y_scale[0] + self.y_scale[1] * (self.hidden(x) @ self.weights[-1])


def train_toy(
    network: ToyNetwork,
    x: Tensor,
    y: Tensor,
    *,
    steps: int = 1000,
    loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    before_step: Callable[[int], None] | None = None,
) -> ToyNetwork:
    """Adam on all points, its rate falling along a cosine to zero; changes `network` and returns it.

    `loss` takes the outputs (n, outputs) and y (n,), both in units of the spread of y. Raises ValueError for no steps.
    """
    if steps < 1:
        raise ValueError(f"steps: got {steps}, expected at least 1")
    optimiser = torch.optim.Adam(network.parameters(), lr=RATE, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    shift, size = network.y_scale
    for step in range(steps):
        if before_step is not None:
            before_step(step)
        out = (network(x) - shift) / size
        target = (y - shift) / size
        value = (out[:, 0] - target).square().mean() if loss is None else loss(out, target)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        schedule.step()
    return network


@torch.no_grad()
def rigidity(network: ToyNetwork, x: Tensor, y: Tensor, at: Tensor, *, ridge: float = 1e-6, draws: int = 12) -> Band:
    """Bayesian linear regression on the hidden units of a trained network; its noise is what the network left over."""
    seen, new = network.hidden(x), network.hidden(at)
    curvature = seen.mT @ seen
    curvature += ridge * curvature.trace() / len(curvature) * torch.eye(len(curvature), dtype=curvature.dtype)
    noise = (network(x)[:, 0] - y).square().mean().sqrt()
    root = torch.linalg.inv(torch.linalg.cholesky(curvature)).mT * noise
    random = torch.Generator().manual_seed(0)
    change = new @ root @ torch.randn(root.shape[1], draws, generator=random, dtype=root.dtype)
    mean = network(at)[:, 0]
    return Band(mean=mean, std=(new @ root).square().sum(1).sqrt(), members=mean + change.mT)


def shallow(x: Tensor, y: Tensor, at: Tensor, *, members: int = 12, seed: int, steps: int = 1000) -> Band:
    """One trunk, many last layers, trained by the likelihood of their mean and spread."""

    def loss(out: Tensor, target: Tensor) -> Tensor:
        variance = out.var(1) + 1e-4
        return 0.5 * (variance.log() + (out.mean(1) - target).square() / variance).mean()

    network = train_toy(ToyNetwork(x, y, seed=seed, outputs=members), x, y, steps=steps, loss=loss)
    with torch.no_grad():
        return Band.of(network(at).mT)


def dropout(
    x: Tensor, y: Tensor, at: Tensor, *, rate: float = 0.1, draws: int = 24, seed: int, steps: int = 1000
) -> Band:
    """A new mask of the hidden units every step, and `draws` of them at the end."""
    network, random = ToyNetwork(x, y, seed=seed), torch.Generator().manual_seed(seed)

    def draw(_: int) -> None:
        kept = torch.rand(len(network.mask), generator=random, dtype=torch.float64) >= rate
        network.mask = kept / (1 - rate)

    train_toy(network, x, y, steps=steps, before_step=draw)
    members = []
    with torch.no_grad():
        for number in range(draws):
            draw(number)
            members.append(network(at)[:, 0])
    return Band.of(torch.stack(members))


def snapshots(x: Tensor, y: Tensor, at: Tensor, *, cycles: int = 5, seed: int, steps: int = 1000) -> Band:
    """One training in `cycles` falls of the learning rate, and the network at the end of each."""
    network, members = ToyNetwork(x, y, seed=seed), []
    for _ in range(cycles):
        train_toy(network, x, y, steps=steps // cycles)
        with torch.no_grad():
            members.append(network(at)[:, 0])
    return Band.of(torch.stack(members))
