"""Released potentials whose weights come with their package, as networks for the methods that need no training.

`chgnet` (Deng et al., Nat. Mach. Intell. 5, 1031 (2023)) and `sevennet` (Park et al., J. Chem. Theory Comput. 20, 4857
(2024)): no hub and no download. Install the extra `released`. Features are what enters the last layer, so that
`LastLayer`, `GaussianMixture` and `NearestNeighbours` take them as they are.

A released potential comes without the data that trained it. A method that measures the distance to its training data
has then nothing to measure from. Fit it to structures of your own: it says how far a structure is from *these*. And its
energies count from another zero than yours: `referred_to`.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from uqlib.interfaces.model import ForeignModel
from uqlib.networks.memory import pieces_of
from uqlib.structures.batch import Batch
from uqlib.structures.dataset import Dataset

CHGNETS = ("0.3.0", "0.2.0", "r2scan")
SEVENNETS = ("7net-0", "7net-0_22May2024", "7net-l3i5")
BOX = 15.0  # Å, beyond a molecule on all sides, where a package knows no molecules
SEVENNET_PAIR = 160_000  # bytes for each directed pair, forces included, measured on silica and rounded up
MISSING = '{name}: the package is not installed; pip install "uqlib[released]"'


def chgnet(weights: Literal["0.3.0", "0.2.0", "r2scan"] = "0.3.0") -> ForeignModel:
    """CHGNet, in float32 on the CPU: trained on relaxations of crystals (MPtrj, PBE+U; "r2scan": r²SCAN). BSD licence.

    Features: (N, 64). Takes structures that are periodic in all directions, and molecules, which it puts into a box.
    Raises ImportError without the extra `released`, ValueError for other weights.
    """
    if weights not in CHGNETS:
        raise ValueError(f"weights: got {weights!r}, expected one of {CHGNETS}")
    with _their_own_words():
        try:
            from chgnet.model.model import CHGNet  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise ImportError(MISSING.format(name="chgnet")) from error
        with contextlib.redirect_stdout(None):
            network = CHGNet.load(model_name=weights, use_device="cpu", verbose=False)
    cutoff = float(network.graph_converter.atom_graph_cutoff)
    return ForeignModel(_CHGNet(network), elements=range(1, 95), cutoff=cutoff)


def sevennet(weights: str = "7net-0") -> ForeignModel:
    """SevenNet, in float32 on the CPU: trained on relaxations of crystals (MPtrj, PBE+U). MIT licence.

    Features: (N, 64). Raises ImportError without the extra `released`, ValueError for other weights.
    """
    if weights not in SEVENNETS:
        raise ValueError(f"weights: got {weights!r}, expected one of {SEVENNETS}, which come with the package")
    with _their_own_words():
        try:
            from sevenn.util import load_checkpoint  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise ImportError(MISSING.format(name="sevenn")) from error
        network = load_checkpoint(weights).build_model()
    network.delete_module_by_key("force_output")  # forces are made here
    found = ForeignModel(_SevenNet(network), elements=sorted(network.type_map or ()), cutoff=float(network.cutoff))
    found.bytes_per_pair = SEVENNET_PAIR
    return found


def referred_to(model: ForeignModel, data: Dataset) -> ForeignModel:
    """The same network with its energies counted from the zero of the labels of `data`; forces and stress stay.

    One energy for each element, by least squares over the structures; elements that always occur in the same proportion
    share what there is. Raises ValueError where a structure of `data` has no energy.
    """
    labels = data.energies
    energies = torch.cat([model.evaluate(batch).energy.cpu() for batch in pieces_of(model, data, structures=1)])
    elements = sorted(data.elements)
    counts = np.array([[np.sum(frame.numbers == z) for z in elements] for frame in data.atoms], dtype=float)
    shift = np.linalg.lstsq(counts, labels - energies.numpy(), rcond=None)[0]
    module = _Referred(model.module, dict(zip(elements, shift.tolist(), strict=True)))
    found = ForeignModel(module, elements=model.elements, cutoff=model.cutoff)
    found.trained_on, found.bytes_per_pair = model.trained_on, model.bytes_per_pair
    return found


@contextlib.contextmanager
def _their_own_words() -> Iterator[None]:
    """What the packages, and those that they import, warn of while they load: nothing that a user could change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class _Referred(nn.Module):
    """A module's energies, and one energy more for each atom of an element; zero for elements without one."""

    def __init__(self, module: nn.Module, shifts: Mapping[int, float]) -> None:
        super().__init__()
        self.module, self.shifts = module, dict(shifts)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        energy, features = self.module(batch)
        table = torch.zeros(119, dtype=torch.float64, device=energy.device)
        table[list(self.shifts)] = torch.tensor(list(self.shifts.values()), dtype=torch.float64, device=energy.device)
        own = table[batch.atomic_numbers]
        return energy.double().index_add(0, batch.structure_of_atom, own), features


