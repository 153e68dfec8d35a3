"""A predictor around one network, which says for it what its batches have to be."""

from __future__ import annotations

from typing import Generic, TypeVar

import torch

from uqlib.networks.evaluation import OtherNetwork
from uqlib.networks.memory import bytes_per_pair
from uqlib.networks.painn import PaiNN

Network = TypeVar("Network", bound=PaiNN | OtherNetwork)


class OfOneNetwork(Generic[Network]):
    """Its energies, forces and stress are those of `model`, whatever its uncertainty is."""

    model: Network

    @property
    def cutoff(self) -> float:
        """Å, of the neighbour pairs it wants to see."""
        return self.model.cutoff

    @property
    def dtype(self) -> torch.dtype:
        """Of the positions it wants to see."""
        return self.model.dtype

    @property
    def device(self) -> torch.device:
        """On which the batch has to be."""
        return self.model.device

    @property
    def bytes_per_pair(self) -> int:
        """Of memory, about, that a directed pair takes in a prediction."""
        return bytes_per_pair(self.model)
