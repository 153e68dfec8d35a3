"""Every road on a GPU. A pretended one finds tensors that nobody moved; with `-m gpu`, a real one gives its numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import ase
import numpy as np
import pretended
import pytest
import samples
import torch
from ase.calculators.morse import MorsePotential
from samples import rattled
from test_contract import RECIPES
from torch import Tensor, nn

from uqlib import calibration
from uqlib.active_learning import ActiveLearning, Attacked, FromDynamics
from uqlib.attack import attack, screen
from uqlib.calibration import Calibrated, Recalibrated, calibrate
from uqlib.common.devices import as_device, free_memory, targets
from uqlib.dynamics import (
    BondLengths,
    ClosestContact,
    Coordination,
    Langevin,
    NoseHoover,
    PotentialEnergy,
    ShortestDistance,
    Temperature,
    VelocityVerlet,
    simulate,
    thermal_each,
)
from uqlib.interfaces import CalculatorCommittee, ForeignModel, UncertaintyCalculator
from uqlib.methods import EVERY, GaussianMixture, LastLayer, NearestNeighbours, with_stress
from uqlib.methods.shared.committee import Committee
from uqlib.prediction import Prediction, placed, predict
from uqlib.structures.batch import Batch

DATA = samples.dataset({"train": 12, "valid": 4, "test": 4, "more": 9})
COMMITTEE = Committee([samples.small_network(torch.float32, seed=seed) for seed in range(3)])
SEEDS = DATA["test"].take(range(3))
STARTS = thermal_each([rattled("H2O", seed) for seed in range(3)], temperature=300.0, seed=0)
RULES = (BondLengths(longest=9.0, shortest=0.01), ClosestContact(share=0.01), PotentialEnergy(change=50.0),
         Temperature(highest=1e6), ShortestDistance(first="H", second="H", distance=0.01),
         Coordination(centre="O", neighbour="H", within=1.5, allowed=(0, 9)))  # fmt: skip


def pretended_gpu() -> AbstractContextManager[None]:
    return pretended.gpu()


@pytest.fixture(
    params=[
        pytest.param(pretended_gpu, id="pretended"),
        pytest.param(
            nullcontext,
            id="real",
            marks=[
                pytest.mark.gpu,
                pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU on this machine"),
            ],
        ),
    ]
)
def gpu(request: pytest.FixtureRequest) -> Iterator[None]:
    """Both kinds of GPU, one after the other."""
    with request.param():
        yield


def fitted(name: str, device: str) -> Any:
    recipe: Any = replace(RECIPES[name], device=device)  # pyright: ignore[reportArgumentType]
    return recipe.fit(DATA["train"], DATA["valid"], seed=2, progress=False)


def numbers(prediction: Prediction) -> list[Tensor]:
    found = [getattr(prediction, n) for n in ("energy", "forces", "force_uncertainty", "energy_uncertainty", "stress")]
    assert all(value is None or value.device.type == "cpu" for value in found)
    return [value for value in found if value is not None]


def assert_alike(a: Prediction, b: Prediction) -> None:
    for mine, other in zip(numbers(a), numbers(b), strict=True):
        torch.testing.assert_close(mine, other, rtol=2e-3, atol=2e-4, equal_nan=True)


def calibrated(predictor: Any, kind: Any = "affine") -> Calibrated:
    return Calibrated(predictor, calibrate(kind, predict(predictor, DATA["more"]), DATA["more"], per_element=True))


def attacked(predictor: Any, **options: Any) -> np.ndarray:
    options = {"temperature": 1000.0, "steps": 2, "seed": 1} | options
    found = attack(predictor, SEEDS, DATA["train"], **options)
    assert found.uncertainty.device.type == found.atom_uncertainty[0].device.type == "cpu"
    return np.concatenate([frame.positions for frame in found.structures])


def flown(predictor: Any, integrator: Any, **options: Any) -> np.ndarray:
    options = {"steps": 4, "every": 2, "seed": 1, "timestep": 0.2, "rules": RULES, "progress": False} | options
    return simulate(predictor, STARTS, integrator=integrator, **options).positions


def asked(predictor: Any, **options: Any) -> np.ndarray:
    atoms = rattled("NH3", 3)
    atoms.calc = UncertaintyCalculator(predictor, **options)
    return atoms.get_forces()


@pytest.mark.parametrize("name", EVERY)
def test_every_method_goes_all_its_ways(gpu: None, name: str, tmp_path: Path) -> None:
    here, there = fitted(name, "cpu"), fitted(name, "cuda")
    assert (here.device.type, there.device.type) == ("cpu", "cuda")
    assert there.dtype == here.dtype == torch.float32
    test = DATA["test"]
    assert_alike(predict(there, test), predict(here, test))
    assert_alike(predict(here, test, device="cuda", dtype="float64"), predict(here, test, dtype="float64"))
    assert_alike(predict(there, test, device="cpu"), predict(here, test))
    maps = calibrated(here).calibrator  # one and the same: those of another fit would differ by more than rounding
    here, there = Calibrated(here, maps), Calibrated(there, calibrated(there).calibrator)
    there = Calibrated(there.predictor, maps)
    assert_alike(predict(there, test), predict(here, test))
    assert_alike(maps(predict(there.predictor, test), test.batch().to("cuda")), predict(here, test))
    np.testing.assert_allclose(attacked(there), attacked(here), atol=2e-3)
    np.testing.assert_allclose(
        flown(there, Langevin(temperature=300.0)), flown(here, Langevin(temperature=300.0)), atol=1e-3
    )
    np.testing.assert_allclose(asked(there), asked(here), atol=1e-3)
    np.testing.assert_allclose(asked(here, device="cuda", dtype="float64"), asked(here, dtype="float64"), atol=1e-6)
    there.save(tmp_path / "there.uq")
    loaded = calibration.load(tmp_path / "there.uq")
    assert loaded.device.type == "cpu"
    assert calibration.load(tmp_path / "there.uq", device="auto").device.type == "cuda"
    assert_alike(predict(loaded, test), predict(here, test))
    assert placed(there, device="cuda") is there
    assert there.to("cpu", torch.float64).dtype == there.to(dtype="float64", device="cpu").dtype == torch.float64


@pytest.mark.parametrize("name", ["ensemble", "mve", "evidential", "llpr", "shallow"])
def test_stress_is_learnt_there_too(gpu: None, name: str) -> None:
    data = samples.with_cells({"train": 8, "valid": 4, "test": 4})
    found = []
    for device in ("cpu", "cuda"):
        recipe = with_stress(replace(RECIPES[name], device=device))  # pyright: ignore[reportArgumentType]
        predictor = recipe.fit(data["train"], data["valid"], seed=2, progress=False)
        said = predict(predictor, data["test"])
        found.append((said, calibrate("scalar", said, data["test"])(said, data["test"].batch())))
    for here, there in zip(*found, strict=True):
        assert_alike(there, here)
        assert here.stress_uncertainty is not None
        assert there.stress_uncertainty is not None
        torch.testing.assert_close(
            there.stress_uncertainty, here.stress_uncertainty, rtol=5e-2, atol=2e-4, equal_nan=True
        )


@pytest.mark.parametrize("kind", ["scalar", "isotonic", "conformal"])
def test_every_kind_of_map(gpu: None, kind: str) -> None:
    here, there = COMMITTEE, COMMITTEE.to("cuda")
    options = {"level": 0.5} if kind == "conformal" else {}
    maps = calibrate(kind, predict(there, DATA["more"]), DATA["more"], **options)  # pyright: ignore[reportArgumentType]
    assert_alike(predict(Calibrated(there, maps), DATA["test"]), predict(Calibrated(here, maps), DATA["test"]))


@pytest.mark.parametrize("integrator", [VelocityVerlet(), NoseHoover(temperature=300.0)], ids=["NVE", "Nosé-Hoover"])
def test_every_integrator_and_replicas_that_leave(gpu: None, integrator: Any) -> None:
    """The uncertainty that stops some lies between those of the replicas; the others go on with their own pairs."""
    options = {"skin": 0.02, "steps": 6, "stop_above": stop_between(integrator)}
    found = flown(COMMITTEE, integrator, device="cuda", **options)
    np.testing.assert_allclose(found, flown(COMMITTEE, integrator, **options), atol=1e-3)
    assert np.isnan(found[-1]).any()
    assert np.isfinite(found[-1]).any()


def stop_between(integrator: Any) -> float:
    """An uncertainty that one of three replicas exceeds."""
    found = simulate(COMMITTEE, STARTS, integrator=integrator, steps=6, seed=1, timestep=0.2, every=1, progress=False)
    return float(np.sort(found.uncertainty.max(0))[1:].mean())


def test_attacks_on_cells_and_screening(gpu: None) -> None:
    """Strained cells, an attack that stops, and candidates that are held against known structures."""
    cells = DATA["test"].take([0])
    cells = replace(cells, atoms=(*cells.atoms, samples.label(samples.crystal())))
    options: Any = {"temperature": 1000.0, "steps": 2, "seed": 0, "strain": True}
    here, there = (attack(COMMITTEE, cells, DATA["train"], device=d, **options) for d in ("cpu", "cuda"))
    torch.testing.assert_close(there.uncertainty, here.uncertainty, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(there.structures[1].cell, here.structures[1].cell, atol=1e-3)
    known = DATA["train"]
    orders = [screen(COMMITTEE, here.structures, known, device=device).order for device in ("cpu", "cuda")]
    assert orders[0] == orders[1]


class Sixth(nn.Module):
    """A network of somebody else: energies from powers of distances, by weights that it keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(0.5, 1.0, 4))

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        distance = batch.vectors().norm(dim=1, keepdim=True)
        smooth = (1 - distance / batch.cutoff).square() * torch.cat([distance**-k for k in range(1, 5)], dim=1)
        start = smooth.new_zeros(batch.n_atoms, 4)
        features = start.index_add(0, batch.pairs[0], smooth) * (1 + batch.atomic_numbers[:, None]) ** 0.5
        energy = features.new_zeros(batch.n_structures).index_add(0, batch.structure_of_atom, features @ self.weight)
        return energy, features


