"""Metatomic files as potentials of ours: those of others against plain formulas, our own against themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import engines
import pytest
import samples
import torch
from samples import batch_of, slopes

from uqlib import methods
from uqlib.interfaces import MetatomicModel, MetatomicPredictor, metatomic
from uqlib.methods.gmm import GaussianMixture
from uqlib.methods.llpr import LastLayer
from uqlib.networks.evaluation import evaluate
from uqlib.prediction import Predictor, WithMembers, predict
from uqlib.structures.batch import Batch

pytestmark = [pytest.mark.filterwarnings(engines.TORCHSCRIPT), engines.needs_metatomic]


def their_file(path: Path, *, dtype: torch.dtype = torch.float64, **options: Any) -> Path:
    metatomic.needed("metatomic.torch")
    import foreign_file

    return foreign_file.write(path, dtype=dtype, **options)


def expected(batch: Batch) -> torch.Tensor:
    import foreign_file

    return foreign_file.member_energies(batch)


def close(a: torch.Tensor | None, b: torch.Tensor | None, tolerance: float = 1e-8) -> None:
    assert a is not None
    assert b is not None
    torch.testing.assert_close(a.double(), b.double(), rtol=tolerance, atol=tolerance, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_file_of_others_is_read_in_our_units(tmp_path: Path, dtype: torch.dtype) -> None:
    """Whatever type it computes in: kJ/mol and nm become eV and Å, half lists and full ones are served."""
    predictor = MetatomicPredictor(their_file(tmp_path / "theirs.pt", dtype=dtype))
    assert isinstance(predictor, Predictor)
    assert isinstance(predictor, WithMembers)
    assert (predictor.dtype, predictor.cutoff) == (dtype, samples.CUTOFF)
    batch = batch_of(*engines.structures().values())
    energies = expected(batch)
    tolerance = 1e-8 if dtype == torch.float64 else 1e-5
    found = predictor.members(batch.to(dtype))
    close(found.energy, energies, tolerance)
    said = predictor.predict(batch.to(dtype))
    close(said.energy, energies.mean(0), tolerance)
    close(said.energy_uncertainty, energies.std(0), tolerance)
    close(said.forces, found.forces.mean(0), tolerance)
    close(said.force_uncertainty, found.forces.double().var(0).mean(-1).sqrt(), tolerance)


def test_forces_and_stress_are_slopes_of_the_plain_formula(tmp_path: Path) -> None:
    predictor = MetatomicPredictor(their_file(tmp_path / "theirs.pt"))
    for atoms in engines.structures().values():
        batch = batch_of(atoms)
        said = predictor.predict(batch)
        close(said.forces, -slopes(lambda b: expected(b).mean(0), batch), 1e-6)
        if atoms.pbc.all():
            strain = torch.zeros(3, 3, dtype=torch.float64)
            for a in range(3):
                for b in range(3):
                    strain.zero_()[a, b] = 1e-5
                    ends = [expected(samples.strained(batch, sign * strain)).mean() for sign in (1, -1)]
                    strain.zero_()[b, a] = 1e-5
                    ends += [expected(samples.strained(batch, sign * strain)).mean() for sign in (1, -1)]
                    tension = (ends[0] - ends[1] + ends[2] - ends[3]) / 4e-5
                    assert said.stress is not None
                    assert float(said.stress[0, a, b]) == pytest.approx(float(tension) / atoms.get_volume(), abs=1e-7)
        else:
            assert said.stress is not None
            assert said.stress.isnan().all()


@pytest.mark.parametrize("name", engines.RECIPES)
def test_our_own_file_says_what_we_say(tmp_path: Path, name: str) -> None:
    ours = engines.fitted(name)
    ours.export(tmp_path / "mine.pt")
    theirs, batch = MetatomicPredictor(tmp_path / "mine.pt"), batch_of(*engines.structures().values())
    a, b = ours.predict(batch), theirs.predict(batch)
    for quantity in ("energy", "forces", "stress", "energy_uncertainty"):
        close(getattr(b, quantity), getattr(a, quantity))
    if name in engines.WITH_MEMBERS:
        members, found = ours.members(batch), theirs.members(batch)
        close(found.energy, members.energy)
        close(found.forces, members.forces)
        close(b.force_uncertainty, members.forces.var(0).mean(-1).sqrt(), 1e-6)
    else:
        close(b.force_uncertainty, a.force_uncertainty)
        with pytest.raises(ValueError, match="has no members"):
            theirs.members(batch)


def test_uncertainty_has_a_slope(tmp_path: Path) -> None:
    """For attacks: through a file, as through the network itself."""
    ours, atoms = engines.fitted("ensemble"), engines.structures()["molecule"]
    ours.export(tmp_path / "mine.pt")
    theirs, batch = MetatomicPredictor(tmp_path / "mine.pt"), batch_of(atoms)
    found = []
    for predictor in (ours, theirs):
        moving = batch.at(batch.positions.clone().requires_grad_(), update_pairs=False)
        sigma = predictor.predict(moving).force_uncertainty
        found.append(torch.autograd.grad(sigma.sum(), moving.positions)[0])
    close(found[1], found[0])


def test_methods_after_training_work_around_it(tmp_path: Path) -> None:
    """The energy is linear in the features, so that LLPR's evaluation is that of the file."""
    path, data = their_file(tmp_path / "theirs.pt"), samples.dataset()
    model = MetatomicModel(path)
    batch = batch_of(*engines.structures().values())
    import foreign_file

    close(evaluate(model, batch).features, foreign_file.features(batch))
    close(evaluate(model, batch).energy, expected(batch).mean(0))
    fitted = LastLayer().fit_to(model, data["train"], data["valid"], seed=0)
    fitted.save(tmp_path / "around.uq")
    again = methods.load(tmp_path / "around.uq", model=MetatomicModel(path))
    said = predict(fitted, data["test"], dtype=torch.float64)
    close(predict(again, data["test"], dtype=torch.float64).energy_uncertainty, said.energy_uncertainty)
    close(predict(fitted.to(torch.float32), data["test"], dtype=torch.float32).forces, said.forces, 1e-4)
    mixture = GaussianMixture(components=1).fit_to(model, data["train"], data["valid"], seed=0)
    assert predict(mixture, data["test"], dtype=torch.float64).unit == "nats"


