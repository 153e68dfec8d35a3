"""The report: every number is the one that the metric alone gives, errors are grouped, and rankings stay rankings."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import samples
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from torch import Tensor

from uqlib import metrics
from uqlib.metrics import FULL_NAME, METRICS, Estimate, Report, report
from uqlib.metrics.suite import roc_name
from uqlib.prediction import Prediction
from uqlib.show import plots
from uqlib.structures.batch import Batch
from uqlib.structures.datasets import Dataset
from uqlib.study import scoring


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def uniform(n: int, *, seed: int) -> Tensor:
    return torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def batch_and_prediction(structures: int = 40, *, seed: int = 0, inflate: float = 1.0) -> tuple[Batch, Prediction]:
    """Water and ammonia, and a perfectly calibrated prediction whose error bars are then multiplied by `inflate`."""
    frames = [samples.label(samples.rattled(("H2O", "NH3")[k % 2], 1000 * seed + k)) for k in range(structures)]
    batch = Batch.from_atoms(frames, cutoff=4.0, dtype=torch.float64)
    assert batch.energy is not None
    assert batch.forces is not None
    spread, of_force = 0.01 + 0.1 * uniform(structures, seed=seed), 0.05 + uniform(batch.n_atoms, seed=seed + 1)
    prediction = Prediction(
        energy=batch.energy + spread * normal(structures, seed=seed + 2),
        forces=batch.forces + of_force[:, None] * normal(batch.n_atoms, 3, seed=seed + 3),
        force_uncertainty=inflate * of_force,
        energy_uncertainty=inflate * spread,
    )
    return batch, prediction


def as_scores(prediction: Prediction) -> Prediction:
    assert prediction.energy_uncertainty is not None
    return replace(
        prediction,
        force_uncertainty=prediction.force_uncertainty.log(),
        energy_uncertainty=prediction.energy_uncertainty.log(),
        unit="nats",
    )


def words(found: Report) -> str:
    """The text of a report without its line breaks."""
    return " ".join(str(found).split())


@pytest.fixture(scope="module")
def told() -> tuple[Batch, Prediction, Report]:
    batch, prediction = batch_and_prediction(100)
    held, said = batch_and_prediction(seed=5)
    return batch, prediction, report(prediction, batch, calibration=(said, held), name="molecules", resamples=20)


def test_a_column_for_energies_forces_and_each_element(told: tuple[Batch, Prediction, Report]) -> None:
    _, _, found = told
    names = [column.name for column in found.columns]
    assert names == ["energy", "forces", "forces on H", "forces on N", "forces on O"]
    assert [column.predictions for column in found.columns] == [100, 350, 250, 50, 50]
    assert all(list(column.values) == list(METRICS) for column in found.columns[:2])
    rare = roc_name(0.05)  # of fifty atoms, too few in some resamples
    assert all(set(METRICS) - set(column.values) <= {rare} for column in found.columns[2:])
    assert all(set(METRICS) == {*column.values, *column.missing} for column in found.columns)


def test_energies_are_those_of_the_metrics(told: tuple[Batch, Prediction, Report]) -> None:
    batch, prediction, found = told
    assert batch.energy is not None
    assert prediction.energy_uncertainty is not None
    atoms = batch.atoms_per_structure
    error, std = (prediction.energy - batch.energy) / atoms, prediction.energy_uncertainty / atoms
    held, said = batch_and_prediction(seed=5)
    assert held.energy is not None
    assert said.energy_uncertainty is not None
    calibration = [(said.energy - held.energy) / held.atoms_per_structure]
    calibration += [said.energy_uncertainty / held.atoms_per_structure]
    expected = {
        "MAE": 1000 * error.abs().mean(),
        "RMSE": 1000 * error.square().mean().sqrt(),
        "Spearman": metrics.spearman(error, std),
        "ROC-AUC, worst 20 %": metrics.roc_auc_sweep(error, std, [0.8])[1][0],
        "AUSE": metrics.ause(error, std),
        "miscalibration area": metrics.miscalibration_area(error, std),
        "ENCE": metrics.ence(error, std),
        "coverage of 68 %": metrics.coverage(error, std, 0.68),
        "coverage of 95 %": metrics.coverage(error, std, 0.95),
        "sharpness": 1000 * metrics.sharpness(std),
        "NLL": metrics.nll(error, std),
        "calibrated NLL": metrics.calibrated_nll(error, std, *calibration),
        "CRPS": 1000 * metrics.crps(error, std),
        "interval score, 95 %": 1000 * metrics.interval_score(error, std),
    }
    for name, value in expected.items():
        assert found["energy", name].value == pytest.approx(float(value), rel=1e-6), name
    assert found["energy", "Spearman if calibrated"].value == pytest.approx(metrics.ideal_spearman(std).value, abs=0.03)


@pytest.mark.parametrize("column", ["forces", "forces on N"])
def test_forces_are_those_of_the_metrics(told: tuple[Batch, Prediction, Report], column: str) -> None:
    batch, prediction, found = told
    assert batch.forces is not None
    chosen = batch.atomic_numbers == 7 if column == "forces on N" else batch.atomic_numbers > 0
    predicted, reference = prediction.forces[chosen], batch.forces[chosen]
    spread = prediction.force_uncertainty[chosen]
    atoms = metrics.atom_force_error(predicted, reference)
    error, std = metrics.force_components(predicted, reference, spread)
    held, said = batch_and_prediction(seed=5)
    assert held.forces is not None
    calibration = metrics.force_components(said.forces, held.forces, said.force_uncertainty)  # one factor for all
    expected = {
        "MAE": 1000 * metrics.mae(predicted, reference),
        "Spearman": metrics.spearman(atoms, spread),
        "ROC-AUC, worst 10 %": metrics.roc_auc_sweep(atoms, spread, [0.9])[1][0],
        "AUSE": metrics.ause(atoms, spread),
        "miscalibration area": metrics.miscalibration_area(error, std),
        "sharpness": 1000 * metrics.sharpness(spread),
        "NLL": metrics.nll(error, std),
        "calibrated NLL": metrics.calibrated_nll(error, std, *calibration),
    }
    for name, value in expected.items():
        assert found[column, name].value == pytest.approx(float(value), rel=1e-6), name
    ideal = metrics.ideal_spearman(spread, components=3)
    assert found[column, "Spearman if calibrated"].value == pytest.approx(ideal.value, abs=0.03)


def test_error_bars_are_those_of_a_bootstrap_over_groups() -> None:
    batch, prediction = batch_and_prediction()
    assert batch.forces is not None
    groups = torch.arange(40) // 4
    options = {"wanted": ("MAE", "NLL"), "by_element": False, "resamples": 50, "seed": 3}
    found = report(prediction, batch, groups=groups, **options)  # pyright: ignore[reportArgumentType]
    of_atom = groups[batch.structure_of_atom]
    error, std = metrics.force_components(prediction.forces, batch.forces, prediction.force_uncertainty)
    bootstrap = partial(metrics.bootstrap, resamples=50, seed=3)
    assert found["forces", "NLL"] == bootstrap(metrics.nll, error, std, groups=of_atom.repeat_interleave(3))
    one = bootstrap(metrics.mae, prediction.forces, batch.forces, groups=of_atom)
    assert found["forces", "MAE"].standard_error == pytest.approx(1000 * one.standard_error)
    assert found["forces", "MAE"].high == pytest.approx(1000 * one.high)
    alone = report(prediction, batch, **options)  # pyright: ignore[reportArgumentType]
    assert alone["forces", "NLL"] == bootstrap(
        metrics.nll, error, std, groups=batch.structure_of_atom.repeat_interleave(3)
    )
    assert alone["energy", "MAE"] != found["energy", "MAE"]
    other = report(prediction, batch, groups=groups, **{**options, "seed": 4})  # pyright: ignore[reportArgumentType]
    assert other["forces", "NLL"] != found["forces", "NLL"]
    assert "50 bootstrap resamples of 10 groups" in words(found)


def test_copies_in_one_group_do_not_shrink_the_error_bar() -> None:
    batch, prediction = batch_and_prediction(20)
    index = torch.arange(20).repeat(4)
    atoms = torch.cat([torch.where(batch.structure_of_atom == k)[0] for k in index])
    assert prediction.energy_uncertainty is not None
    copies = Prediction(
        energy=prediction.energy[index],
        forces=prediction.forces[atoms],
        force_uncertainty=prediction.force_uncertainty[atoms],
        energy_uncertainty=prediction.energy_uncertainty[index],
    )
    options = {"wanted": ("MAE",), "by_element": False, "resamples": 200}
    once = report(prediction, batch, **options)  # pyright: ignore[reportArgumentType]
    naive = report(copies, batch.select(index), **options)  # pyright: ignore[reportArgumentType]
    honest = report(copies, batch.select(index), groups=index, **options)  # pyright: ignore[reportArgumentType]
    for quantity in ("energy", "forces"):
        bars = [r[quantity, "MAE"].standard_error for r in (once, naive, honest)]
        assert bars[2] == pytest.approx(bars[0], rel=0.3)
        assert bars[1] < 0.7 * bars[0]


@pytest.mark.parametrize(("inflate", "share"), [(0.5, 0.67), (1.0, 0.95), (2.0, 0.9999)])
def test_over_and_underconfidence_show(inflate: float, share: float) -> None:
    batch, prediction = batch_and_prediction(80, inflate=inflate)
    found = report(prediction, batch, by_element=False, resamples=5)
    assert found["forces", "coverage of 95 %"].value == pytest.approx(share, abs=0.04)
    right = report(batch_and_prediction(80)[1], batch, by_element=False, resamples=5)
    for name in ("NLL", "CRPS", "interval score, 95 %", "ENCE", "miscalibration area"):
        assert (found["forces", name].value > right["forces", name].value) == (inflate != 1.0)
    assert found["forces", "Spearman"] == right["forces", "Spearman"]


def test_a_ranking_is_only_ranked_and_the_report_says_how_to_calibrate() -> None:
    batch, prediction = batch_and_prediction(100)
    found = report(as_scores(prediction), batch, resamples=5)
    plain = report(prediction, batch, resamples=5, wanted=("Spearman",))
    ranking = [name for name, metric in METRICS.items() if not metric.needs_deviations]
    assert list(found.columns[1].values) == ranking
    assert all(set(column.values) <= set(ranking) for column in found.columns)
    assert found["forces", "Spearman"].value == pytest.approx(plain["forces", "Spearman"].value)
    assert batch.energy is not None
    assert prediction.energy_uncertainty is not None
    error = (prediction.energy - batch.energy) / batch.atoms_per_structure
    assert found["energy", "AUSE"].value == pytest.approx(float(metrics.ause(error, prediction.energy_uncertainty)))
    assert "uqlib.calibration.calibrate('affine' or 'isotonic', prediction, data)" in words(found)
    assert "numbers that judge order and size for energy" in words(found)
    with pytest.raises(KeyError, match="score in nats, which ranks and has no size"):
        found["forces", "NLL"]


def test_no_row_points_to_one_that_is_not_there() -> None:
    """The ideal of a rank correlation is simulated from deviations, which a score in nats does not have."""
    batch, prediction = batch_and_prediction()
    assert "next row" in str(report(prediction, batch, resamples=5, by_element=False))
    shown = report(as_scores(prediction), batch, resamples=5, by_element=False)
    assert "next row" not in str(shown)
    assert "next row" not in shown.to_markdown()


def test_positive_scores_in_nats_are_no_deviations_either() -> None:
    """Distances are positive: it is the unit that tells, not the sign."""
    batch, prediction = batch_and_prediction()
    found = report(replace(prediction, unit="nats"), batch, resamples=5, by_element=False)
    assert "NLL" not in found.columns[1].values
    data = Dataset(name="m", atoms=tuple(samples.label(samples.rattled("NH3", k)) for k in range(4)))
    said = replace(
        prediction,
        energy=torch.zeros(4),
        forces=torch.zeros(16, 3),
        force_uncertainty=uniform(16, seed=0),
        energy_uncertainty=uniform(4, seed=1),
        unit="nats",
    )
    scores = scoring.score(said, data, resamples=5)
    assert scores.force["miscalibration"] is None
    assert scores.energy["miscalibration"] is None
    assert isinstance(scores.force["Spearman"], Estimate)


def test_the_study_asks_the_same() -> None:
    data = samples.dataset({"test": 60})["test"]
    batch = data.batch(cutoff=4.0, dtype=torch.float64)
    assert batch.energy is not None
    assert batch.forces is not None
    said = Prediction(
        energy=batch.energy + normal(60, seed=0),
        forces=batch.forces + normal(batch.n_atoms, 3, seed=1),
        force_uncertainty=uniform(batch.n_atoms, seed=2),
        energy_uncertainty=uniform(60, seed=3),
    )
    scores = scoring.score(said, data, resamples=20)
    found = report(said, batch, groups=scoring.groups_of(data)[0], resamples=20, by_element=False)
    for name in scoring.SHOWN:
        for mine, quantity in ((scores.energy, "energy"), (scores.force, "forces")):
            estimate = mine[name]
            assert estimate is not None, name
            assert estimate.value == pytest.approx(found[quantity, name].value)
            assert estimate.standard_error == pytest.approx(found[quantity, name].standard_error)


# ---- what is missing


def test_what_has_no_label_or_no_uncertainty_is_left_out() -> None:
    batch, prediction = batch_and_prediction()
    only = report(prediction, replace(batch, energy=None), resamples=5, by_element=False)
    assert [column.name for column in only.columns] == ["forces"]
    silent = report(replace(prediction, energy_uncertainty=None), batch, resamples=5, by_element=False)
    assert list(silent.columns[0].values) == ["MAE", "RMSE"]
    assert "for energy: the prediction has no uncertainty for it" in words(silent)
    energies = report(prediction, replace(batch, forces=None), resamples=5)
    assert [column.name for column in energies.columns] == ["energy"]


def test_without_a_calibration_split_there_is_no_calibrated_nll() -> None:
    batch, prediction = batch_and_prediction()
    found = report(prediction, batch, resamples=5, by_element=False)
    assert "calibrated NLL" not in str(found).splitlines()[20:25]
    with pytest.raises(KeyError, match=r"it needs a split of its own: pass calibration="):
        found["forces", "calibrated NLL"]


def test_a_metric_without_a_value_says_why_and_the_others_stay() -> None:
    batch, prediction = batch_and_prediction()
    constant = replace(prediction, force_uncertainty=torch.full_like(prediction.force_uncertainty, 0.5))
    found = report(constant, batch, resamples=5, by_element=False)
    with pytest.raises(KeyError, match=r"uncertainty is 0\.5 for all 140 predictions"):
        found["forces", "Spearman"]
    assert found["forces", "NLL"].value > 0
    exact = replace(prediction, force_uncertainty=prediction.force_uncertainty.clamp_min(0.5) - 0.5)
    found = report(exact, batch, resamples=5, by_element=False)
    with pytest.raises(KeyError, match="the density is infinite at zero"):
        found["forces", "NLL"]
    assert found["forces", "Spearman"].value > 0
    assert "remaining" in found.curves["forces"]


def test_bad_input_is_refused() -> None:
    batch, prediction = batch_and_prediction()
    with pytest.raises(ValueError, match=r"its energy has shape \(40,\), the prediction \(20,\); predict these"):
        report(batch_and_prediction(20)[1], batch)
    with pytest.raises(ValueError, match=r"its forces has shape|its energy has shape"):
        report(prediction, batch.select(range(20)))
    with pytest.raises(ValueError, match="it has no labels"):
        report(prediction, batch.at(batch.positions))
    with pytest.raises(ValueError, match=r"groups: got shape \(140,\).*expected \(40,\) integers, one a structure"):
        report(prediction, batch, groups=batch.structure_of_atom)
    with pytest.raises(ValueError, match=r"wanted: got \['nll'\], expected names out of"):
        report(prediction, batch, wanted=["nll"])
    with pytest.raises(ValueError, match="must be calibrated on held-out data"):
        report(replace(prediction, force_uncertainty=-prediction.force_uncertainty), batch)
    with pytest.raises(ValueError, match="holds 1 NaN"):
        report(replace(prediction, energy=torch.where(torch.arange(40) == 3, torch.nan, prediction.energy)), batch)
    with pytest.raises(KeyError, match="quantity: got 'stress'"):
        report(prediction, batch, resamples=2, by_element=False)["stress", "MAE"]


# ---- how it is shown


def test_the_text_is_an_aligned_table_with_units(told: tuple[Batch, Prediction, Report]) -> None:
    lines = str(told[2]).splitlines()
    assert lines[0] == "molecules: 100 structures, 350 atoms"
    header = lines[2]
    body = [line for line in lines[4:] if line.startswith("  ") and "±" in line]
    assert len(body) == len(METRICS)
    for name in ("energy (100)", "forces (350)", "forces on O (50)"):
        start = header.index(name)
        assert all(line[start - 1] == " " and line[start] != " " for line in body)
    assert sum("meV/Å" in line for line in body) == 5  # MAE, RMSE, sharpness, CRPS, interval score
    assert max(map(len, lines)) == len(lines[3])


def test_a_metric_answers_to_its_short_name(told: tuple[Batch, Prediction, Report]) -> None:
    batch, prediction, found = told
    assert set(FULL_NAME.values()) <= set(METRICS)
    assert not set(FULL_NAME) & set(METRICS), "a short name means one metric"
    for short, full in FULL_NAME.items():
        assert found["forces", short] == found["forces", full]
    few = report(prediction, batch, resamples=5, wanted=("coverage", "ROC-AUC"), by_element=False)
    assert list(few.columns[0].values) == ["coverage of 95 %", "ROC-AUC, worst 10 %"]
    with pytest.raises(KeyError, match="'ROC' of 'forces': expected one of"):
        found["forces", "ROC"]


def test_markdown_html_and_rows_hold_the_same_numbers(told: tuple[Batch, Prediction, Report]) -> None:
    found = told[2]
    rows = found.rows()
    assert len(rows) == sum(len(column.values) for column in found.columns)
    markdown, page = found.to_markdown(), found._repr_html_()
    table = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(METRICS)
    assert len({line.count("|") for line in table}) == 1
    for row in rows:
        value = str(found[row["quantity"], row["metric"]])
        assert value in str(found)
        assert value in markdown
        assert value in page
    assert page.count("<tr>") == 1 + 3 + len(METRICS)
    file = io.StringIO()
    writer = csv.DictWriter(file, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    assert "forces on H,Spearman," in file.getvalue()
    assert {row["unit"] for row in rows} == {"meV/atom", "meV/Å", "nats", ""}


@pytest.mark.parametrize("nats", [False, True])
def test_one_page_with_all_figures(told: tuple[Batch, Prediction, Report], nats: bool) -> None:
    batch, prediction, found = told
    if nats:
        found = report(replace(as_scores(prediction), energy_uncertainty=None), batch, resamples=5)
    figure = plots.report_page(found.curves, text=str(found), nats=nats)
    FigureCanvasAgg(figure).draw()
    axes = [ax for part in (figure.subfigs or [figure]) for ax in part.axes if ax.axison and ax.get_xlabel()]
    assert len(axes) == (8 if not nats else 4)
    labels = {ax.get_xlabel() for ax in axes}
    assert ("uncertainty (nats)" in labels) == nats
    assert ("expected share in the interval" in labels) == (not nats)
    shown = [text.get_text() for part in figure.subfigs for text in part.texts]
    assert shown == [str(found)]
    scatter = next(ax for ax in axes if ax.get_ylabel() == "error (meV/Å)").collections[0]
    points = np.asarray(scatter.get_offsets())
    assert np.sort(points[:, 1]) == pytest.approx(np.sort(1000 * found.curves["forces"]["error"].numpy()))


def test_a_page_without_text_and_without_curves() -> None:
    batch, prediction = batch_and_prediction()
    found = report(prediction, replace(batch, forces=None), resamples=5)
    assert len(plots.report_page(found.curves).axes) == 4
    with pytest.raises(ValueError, match="curves is empty"):
        plots.report_page({})