@pytest.mark.parametrize("recipe", [LastLayer(), GaussianMixture(), NearestNeighbours()], ids=["llpr", "gmm", "knn"])
def test_networks_from_elsewhere(gpu: None, recipe: Any, tmp_path: Path) -> None:
    networks = [ForeignModel(Sixth(), elements=[1, 7, 8], cutoff=samples.CUTOFF).to(d) for d in ("cpu", "cuda")]
    here, there = (recipe.fit_to(network, DATA["train"], DATA["valid"], seed=0) for network in networks)
    assert there.device.type == "cuda"
    assert_alike(predict(there, DATA["test"]), predict(here, DATA["test"], device="cuda"))
    there.save(tmp_path / "foreign.uq")
    loaded = calibration.load(tmp_path / "foreign.uq", model=ForeignModel(Sixth(), elements=[1, 7, 8], cutoff=4.0))
    assert_alike(predict(loaded, DATA["test"]), predict(here, DATA["test"]))


def test_calculators_answer_from_the_cpu(gpu: None) -> None:
    """They know no devices: what they say goes to where the batch is."""
    members = CalculatorCommittee([MorsePotential(r0=1.4), MorsePotential(r0=1.5)]).referred_to(DATA["train"])
    assert members.dtype == torch.float64
    p = members.to("cuda", torch.float32).predict(DATA["test"].batch(cutoff=members.cutoff).to("cuda"))
    assert (p.energy.device.type, p.forces.device.type, p.forces.dtype) == ("cuda", "cuda", torch.float32)
    assert_alike(predict(members, DATA["test"], device="cuda"), predict(members, DATA["test"]))