class _SevenNet(nn.Module):
    def __init__(self, network: Any) -> None:
        super().__init__()
        network.set_is_batch_data(True)
        self.network = network
        for module in network.modules():
            if type(module).__name__ == "OnehotEmbedding":
                module.register_forward_hook(_as_the_vectors)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The neighbours of the batch, seen from the other side: there a message goes from the first to the second."""
        vectors = batch.vectors()
        said: dict[str, Any] = {
            "atomic_numbers": batch.atomic_numbers,
            "edge_index": batch.pairs,
            "edge_vec": vectors,
            "edge_length": vectors.norm(dim=1),
            "batch": batch.structure_of_atom,
            "num_atoms": batch.atoms_per_structure,
        }
        kept: list[Tensor] = []
        last = self.network._modules["reduce_hidden_to_energy"]
        hook = last.register_forward_pre_hook(lambda _, given: kept.append(given[0]["x"]))
        try:
            energy = self.network(said)["inferred_total_energy"]
        finally:
            hook.remove()
        return energy.reshape(-1), kept[0]


def _as_the_vectors(module: Any, given: Any, said: Any) -> Any:
    """SevenNet makes its first features in single precision, whatever it computes in."""
    for name in (module.key_output, module.key_additional_output):
        if name is not None:
            said[name] = said[name].to(said["edge_vec"].dtype)
    return said


class _CHGNet(nn.Module):
    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Its own search for neighbours, and our positions and cells, so that both have a slope."""
        if batch.positions.dtype != torch.float32:
            raise ValueError(f"batch: it is in {batch.positions.dtype}, and CHGNet computes in torch.float32 alone")
        sizes = batch.atoms_per_structure.tolist()
        graphs = [
            self._graph(positions, numbers, cell)
            for positions, numbers, cell in zip(
                batch.positions.split(sizes), batch.atomic_numbers.split(sizes), batch.cell, strict=True
            )
        ]
        kept: list[Tensor] = []
        last = [layer for layer in self.network.mlp.modules() if isinstance(layer, nn.Linear)][-1]
        hook = last.register_forward_pre_hook(lambda _, given: kept.append(given[0]))
        try:
            with warnings.catch_warnings():  # it makes a number of the volume, which has a slope
                warnings.filterwarnings("ignore", "Converting a tensor with requires_grad")
                energy = self.network(graphs, task="e")["e"]
        finally:
            hook.remove()
        intensive = batch.atoms_per_structure if self.network.is_intensive else 1
        return energy * intensive, kept[0]

    def _graph(self, positions: Tensor, numbers: Tensor, cell: Tensor) -> Any:
        with _their_own_words():
            from pymatgen.core import Structure  # pyright: ignore[reportMissingImports]

        periodic = cell.detach().abs().sum(dim=1) > 0
        if not periodic.any():
            size = float((positions.detach().amax(0) - positions.detach().amin(0)).max()) + BOX
            cell = size * torch.eye(3, dtype=cell.dtype, device=cell.device)
        elif not periodic.all():
            raise ValueError(
                f"batch: a structure is periodic along {periodic.tolist()}, and CHGNet knows crystals alone; give it a "
                "cell with enough vacuum"
            )
        fractions = positions @ torch.linalg.inv(cell)
        structure = Structure(
            cell.detach().cpu().double().numpy(), numbers.tolist(), fractions.detach().cpu().double().numpy()
        )
        graph = self.network.graph_converter(structure)
        graph.atom_frac_coord, graph.lattice = fractions, cell
        return graph
