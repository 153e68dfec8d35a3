"""Monte Carlo dropout: thin out the network at random while it learns, and go on doing so when it predicts.

Gal, Ghahramani, "Dropout as a Bayesian approximation: representing model uncertainty in deep learning", ICML 2016,
arXiv:1506.02142. Each thinned network counts as a draw from an approximate posterior over weights.

A mask here is drawn once for a whole batch, not for each atom or structure: a network of which some hidden units are
missing is still one smooth function of all positions. Its forces are the slope of its energy, and equal atoms have
equal energies.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from uqlib.methods.shared.committee import Committee
from uqlib.methods.shared.recipes import SingleNetwork
from uqlib.networks.evaluation import evaluate
from uqlib.networks.memory import pieces_of
from uqlib.networks.painn import Dense, PaiNN, Perceptron, moved
from uqlib.structures.datasets import Dataset


class Thinning(nn.Module):
    """Weights (inputs, outputs) of which some rows, one for each hidden unit that feeds them, are set to zero."""

    mask: Tensor  # (inputs, 1)

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.register_buffer("mask", torch.ones(inputs, 1), persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.mask


@dataclass(frozen=True, kw_only=True)
class Dropout(SingleNetwork):
    """The recipe: each hidden unit of each perceptron is missing with probability `rate`.

    The prediction comes from `draws` thinned networks, drawn once, at the end of `fit`: a prediction is then the same
    every time, and as smooth as that of an ensemble.
    """

    rate: float = 0.02  # small networks have few units to spare: errors grow quickly with the rate
    draws: int = 16

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1:
            raise ValueError(f"rate: got {self.rate}, expected a probability: 0 < rate < 1")
        if self.draws < 2:
            raise ValueError(f"draws: got {self.draws}, expected at least 2 networks; one has nobody to disagree with")

    def fit(self, train: Dataset, valid: Dataset, *, seed: int, progress: bool = True) -> Committee:
        """Train with a new mask every step; validate and keep the running average of the weights without one."""

        def draw(model: PaiNN, step: int) -> None:
            self.draw_masks(model, np.random.SeedSequence((seed, step)))

        model = prepared(self.untrained(train, valid, seed=seed))
        stage = f"dropout-{self.rate:g}"  # the name keeps apart what a checkpoint itself could not
        trained = self.train_network(model, train, valid, seed=seed, before_step=draw, stage=stage, progress=progress)
        thinned = []
        for number in range(self.draws):
            self.draw_masks(trained.model, np.random.SeedSequence((seed, number, self.draws)))
            thinned.append(referred(finished(trained.model), train))
        return Committee(thinned, histories=[trained.history])

    def draw_masks(self, model: PaiNN, seed: np.random.SeedSequence) -> None:
        """Which units are there, from `seed` alone: a resumed training draws what an uninterrupted one does.

        What is left is divided by 1 - rate, so that sums over units keep their mean.
        """
        random = np.random.default_rng(seed)
        for thinning in thinnings(model):
            kept = random.random(thinning.mask.shape) >= self.rate
            thinning.mask.copy_(torch.as_tensor(kept / (1 - self.rate)))


def prepared(model: PaiNN) -> PaiNN:
    """A copy whose perceptrons can lose hidden units; none is lost yet."""
    model = copy.deepcopy(model)
    for module in _outer_layers(model):
        parametrize.register_parametrization(
            module, "weight", Thinning(module.weight.shape[0]).to(module.weight.device)
        )
    return model


def finished(model: PaiNN) -> PaiNN:
    """A plain network with the weights that the masks of a `prepared` one leave."""
    plain = moved(PaiNN(**model.recipe), model.device, model.dtype)
    missing, _ = plain.load_state_dict(model.state_dict(), strict=False)
    layers = dict(model.named_modules())
    with torch.no_grad():
        for name in missing:
            owner = layers[name.removesuffix(".weight")]
            assert isinstance(owner, Dense)
            plain.get_parameter(name).copy_(owner.weight)
    plain.trained_on = model.trained_on
    return plain


def referred(model: PaiNN, data: Dataset) -> PaiNN:
    """`model` with the reference energies that suit the labels of `data` best, by least squares.

    Missing units shift all energies of a network by about the same, and differently in each: differences that say
    nothing of the structure, and hide those that do.
    """
    if not data.known("energy").any():
        return model
    data = data if data.known("energy").all() else data.having("energy")
    counts, missing = [], []
    for batch in pieces_of(model, data, structures=len(data)):
        assert batch.energy is not None
        kinds = torch.nn.functional.one_hot(model.species(batch.atomic_numbers), len(model.atom_energies)).double()
        start = kinds.new_zeros(batch.n_structures, kinds.shape[1])
        counts.append(start.index_add(0, batch.structure_of_atom, kinds))
        missing.append(batch.energy - evaluate(model, batch).energy)
    model.atom_energies.add_(torch.linalg.pinv(torch.cat(counts)) @ torch.cat(missing))
    return model


def thinnings(model: PaiNN) -> list[Thinning]:
    """Those of a `prepared` network, in the order of its layers."""
    return [module for module in model.modules() if isinstance(module, Thinning)]


def _outer_layers(model: PaiNN) -> list[Dense]:
    return [module.outer for module in model.modules() if isinstance(module, Perceptron)]