class Morse:
    """The oracle of the active learning below."""

    def label(self, atoms: ase.Atoms) -> ase.Atoms:
        return samples.label(atoms)

    def __repr__(self) -> str:
        return "Morse"


@pytest.mark.parametrize(
    "propose",
    [Attacked(steps=2, percentile=0.0, rmsd=0.0), FromDynamics(steps=4, trajectories=2, percentile=0.0, rmsd=0.0)],
    ids=["attack", "dynamics"],
)
def test_active_learning(gpu: None, propose: Any, tmp_path: Path) -> None:
    """Folders do not say where they were made: one that was begun on a GPU is gone on with on a CPU."""
    method = Recalibrated(method=RECIPES["ensemble"], kind="scalar")
    recipe = ActiveLearning(method=method, oracle=Morse(), propose=propose, generations=1, labels=2)  # pyright: ignore[reportArgumentType]
    options: Any = {"seed": 0, "progress": False}
    there = recipe.run(DATA["train"], DATA["valid"], folder=tmp_path / "there", device="cuda", **options)
    again = recipe.run(DATA["train"], DATA["valid"], folder=tmp_path / "there", **options)
    assert len(there.generations) == 2
    assert [g.candidates for g in there.generations] == [g.candidates for g in again.generations]


def test_members_go_along() -> None:
    """The network that carries all of them, too; and members in two places are no committee."""
    moved = COMMITTEE.to("meta", torch.float64)
    assert {m.device.type for m in (*moved.models, moved._together)} == {"meta"}
    assert {m.dtype for m in (*moved.models, moved._together)} == {torch.float64}
    assert COMMITTEE.device.type == "cpu"
    with pytest.raises(ValueError, match="expected one type and one device"):
        Committee([COMMITTEE.models[0], moved.models[1]])


