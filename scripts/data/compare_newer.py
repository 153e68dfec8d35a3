"""Do the methods that the study has no cells of earn their place? On ammonia, beside LLPR and a shallow ensemble.

    python -m scripts.data.compare_newer --seeds 3

Each seed trains one short network; all methods stand on it. Printed are means over seeds and, behind ±, their standard
deviation. NLL is that of force components, in nats, with σ in eV/Å.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
import torch

from uqlib import metrics
from uqlib.methods import LastLayer, Shallow
from uqlib.methods.pops import PointwiseOptimal
from uqlib.methods.quantile import Quantile
from uqlib.methods.shared.recipes import SingleNetwork
from uqlib.networks.training import Settings
from uqlib.prediction import Prediction, predict
from uqlib.structures import datasets
from uqlib.structures.datasets import Dataset
from uqlib.study import scoring

COLUMNS = ("MAE (meV/Å)", "Spearman", "ROC-AUC", "inside 95 %", "NLL")


def scores(said: Prediction, data: Dataset) -> list[float]:
    """One number for each of `COLUMNS`."""
    truth = data.batch().forces
    assert truth is not None
    error, sigma = said.forces.double() - truth, said.force_uncertainty.double()[:, None].expand_as(said.forces)
    force = scoring.score(said, data, resamples=0).force
    found = [force[name] for name in ("MAE", "Spearman", "ROC-AUC")]
    inside = (error.abs() < 1.96 * sigma).double().mean()
    values = [float("nan") if each is None else each.value for each in found]
    return [*values, float(inside), float(metrics.nll(error.flatten(), sigma.flatten()))]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="how many trainings (default 3)")
    parser.add_argument("--epochs", type=int, default=60, help="of the network; half of it by likelihood (default 60)")
    parser.add_argument("--features", type=int, default=24, help="width of the network (default 24)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    data = datasets.load("ammonia")
    train, valid = data["train"], data["valid"]
    plain = SingleNetwork(
        network={"features": options.features, "interactions": 2},
        settings=Settings(epochs=options.epochs, learning_rate=5e-3, plateau=13),
    )
    brief = Settings(epochs=max(options.epochs // 2, 1), learning_rate=3e-3, schedule="cosine")
    after = {
        "LLPR": LastLayer(),
        "POPS": PointwiseOptimal(),
        "POPS, sized": PointwiseOptimal(sized=True),
        "quantile": Quantile(),
    }
    trained = {
        "shallow": Shallow(likelihood_settings=brief),
        "CRPS": Shallow(score="crps", likelihood_settings=brief),
        "energies only": Shallow(score_of="energy", likelihood_settings=brief),
        "forces only": Shallow(score_of="forces", likelihood_settings=brief),
    }
    found: dict[tuple[str, str], list[list[float]]] = {}
    for seed in range(options.seeds):
        start = plain.untrained(train, valid, seed=seed)
        model = plain.train_network(start, train, valid, seed=seed, progress=False).model
        fitted = {name: recipe.fit_to(model, train, valid, seed=seed) for name, recipe in after.items()}
        for name, recipe in trained.items():
            fitted[name] = recipe.continue_from(model, train, valid, seed=seed, progress=False)
        for split in ("test", "hot"):
            for name, predictor in fitted.items():
                found.setdefault((split, name), []).append(scores(predict(predictor, data[split]), data[split]))
    print(f"{'split':6}{'method':15}" + "".join(f"{name:>18}" for name in COLUMNS))
    for (split, name), values in found.items():
        middle, spread = np.mean(values, axis=0), np.std(values, axis=0, ddof=min(len(values) - 1, 1))
        cells = (f"{m:.{d}f} ± {s:.{d}f}" for m, s, d in zip(middle, spread, (1, 2, 2, 2, 2), strict=True))
        print(f"{split:6}{name:15}" + "".join(f"{cell:>18}" for cell in cells))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
