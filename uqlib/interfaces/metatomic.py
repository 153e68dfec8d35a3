"""One file that simulation programs run: a predictor written in the metatomic format.

A metatomic file (https://docs.metatensor.org/metatomic) is TorchScript with a description of what goes in and out. ASE,
i-PI, LAMMPS, eOn, PLUMED and torch-sim run it, without this library. Outputs of ours:

* `energy`: of a structure, or of each atom, eV. Engines make forces and stress from it by autograd;
* `energy_uncertainty`: one standard deviation, of a structure or of each atom, eV;
* `energy_ensemble`: of each member, eV, where the method has members;
* `feature`: final scalar features of each atom, those of all networks side by side;
* `uqlib::force_uncertainty`: of each atom, eV/Å, where the network itself says it (MVE, evidential). Of an ensemble it
  is the spread of the members' forces, which an engine makes from `energy_ensemble`.

Files speak float64, whatever the network computes in: energies of all electrons are thousands of eV, and float32 would
cut them off after a tenth of a meV. The network is `PaiNN` itself, traced: every size in it is a matter of the input.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from uqlib.common import storage
from uqlib.networks.painn import PaiNN

FORCE_UNCERTAINTY = "uqlib::force_uncertainty"  # metatomic has no name for it


class AtomTerms(nn.Module):
    """What a file says of each atom: by itself that of the M networks that `network` carries.

    A method whose uncertainty comes from one network overrides `uncertainty`. The network is copied.
    """

    def __init__(self, network: PaiNN) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(False).eval().to("cpu")

    def forward(
        self, species: Tensor, pairs: Tensor, basis: Tensor, direction: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Energies (M, N) eV without references, features (M, N, F), deviations (N, K) eV, spread (N, 2).

        Arguments as those of `PaiNN.forward`. Deviations are changes of an atom's energy, each a standard deviation
        long and independent of the others; the spread is one of the force, eV/Å, and one of the energy, eV. What a
        method has not got has no columns.
        """
        found = self.network(species, pairs, basis, direction)
        members = self.network.members or 1
        features = found.features.unflatten(0, (members, -1))
        deviations, spread = self.uncertainty(features[0], found.heads)
        return found.energy.unflatten(0, (members, -1)), features, deviations, spread

    def uncertainty(self, features: Tensor, heads: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Deviations and spread from the features (N, F) and the heads (N, ...)."""
        return features[:, :0], features[:, :0]


def write(
    terms: AtomTerms, path: str | Path, *, kind: str, samples: Tensor | None = None, description: str = ""
) -> None:
    """Write `terms` as a metatomic file at `path`, whole or not at all.

    Args:
        terms: Of the method.
        path: "mine.pt". An older file is replaced when the new one is complete.
        kind: Of method, in words; it stands in the file.
        samples: (K, number of members): members as sums of the K deviations, where the method has these.
        description: For whoever asks the file what it is.

    Raises:
        ValueError: The extra `engines` is not installed.
        OSError: The file cannot be written.
    """
    engines = needed("metatomic.torch")
    from uqlib.interfaces.metatomic_module import EngineModule

    network = terms.network
    references = network.atom_energies.detach().reshape(network.members or 1, -1)
    traced = _traced(terms)
    module = EngineModule(
        traced,
        species_of_number=network.species_of_number,
        atom_energies=references,
        samples=torch.zeros(0, 0, dtype=torch.float64) if samples is None else samples.double(),
        cutoff=network.cutoff,
        radial=network.radial,
        dtype=network.dtype,
    ).eval()
    with_members = (network.members or 1) > 1 or samples is not None
    capabilities = engines.ModelCapabilities(
        outputs=_outputs(engines, with_members=with_members, with_spread=kind in ("mve", "evidential")),
        atomic_types=network.recipe["elements"],
        interaction_range=network.cutoff * network.recipe["interactions"],
        length_unit="angstrom",
        supported_devices=["cpu", "cuda"],
        dtype="float64",
    )
    metadata = engines.ModelMetadata(name=f"uqlib: {kind}", description=description)
    with storage.own_folder("exported") as folder:
        whole = folder / "exported.pt"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            engines.AtomisticModel(module, metadata, capabilities).save(whole)
        content = whole.read_bytes()
    storage.write_atomically(Path(path), content)


def needed(name: str) -> ModuleType:
    """A module of the extra `engines`. Raises ValueError where it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript as such; the format is made of it
            return import_module(name)
    except ImportError as error:
        raise ValueError(
            f"{name.split('.')[0]} is not installed ({error}), and is needed for files that engines run: "
            'pip install "uqlib[engines]"'
        ) from error


def _traced(terms: AtomTerms) -> nn.Module:
    """`terms` as TorchScript, from a look at two atoms; checked on three, one of them alone in space."""
    network = terms.network

    def example(atoms: int) -> tuple[Tensor, ...]:
        members = network.members or 1
        pairs = torch.tensor([[0, 1], [1, 0]])
        shift = atoms * torch.arange(members)[:, None]
        width = network.radial + 1
        basis = torch.linspace(0.1, 1.0, 2 * width, dtype=network.dtype).reshape(2, width)
        direction = torch.tensor([[0.6, 0.0, 0.8], [-0.6, 0.0, -0.8]], dtype=network.dtype)
        species = torch.zeros(members * atoms, dtype=torch.long)
        return species, (pairs[:, None] + shift).flatten(1), basis.repeat(members, 1), direction.repeat(members, 1)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        # It doubts what becomes a constant: widths of layers, and the two rows of `pairs`. These are constants.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # pyright: ignore[reportPrivateImportUsage]
        return torch.jit.trace(terms.eval(), example(2), check_inputs=[example(3)])  # pyright: ignore[reportReturnType]


def _outputs(engines: ModuleType, *, with_members: bool, with_spread: bool) -> dict[str, object]:
    """What the file offers. Whatever is there for atoms is there for structures, too."""

    def output(unit: str, description: str) -> object:
        return engines.ModelOutput(unit=unit, sample_kind="atom", description=description)

    found = {
        "energy": output("eV", "mean of the members, where there are some"),
        "energy_uncertainty": output("eV", "one standard deviation"),
        "feature": output("", "final scalar features; of a structure, their sum over atoms"),
    }
    if with_members:
        found["energy_ensemble"] = output("eV", "one energy a member")
    if with_spread:
        found[FORCE_UNCERTAINTY] = output("eV/Angstrom", "one standard deviation of a component of an atom's force")
    return found