def test_what_is_asked_for() -> None:
    assert targets(("cpu", "float64")) == targets((torch.float64, torch.device("cpu")))
    assert targets((), device="auto", dtype="float32")[1] == torch.float32
    assert targets(()) == (None, None)
    for given, words in (
        (("float32", torch.float64), "dtype: got float32 and torch.float64, expected one"),
        (("cpu", "meta"), "device: got cpu and meta, expected one"),
        ((torch.float16,), r"dtype: got torch.float16, expected torch\.float32 or torch\.float64"),
        (("graphics card",), 'device: got \'graphics card\', expected "auto", "cpu", "cuda"'),
    ):
        with pytest.raises(ValueError, match=words):
            targets(given)  # pyright: ignore[reportArgumentType]
    with pretended.gpu():
        assert as_device("auto").type == "cuda"
        assert free_memory("cuda") == 10**10
        with pytest.raises(ValueError, match="device: got 'cuda:3', but there are only 1 GPUs"):
            as_device("cuda:3")
    assert free_memory() > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there() -> None:
    assert as_device("auto").type == "cpu"
    with pytest.raises(ValueError, match="device: got 'cuda', but torch sees no GPU on this machine"):
        predict(COMMITTEE, DATA["test"], device="cuda")


def test_a_batch_in_the_wrong_place() -> None:
    with pretended.gpu(), pytest.raises(ValueError, match="batch: it is on cpu, this network on cuda:0"):
        COMMITTEE.to("cuda").predict(DATA["test"].batch(cutoff=samples.CUTOFF))


FORGOTTEN: dict[str, Callable[[Tensor, Tensor], object]] = {
    "a sum": lambda there, here: there + here,
    "an index": lambda there, here: there[here.long()],
    "an index the other way": lambda there, here: here[there.long()],
    "a look-up": lambda there, here: there.index_select(0, here.long()),
    "numpy": lambda there, here: there.numpy(),
    "an array": lambda there, here: np.asarray(there),
    "a new tensor": lambda there, here: torch.cat([there, torch.zeros(2)]),
    "random numbers": lambda there, here: torch.rand(2, device=there.device, generator=torch.Generator()),
    "a copy of a copy": lambda there, here: there.double().mT.clone() @ here.double(),
    "a gradient": lambda there, here: (there.clone().requires_grad_() * 2).sum().backward(here),
}


@pytest.mark.parametrize("what", FORGOTTEN)
def test_the_pretended_gpu_notices(what: str) -> None:
    with pretended.gpu():
        here = torch.ones(2)
        there = here.to("cuda")
        with pytest.raises((RuntimeError, TypeError)):
            FORGOTTEN[what](there, here)
        assert (there * torch.tensor(2.0)).cpu().tolist() == [2.0, 2.0]  # numbers without axes may meet, as on a GPU
        assert torch.as_tensor(np.ones(2), device=there.device).add(there).device.type == "cuda"
