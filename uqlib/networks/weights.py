"""A network's weights as plain tensors, by their part in the equations: what `fast_painn` computes with."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from uqlib.networks.painn import Message, PaiNN, Perceptron, Update


class Linear(NamedTuple):
    """A dense layer: x W + b."""

    weight: Tensor  # ([M,] inputs, outputs)
    bias: Tensor | None  # ([M, 1,] outputs)


class Layer(NamedTuple):
    """Weights of one message and one update."""

    context: tuple[Linear, Linear]
    filter: Tensor
    mix: Tensor
    gates: tuple[Linear, Linear]


class Weights(NamedTuple):
    """All weights that energies depend on: the module's own tensors, no copies."""

    embedding: Tensor
    layers: tuple[Layer, ...]
    readout: tuple[Linear, Linear]
    scale: Tensor

    @classmethod
    def of(cls, model: PaiNN) -> Weights:
        layers = []
        for message, update in zip(model.messages, model.updates, strict=True):
            assert isinstance(message, Message)
            assert isinstance(update, Update)
            layers.append(
                Layer(_perceptron(message.context), message.filter.weight, update.mix.weight, _perceptron(update.gates))
            )
        return cls(model.embedding, tuple(layers), _perceptron(model.readout), model.scale)


def _perceptron(module: Perceptron) -> tuple[Linear, Linear]:
    inner, outer = module.inner, module.outer
    return Linear(inner.weight, inner.bias), Linear(outer.weight, outer.bias)