def test_what_a_file_has_not_got_is_named(tmp_path: Path) -> None:
    energies = their_file(tmp_path / "energies.pt", outputs=("energy",))
    with pytest.raises(ValueError, match=r"the outputs \['energy'\], expected 'energy' and 'energy_ensemble'"):
        MetatomicPredictor(energies)
    with pytest.raises(ValueError, match=r"the outputs \['energy'\], expected 'energy' and 'feature'"):
        MetatomicModel(energies)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        MetatomicPredictor(tmp_path / "nowhere.pt")
    (tmp_path / "text.pt").write_text("no model")
    with pytest.raises(ValueError, match=r"text\.pt: expected a file in the metatomic format"):
        MetatomicPredictor(tmp_path / "text.pt")


def test_a_batch_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    predictor, atoms = MetatomicPredictor(their_file(tmp_path / "theirs.pt")), engines.structures()["molecule"]
    with pytest.raises(ValueError, match=r"reach to 5\.0 Å, this file needs 4\.0 Å"):
        predictor.predict(Batch.from_atoms(atoms, cutoff=5.0, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"in torch\.float32, this file in torch\.float64"):
        predictor.predict(batch_of(atoms, dtype=torch.float32))
    predictor.to(torch.float32).predict(batch_of(atoms, dtype=torch.float32))
    atoms.numbers[0] = 9
    with pytest.raises(ValueError, match=r"atomic_numbers: got \[9\], this file knows \[1, 7, 8\]"):
        predictor.predict(batch_of(atoms))
