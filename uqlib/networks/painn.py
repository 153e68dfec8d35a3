"""PaiNN: from atoms to energies, by messages between neighbours that carry scalars and vectors.

Schütt, Unke, Gastegger, "Equivariant message passing for the prediction of tensorial properties and molecular
spectra", ICML 2021, arXiv:2102.03150; equation numbers below are that paper's.

The network is a function of distances and directions only, so its energies cannot change when a structure is moved
or turned. It may carry several sets of weights at once (`members`): an ensemble of M networks on N atoms is then
written as one network on M·N rows, which costs far less than M calls when the structure is small.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uqlib.structures.batch import DEFAULT_CUTOFF, Batch

# Added to squared lengths of vectors under the root: near symmetric geometries, where vectors vanish, forces would
# have kinks without it, and an atom without neighbours no slope at all. With 1e-8 the kinks were still felt.
SMOOTHING = 1e-4


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """What the network sees of the E pairs, and what the chain rule back to positions needs."""

    basis: Tensor  # (E, R + 1)  radial functions times cutoff, and the cutoff itself
    slope: Tensor  # (E, R + 1)  its derivative with respect to distance, 1/Å
    direction: Tensor  # (E, 3)  unit vectors from i to j
    distance: Tensor  # (E, 1)   Å

    @classmethod
    def of(cls, batch: Batch, radial: int) -> Geometry:
        """Eq. 12: sin(nπd/c)/d for n = 1..R under a cosine cutoff at c. Differentiable where positions are.

        The cutoff stands beside the functions as one more column: a filter's weights then act on R + 1 numbers
        and its bias is damped with the rest, in a single matrix product.
        """
        vector = batch.vectors()
        distance = vector.square().sum(-1, keepdim=True).sqrt()
        frequency = torch.arange(1, radial + 1, dtype=vector.dtype, device=vector.device) * (math.pi / batch.cutoff)
        wave = (frequency * distance).sin() / distance
        wave_slope = (frequency * (frequency * distance).cos() - wave) / distance
        angle = distance * (math.pi / batch.cutoff)
        damping = 0.5 * (angle.cos() + 1)
        damping_slope = -0.5 * math.pi / batch.cutoff * angle.sin()
        return cls(
            basis=torch.cat([wave * damping, damping], dim=-1),
            slope=torch.cat([wave_slope * damping + wave * damping_slope, damping_slope], dim=-1),
            direction=vector / distance,
            distance=distance,
        )


@dataclass(frozen=True, kw_only=True)
class Atomwise:
    """What the network says of each atom. With M members the rows are member after member: M·N of them."""

    energy: Tensor  # (N,) eV, without the reference energies of the elements
    features: Tensor  # (N, F) final scalar features
    heads: Mapping[str, Tensor] = field(default_factory=dict)  # name -> (N, K), before any activation


class Dense(nn.Module):
    """x W + b, or one such map a member: rows of x then lie member after member."""

    def __init__(self, inputs: int, outputs: int, *, members: int | None, bias: bool = True) -> None:
        super().__init__()
        lead = () if members is None else (members,)
        self.weight = nn.Parameter(torch.zeros(*lead, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(*lead, 1, outputs)) if bias else None

    @torch.no_grad()
    def draw(self, random: torch.Generator) -> None:
        """Initial weights, uniform between bounds that keep the size of what passes through."""
        bound = math.sqrt(6 / sum(self.weight.shape[-2:]))
        self.weight.copy_((torch.rand(self.weight.shape, generator=random) * 2 - 1) * bound)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(*self.weight.shape[:-2], -1, x.shape[-1])
        if self.bias is None:
            out = rows @ self.weight
        elif rows.ndim == 2:
            out = torch.addmm(self.bias, rows, self.weight)
        else:
            out = torch.baddbmm(self.bias, rows, self.weight)
        return out.reshape(*x.shape[:-1], self.weight.shape[-1])


class Perceptron(nn.Module):
    """Two dense layers with a SiLU between them."""

    def __init__(self, inputs: int, hidden: int, outputs: int, *, members: int | None) -> None:
        super().__init__()
        self.inner = Dense(inputs, hidden, members=members)
        self.outer = Dense(hidden, outputs, members=members)

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(F.silu(self.inner(x)))


class Message(nn.Module):
    """Eqs. 7 and 8: what an atom hears from its neighbours. The first layer has no vectors to pass on yet."""

    def __init__(self, features: int, radial: int, *, first: bool, members: int | None) -> None:
        super().__init__()
        parts = 2 if first else 3
        self.context = Perceptron(features, features, parts * features, members=members)
        self.filter = Dense(radial + 1, parts * features, members=members, bias=False)

    def forward(
        self, scalars: Tensor, vectors: Tensor | None, i: Tensor, j: Tensor, basis: Tensor, direction: Tensor
    ) -> tuple[Tensor, Tensor]:
        n, width = scalars.shape
        context, weights = self.context(scalars), self.filter(basis)
        heard = context[:, : 2 * width].index_select(0, j) * weights[:, : 2 * width]
        along = direction.unsqueeze(-1) * heard[:, width:].unsqueeze(1)
        if vectors is not None:
            # The gate depends on the sender alone, so it is applied to N vectors before they become E.
            gated = vectors * context[:, None, 2 * width :]
            along = torch.addcmul(along, gated.index_select(0, j), weights[:, None, 2 * width :])
        # index_select and index_add throughout: the backward of x[j] is several times slower on a CPU.
        scalars = scalars.index_add(0, i, heard[:, :width])
        start = scalars.new_zeros(n, 3, width) if vectors is None else vectors
        return scalars, start.index_add(0, i, along)


class Update(nn.Module):
    """Eqs. 9 and 10: an atom mixes its own scalars and vectors. Nobody reads the vectors of the last layer."""

    def __init__(self, features: int, *, last: bool, members: int | None) -> None:
        super().__init__()
        self.mix = Dense(features, 2 * features, members=members, bias=False)
        self.gates = Perceptron(2 * features, features, (2 if last else 3) * features, members=members)
        self.last = last

    def forward(self, scalars: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor | None]:
        width = scalars.shape[-1]
        v, u = self.mix(vectors).split(width, dim=-1)
        length = (v.square().sum(1) + SMOOTHING).sqrt()
        gates = self.gates(torch.cat([scalars, length], dim=-1)).split(width, dim=-1)
        scalars = scalars + gates[0] + gates[1] * (v * u).sum(1)
        return scalars, None if self.last else vectors + gates[2].unsqueeze(1) * u


class PaiNN(nn.Module):
    """The network, with the reference energies and the scale that training sets (`references.set_reference`).

    `elements`: the atomic numbers it may meet. `heads`: further per-atom outputs, name -> number of values, each a
    small perceptron on the final features. `seed`: fixes the initial weights, without touching torch's own generator.
    Raises ValueError for no, repeated or unknown elements, sizes below 1 and a cutoff that is no positive distance.
    """

    species_of_number: Tensor  # (119,)  row of the embedding of each element, -1 where unknown
    atom_energies: Tensor  # (kinds,)  eV, float64
    scale: Tensor  # ()  eV, the size of what the network has to explain
    doubt: Tensor  # (kinds, kinds)  eV, float64: what training left open of compositions, see `references`
    embedding: nn.Parameter  # (kinds, features)
    messages: nn.ModuleList
    updates: nn.ModuleList
    heads: nn.ModuleDict
    trained_on: Mapping[str, Any] | None = None  # as `origin.origin` tells it

    def __init__(
        self,
        *,
        elements: Sequence[int],
        features: int = 64,
        interactions: int = 3,
        radial: int = 20,
        cutoff: float = DEFAULT_CUTOFF,
        heads: Mapping[str, int] | None = None,
        members: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        elements = [int(z) for z in elements]
        if not elements or len(set(elements)) != len(elements) or min(elements) < 1 or max(elements) > 118:
            raise ValueError(f"elements: got {elements}, expected distinct atomic numbers from 1 to 118, at least one")
        if not 0 < cutoff < math.inf:
            raise ValueError(f"cutoff: got {cutoff}, expected a positive distance in Å")
        sizes = {"features": features, "interactions": interactions, "radial": radial}
        sizes |= {} if members is None else {"members": members}
        for name, value in (sizes | dict(heads or {})).items():
            if value < 1:
                raise ValueError(f"{name}: got {value}, expected at least 1")
        self.recipe = {
            "elements": sorted(elements),
            "features": features,
            "interactions": interactions,
            "radial": radial,
            "cutoff": float(cutoff),
            "heads": dict(heads or {}),
            "members": members,
        }
        self.members, self.radial, self.cutoff = members, radial, float(cutoff)
        self.compiled = False  # True: `evaluate` runs it through torch.compile, which pays after minutes of use
        species = torch.full((119,), -1)
        species[sorted(elements)] = torch.arange(len(elements))
        self.register_buffer("species_of_number", species, persistent=False)
        lead = () if members is None else (members,)
        self.register_buffer("atom_energies", torch.zeros(*lead, len(elements), dtype=torch.float64))
        self.register_buffer("scale", torch.ones(lead))
        self.register_buffer("doubt", torch.zeros(*lead, len(elements), len(elements), dtype=torch.float64))
        last = interactions - 1
        random = torch.Generator().manual_seed(seed)  # its own: others may be at work in other threads
        self.embedding = nn.Parameter(torch.randn(*lead, len(elements), features, generator=random))
        self.messages = nn.ModuleList(
            Message(features, radial, first=layer == 0, members=members) for layer in range(interactions)
        )
        self.updates = nn.ModuleList(
            Update(features, last=layer == last, members=members) for layer in range(interactions)
        )
        self.readout = Perceptron(features, max(features // 2, 1), 1, members=members)
        self.heads = nn.ModuleDict(
            {name: Perceptron(features, max(features // 2, 1), size, members=members) for name, size in
             self.recipe["heads"].items()}
        )  # fmt: skip
        for module in self.modules():
            if isinstance(module, Dense):
                module.draw(random)

    def forward(self, species: Tensor, pairs: Tensor, basis: Tensor, direction: Tensor) -> Atomwise:
        """species (N,), pairs (2, E), basis (E, R + 1), direction (E, 3), or M times the rows for M members."""
        i, j = pairs
        scalars, vectors = self.embedding.flatten(0, -2).index_select(0, species), None
        for message, update in zip(self.messages, self.updates, strict=True):
            scalars, vectors = message(scalars, vectors, i, j, basis, direction)
            scalars, vectors = update(scalars, vectors)
        energy = self.readout(scalars).reshape(*self.scale.shape, -1) * self.scale.unsqueeze(-1)
        return Atomwise(
            energy=energy.flatten(), features=scalars, heads={name: head(scalars) for name, head in self.heads.items()}
        )

    @property
    def dtype(self) -> torch.dtype:
        return self.embedding.dtype

    @property
    def device(self) -> torch.device:
        return self.embedding.device

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> PaiNN:
        """As `nn.Module` has it, behind `to`, `double` and so on, but the reference energies stay in float64."""
        exact = self.atom_energies, self.doubt
        super()._apply(fn, recurse)
        self.atom_energies, self.doubt = (tensor.to(self.atom_energies.device) for tensor in exact)
        return self

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *rest: object) -> None:
        """As `nn.Module` has it; files of before there was a `doubt` have none, and say nothing of it."""
        state_dict.setdefault(f"{prefix}doubt", torch.zeros_like(self.doubt))
        super()._load_from_state_dict(state_dict, prefix, *rest)  # pyright: ignore[reportArgumentType]

    def species(self, atomic_numbers: Tensor) -> Tensor:
        """(N,) rows of the embedding. Raises ValueError for elements that the network was not made for."""
        species = self.species_of_number.index_select(0, atomic_numbers)
        if bool((species < 0).any()):
            unknown = sorted(set(atomic_numbers[species < 0].tolist()))
            raise ValueError(
                f"atomic_numbers: got {unknown}, this network knows {self.recipe['elements']}; "
                "make and train one with all elements of your data"
            )
        return species


Network = TypeVar("Network", bound=nn.Module)


def moved(model: Network, device: torch.device | None, dtype: torch.dtype | None) -> Network:
    """A copy of a network on another device and in another floating-point type; None for what stays."""
    model = copy.deepcopy(model)
    model = model if dtype is None else model.to(dtype)
    return model if device is None else model.to(device)
