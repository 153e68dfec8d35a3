"""All methods on one data set, scored and timed: the table that says which uncertainty is worth what it costs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from uqlib.methods.shared.recipes import AfterTraining, SingleNetwork, with_stress
from uqlib.metrics.layout import as_markdown, as_text
from uqlib.networks.painn import PaiNN
from uqlib.networks.training import Settings
from uqlib.prediction import predict
from uqlib.structures.datasets import Dataset
from uqlib.study import costs, scoring
from uqlib.study.costs import Cost, seconds
from uqlib.study.scoring import Scores

SETTINGS = Settings(learning_rate=5e-3)  # fast enough for trainings as short as a comparison can afford
STRUCTURES_TO_TIME = 50
QUANTITIES = ("force", "energy", "stress")  # in the order of the tables


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Method -> split -> scores, and method -> cost; `plain` is what one network without uncertainties costs."""

    title: str
    scores: Mapping[str, Mapping[str, Scores]]
    cost: Mapping[str, Cost]
    plain: Cost

    def as_text(self, *, markdown: bool = False) -> str:
        """For each split and quantity a table of scores, a row for each method; and a table of costs."""
        blocks = [("# " if markdown else "") + self.title]
        any_method = next(iter(self.scores.values()))
        for split, found in any_method.items():
            star = "" if found.grouped else " *"
            for quantity, (unit, _) in sorted(found.of().items(), key=lambda each: QUANTITIES.index(each[0])):
                rows = [("method", *scoring.heads(f" ({unit})"))]
                rows += [(method, *scoring.cells(getattr(s[split], quantity))) for method, s in self.scores.items()]
                blocks.append(_block(f"{split}{star}: {quantity}", rows, markdown))
        blocks.append(
            _block("cost in processor time and memory, and how many times that of one network", self._costs(), markdown)
        )
        if not all(found.grouped for found in any_method.values()):
            blocks.append(f"{chr(92) if markdown else ''}{scoring.TOO_SMALL}")
        return "\n\n".join(blocks)

    def as_dict(self) -> dict[str, Any]:
        """The same as plain numbers, for JSON. Metrics without a value are None."""

        def plain(scores: Scores) -> dict[str, Any]:
            both = {"energy": scores.energy, "force": scores.force}
            both |= {"stress": scores.stress} if scores.stress else {}
            return {"grouped": scores.grouped} | {
                quantity: {m: None if v is None else dataclasses.asdict(v) for m, v in values.items()}
                for quantity, values in both.items()
            }

        return {
            "title": self.title,
            "units": {
                "MAE, RMSE": "meV/atom, meV/Å, meV/Å³",
                "training, inference": "s of the processor",
                "memory": "bytes",
            },
            "scores": {m: {split: plain(s) for split, s in found.items()} for m, found in self.scores.items()},
            "cost": {m: dataclasses.asdict(cost) for m, cost in self.cost.items()},
            "one network": dataclasses.asdict(self.plain),
        }

    def _costs(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = [("method", "training", "×", "prediction of a structure", "×", "memory", "×")]
        for method, cost in {"one network": self.plain, **self.cost}.items():
            cells = (f"{cost.training:.1f} s", f"{1e3 * cost.inference:.3f} ms", f"{cost.memory / 1e6:.1f} MB")
            times = [f"{ratio:.1f}" for ratio in cost.relative_to(self.plain)]
            rows.append((method, *(word for pair in zip(cells, times, strict=True) for word in pair)))
        return rows


def compare(
    data: Dataset,
    recipes: Mapping[str, Any],
    *,
    network: Mapping[str, int | float],
    epochs: int,
    seed: int,
    checkpoints: str | Path | None = None,
    resamples: int = 200,
    progress: bool = True,
    stress: float = 0.0,
    device: str | torch.device = "cpu",
) -> Comparison:
    """Train all `recipes` on `train` and `valid`, each with networks of the same size and as many epochs.

    Recipes that add an uncertainty to a trained network (`AfterTraining`), or continue its training (`continue_from`),
    share one; its training counts in full for each of them. Scored on all other splits. With `checkpoints`, a folder,
    an interrupted comparison continues; what is then read and not trained again is missing from the times. `stress`:
    how many times the usual weight it has in all losses. `device`: where all this runs, "auto" for a GPU if there is
    one.

    Raises ValueError for no recipes, for data without the two splits or others to score, and for what `Settings`,
    `PaiNN` and the recipes refuse.
    """
    tests = [name for name in data.splits if name not in ("train", "valid") and len(data.splits[name]) > 1]
    if not recipes or not tests or not {"train", "valid"} <= set(data.splits):
        raise ValueError(
            f"recipes, data: got {len(recipes)} recipes and the splits {sorted(data.splits)}, expected at least one "
            "recipe, 'train', 'valid', and another split to score"
        )
    settings = dataclasses.replace(SETTINGS, epochs=epochs, plateau=max(epochs // 6, 1))
    folders = {name: None if checkpoints is None else Path(checkpoints) / name for name in (*recipes, "one-network")}
    alone: dict[str, Any] = {"one-network": SingleNetwork(), **recipes}
    if stress:
        alone = {name: with_stress(recipe, stress) for name, recipe in alone.items()}
    adapted = {name: adapt(recipe, network, settings, folders[name], device) for name, recipe in alone.items()}
    train, valid = data["train"], data["valid"]
    shared = adapted.pop("one-network")
    started = shared.untrained(train, valid, seed=seed)
    with tqdm(total=len(adapted) + 1, desc="one network", disable=not progress, unit="method") as bar:
        options = {"seed": seed, "progress": progress}
        time, trained = seconds(lambda: shared.train_network(started, train, valid, **options), device)
        model: PaiNN = trained.model
        timed = data[tests[0]].batch(list(range(min(STRUCTURES_TO_TIME, len(data[tests[0]])))), cutoff=model.cutoff)
        plain = costs.measure(model, timed, training=time)
        scores: dict[str, dict[str, Scores]] = {}
        found: dict[str, Cost] = {}
        for name, recipe in adapted.items():
            bar.update()
            bar.set_description(name)
            time, predictor = seconds(lambda recipe=recipe: fit(recipe, model, train, valid, seed, progress), device)
            time += 0.0 if trains_alone(recipe) else plain.training
            found[name] = costs.measure(predictor, timed, training=time)
            scores[name] = {
                test: scoring.score(predict(predictor, data[test]), data[test], resamples=resamples) for test in tests
            }
        bar.update()
    title = f"{data.name}: {len(adapted)} methods, {epochs} epochs, {dict(network)}, seed {seed}"
    return Comparison(title=title, scores=scores, cost=found, plain=plain)


def trains_alone(recipe: Any) -> bool:
    """Whether the recipe has no use for a network that is trained already."""
    return not (isinstance(recipe, AfterTraining) or hasattr(recipe, "continue_from"))


def fit(recipe: Any, model: PaiNN, train: Dataset, valid: Dataset, seed: int, progress: bool) -> Any:
    """What the recipe makes of a trained network where it can, else of its own training."""
    if isinstance(recipe, AfterTraining):
        return recipe.fit_to(model, train, valid, seed=seed)
    if hasattr(recipe, "continue_from"):
        return recipe.continue_from(model, train, valid, seed=seed, progress=progress)
    return recipe.fit(train, valid, seed=seed, progress=progress)


def adapt(
    recipe: Any,
    network: Mapping[str, int | float],
    settings: Settings,
    checkpoints: Path | None,
    device: str | torch.device = "cpu",
) -> Any:
    """The recipe with a network and a length that all share; what else its settings say stays.

    A second training of its own, by likelihood, takes half of the epochs, at the learning rate that it has.
    """
    changes: dict[str, Any] = {"network": dict(network), "device": device}
    for name, epochs in (("settings", settings.epochs), ("likelihood_settings", max(settings.epochs // 2, 1))):
        if hasattr(recipe, name):
            own: Settings = getattr(recipe, name)
            changes[name] = dataclasses.replace(
                own,
                epochs=epochs,
                batch_size=settings.batch_size,
                learning_rate=settings.learning_rate if name == "settings" else own.learning_rate,
                plateau=settings.plateau,
            )
    if checkpoints is not None:
        changes["checkpoints"] = checkpoints
    return dataclasses.replace(recipe, **changes)


def _block(heading: str, rows: Sequence[tuple[str, ...]], markdown: bool) -> str:
    """A heading and a table; the first row has the names of the columns."""
    return "\n".join([f"## {heading}", "", *as_markdown(rows)] if markdown else [heading, *as_text(rows)])
