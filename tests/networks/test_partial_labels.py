"""Labels of some structures only, and element energies: what is there is learnt, what is not is said."""

from __future__ import annotations

from dataclasses import replace

import ase
import numpy as np
import pytest
import samples
import torch
from ase.calculators.singlepoint import SinglePointCalculator
from samples import BRIEF, batch_of, rattled, small_network

from uqlib.methods.ensemble import Ensemble
from uqlib.networks.evaluation import evaluate
from uqlib.networks.losses import EnergyForceLoss
from uqlib.networks.painn import PaiNN
from uqlib.networks.references import doubtful, set_reference
from uqlib.networks.training import train
from uqlib.prediction import predict
from uqlib.structures import pieces
from uqlib.structures.dataset import Dataset
from uqlib.structures.notices import DataWarning


def only(frame: ase.Atoms, *labels: str) -> ase.Atoms:
    bare = frame.copy()
    bare.calc = SinglePointCalculator(bare, **{name: frame.calc.results[name] for name in labels})  # pyright: ignore
    return bare


def alone(element: str, energy: float, **info: str) -> ase.Atoms:
    atom = ase.Atoms(element, info=info)
    atom.calc = SinglePointCalculator(atom, energy=energy)
    return atom


def test_the_loss_is_that_of_what_has_labels() -> None:
    frames = list(samples.dataset({"all": 4}).atoms)
    network = small_network()
    half = batch_of(only(frames[0], "energy"), only(frames[1], "forces"), frames[2], rattled("O2", 3))
    loss = EnergyForceLoss()(evaluate(network, half), half)
    energies, forces = batch_of(frames[0], frames[2]), batch_of(frames[1], frames[2])
    expected = EnergyForceLoss(force_weight=0.0)(evaluate(network, energies), energies)
    expected += EnergyForceLoss(energy_weight=0.0)(evaluate(network, forces), forces)
    torch.testing.assert_close(loss, expected)


def test_gradients_see_nothing_of_what_is_missing() -> None:
    frames = list(samples.dataset({"all": 2}).atoms)
    batch = batch_of(only(frames[0], "energy"), only(frames[1], "forces"))
    network = PaiNN(elements=[1, 7, 8], **samples.NETWORK).double()  # pyright: ignore[reportArgumentType]
    EnergyForceLoss()(evaluate(network, batch, train=True), batch).backward()
    assert all(bool(p.grad.isfinite().all()) for p in network.parameters() if p.grad is not None)


def mixed() -> Dataset:
    frames = list(samples.dataset({"all": 12}).atoms)
    isolated = [alone(s, e, config_type="isolated_atom") for s, e in (("H", -13.6), ("N", -1485.3), ("O", -2042.6))]
    return Dataset(name="mixed", atoms=(*frames[:8], *isolated, only(frames[8], "energy"), only(frames[9], "forces")))


def test_a_mixture_of_labels_is_trained_on() -> None:
    data = mixed()
    network = PaiNN(elements=data.elements, **samples.NETWORK)  # pyright: ignore[reportArgumentType]
    trained = train(network, data, data.take(range(6, 13)), seed=0, settings=BRIEF, progress=False)
    assert all(np.isfinite(list(row.values())).all() for row in trained.history)
    assert trained.model.atom_energies.tolist() == [-13.6, -1485.3, -2042.6]
    assert not trained.model.doubt.any()


def test_errors_of_validation_are_means_over_all_batches() -> None:
    """The first hundred structures, a batch of their own, have energies; those behind have forces."""
    data = samples.dataset({"all": 130})
    frames = [only(frame, "energy" if index < 105 else "forces") for index, frame in enumerate(data.atoms)]
    valid = Dataset(name="halves", atoms=tuple(frames))
    network = PaiNN(elements=data.elements, **samples.NETWORK)  # pyright: ignore[reportArgumentType]
    trained = train(network, data.take(range(6)), valid, seed=0, settings=BRIEF, progress=False)
    found = evaluate(trained.model, data.batch(cutoff=network.cutoff))
    off = (found.energy.numpy() - data.energies)[:105]
    bend = found.forces.numpy()[-sum(map(len, frames[105:])) :] - data.take(range(105, 130)).forces
    best = min(trained.history, key=lambda row: row["valid_loss"])
    assert best["energy_mae"] == pytest.approx(np.abs(off).mean(), rel=1e-5)
    assert best["force_mae"] == pytest.approx(np.abs(bend).mean(), rel=0.02)  # as structures, not atoms, share it out


def test_a_step_without_any_label_is_none_in_a_large_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs of large sets are found a batch at a time: one of bare structures alone says nothing, and stops nothing."""
    monkeypatch.setattr(pieces, "KEPT_ATOMS", 10)
    data = mixed()
    bare = [frame.copy() for frame in data.atoms[:8]]
    network = PaiNN(elements=data.elements, **samples.NETWORK)  # pyright: ignore[reportArgumentType]
    with pytest.warns(DataWarning, match="8 structures of 'mixed' have no labels"):
        trained = train(
            network,
            replace(data, atoms=(*bare, *data.atoms)),
            data,
            seed=0,
            settings=replace(BRIEF, batch_size=1),
            progress=False,
        )
    assert all(np.isfinite(list(row.values())).all() for row in trained.history)


def test_a_set_of_forces_alone_is_trained_on_and_said_to_be_one() -> None:
    frames = [only(frame, "forces") for frame in samples.dataset({"all": 8}).atoms]
    data = Dataset(name="slopes", atoms=tuple(frames))
    network = PaiNN(elements=data.elements, **samples.NETWORK)  # pyright: ignore[reportArgumentType]
    with pytest.warns(DataWarning, match="'slopes' has no energy; .* up to a constant"):
        trained = train(network, data, data, seed=0, settings=BRIEF, progress=False)
    assert np.isfinite(trained.history[-1]["force_mae"])
    assert np.isnan(trained.history[-1]["energy_mae"])


def test_a_broken_label_is_named_before_training_and_ignored_by_prediction() -> None:
    data = samples.dataset()
    fitted = Ensemble(members=2, network=samples.NETWORK, settings=BRIEF).fit(
        data["train"], data["valid"], seed=0, progress=False
    )
    frames = [frame.copy() for frame in data["test"].atoms]
    frames[2].calc = SinglePointCalculator(frames[2], forces=np.full((len(frames[2]), 3), np.nan))
    broken = Dataset(name="broken", atoms=tuple(frames))
    torch.testing.assert_close(predict(fitted, broken).forces, predict(fitted, data["test"]).forces)
    torch.testing.assert_close(predict(fitted, frames).forces, predict(fitted, broken).forces)
    with pytest.raises(ValueError, match="train: forces of structure 2 of 'broken' is not finite"):
        Ensemble(members=2).fit(broken, data["valid"], seed=0)
    with pytest.raises(TypeError, match=r"train: got a list, expected a Dataset; uqlib\.Dataset"):
        Ensemble(members=2).fit(frames, data["valid"], seed=0)  # pyright: ignore[reportArgumentType]


def test_an_element_that_only_valid_has_is_refused_by_name() -> None:
    data, other = samples.dataset(), samples.dataset(names=("CO",))
    with pytest.raises(ValueError, match=r"valid: .* holds C, which the training set .* does not"):
        Ensemble(members=2).fit(data["train"], other["valid"], seed=0)


def test_names_that_may_be_the_missing_label_stop_training() -> None:
    frames = [only(frame, "energy") for frame in samples.dataset({"all": 4}).atoms]
    for frame in frames:
        frame.arrays["my_forces"] = np.zeros((len(frame), 3))
    data = Dataset(name="odd", atoms=tuple(frames))
    with pytest.raises(ValueError, match="none of forces; it has my_forces: name the one with forces_key"):
        Ensemble(members=2).fit(data, data, seed=0)


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ({}, r"have none of energy and forces$"),
        ({"U0": -40.5, "gap": 0.3, "smiles": "N"}, r"they carry the numbers U0, gap: if one is the energy, name it"),
        ({"group": 3, "charge": 1, "H298": np.float32(-40)}, r"they carry the numbers H298: "),
        ({f"q{k}": float(k) for k in range(15)}, r"q0, q1, .*, q11 and 3 more: "),
    ],
)
def test_without_labels_training_says_which_numbers_there_are(info: dict, words: str) -> None:
    frames = []
    for seed in range(4):
        frame = rattled("NH3", seed)
        frame.calc, frame.info = None, dict(info)
        frames.append(frame)
    recipe = Ensemble(members=2, settings=BRIEF)
    with pytest.raises(ValueError, match=words):
        recipe.fit(Dataset(name="bare", atoms=tuple(frames)), samples.dataset({"v": 2}), seed=0)


def test_compositions_that_training_leaves_open_are_doubted() -> None:
    """Three atoms of H to one of N fix one number of two; the other has the prior's width, an energy per atom."""
    data = samples.dataset({"all": 4}, names=("NH3",))
    network = PaiNN(elements=[1, 7], **samples.NETWORK).double()  # pyright: ignore[reportArgumentType]
    set_reference(network, data)
    sure = torch.full((1,), 0.01, dtype=torch.float64)
    twice = ase.Atoms("NH3NH3", positions=np.vstack([rattled("NH3", 0).positions, rattled("NH3", 1).positions + 9]))
    assert doubtful(network, batch_of(twice), sure) is sure
    per_atom = float(np.abs(data.energies / 4).mean())
    with pytest.warns(DataWarning, match="1 of 1 structures have compositions whose energy the training set does not"):
        found = doubtful(network, batch_of(rattled("N2", 0)), sure)
    assert float(found) == pytest.approx(per_atom * 2 * 3 / 10**0.5, rel=1e-6)  # (0, 2) along what (3, 1) leaves open
    set_reference(network, replace(data, E0={"H": -13.6, "N": -1485.3}))
    assert network.atom_energies.tolist() == [-13.6, -1485.3]
    assert doubtful(network, batch_of(rattled("N2", 0)), sure) is sure


def test_a_file_of_before_has_no_doubt() -> None:
    network = small_network()
    weights = {name: value for name, value in network.state_dict().items() if name != "doubt"}
    again = PaiNN(elements=[1, 7, 8], **samples.NETWORK).double()  # pyright: ignore[reportArgumentType]
    again.load_state_dict(weights)
    assert not again.doubt.any()
    assert torch.equal(again.atom_energies, network.atom_energies)
