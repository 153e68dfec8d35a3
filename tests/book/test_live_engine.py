"""The numbers of the live figures, against torch, scipy and the library."""

from collections.abc import Iterator
from typing import Any

import live_page
import numpy as np
import pytest
import torch
from browser import chromium, served
from playwright.sync_api import Page
from scipy import special
from sklearn.mixture import GaussianMixture
from torch import Tensor

from uqlib import metrics
from uqlib.chapters.toy import DoubleWell, ToyEnsemble
from uqlib.chapters.toy_posterior import ToyNetwork, rigidity
from uqlib.methods.evidential import evidence, misplaced_evidence, student_nll

X, Y = DoubleWell().sample(25, seed=5)
AT = torch.linspace(-0.7, 0.7, 15, dtype=torch.float64)

LEARN = """
    const learn = ({ x, y, head, members, steps, width }) => {
        const kinds = { ...uqlive.heads, evidential: uqlive.heads.evidential(0.1) };
        const options = { x, y, head: kinds[head], members, width, seed: 3, steps };
        const training = new uqlive.Training(options);
        training.begin = training.networks.map((network) => Array.from(network.weights));
        for (let k = 0; k < steps; k += 1) training.advance();
        return training;
    };
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A page with the engine."""
    folder = tmp_path_factory.mktemp("engine")
    body = '<p data-figure="well"></p>'  # asks for the scripts, and is no figure
    live_page.write(folder, body)
    with chromium() as browser, served(folder) as home:
        tab = browser.new_page()
        tab.goto(f"{home}/index.html")
        yield tab


def run(page: Page, code: str, **given: Any) -> Any:
    """What a piece of JavaScript returns that sees `given`, and `learn`."""
    return page.evaluate(f"(given) => {{ {LEARN} {code} }}", given)


def task(head: str, members: int, steps: int, width: int = 7) -> dict[str, Any]:
    """What to learn."""
    return {
        "x": X.tolist(),
        "y": Y.tolist(),
        "head": head,
        "members": members,
        "steps": steps,
        "width": width,
        "at": AT.tolist(),
    }


@pytest.mark.parametrize(
    ("name", "exact", "low", "high"),
    [
        ("exp", np.exp, -30, 30),
        ("log", np.log, 1e-3, 50),
        ("erf", special.erf, -6, 6),
        ("cos", np.cos, 0, np.pi),
        ("logGamma", special.gammaln, 0.5, 40),
        ("digamma", special.digamma, 0.5, 40),
        ("softplus", lambda x: np.logaddexp(0, x), -20, 60),
    ],
)
def test_functions_are_exact(page: Page, name: str, exact: Any, low: float, high: float) -> None:
    x = np.linspace(low, high, 997)
    found = run(page, f"return given.x.map(uqlive.numbers.{name})", x=x.tolist())
    np.testing.assert_allclose(found, exact(x), rtol=2e-14, atol=2e-14)


def test_random_numbers_are_normal_and_differ_by_seed(page: Page) -> None:
    code = "return [0, 1].map((s) => { const r = new uqlive.numbers.Random(s); return given.n.map(() => r.normal()); })"
    first, second = np.asarray(run(page, code, n=list(range(20_000))))
    for draws in (first, second):
        assert abs(draws.mean()) < 0.03
        assert abs(draws.std() - 1) < 0.03
        assert abs((np.abs(draws) < 1).mean() - 0.6827) < 0.015
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03


@pytest.mark.parametrize("head", ["squares", "gaussian", "evidential"])
def test_gradients_are_those_of_finite_differences(page: Page, head: str) -> None:
    code = """
        const training = learn({ ...given, steps: 3 });
        const [network] = training.networks;
        const { head, x, y, slopes } = training;
        const loss = () => {
            const out = network.forward(x);
            const each = Array.from(y, (t, i) => head.loss(out.slice(i * head.outputs, (i + 1) * head.outputs), t));
            return each.reduce((a, b) => a + b, 0) / y.length;
        };
        head.slopes(network.forward(x), y, slopes, false);
        const exact = Array.from(network.backward(x, slopes));
        const found = exact.map((_, k) => {
            const kept = network.weights[k];
            const [up, down] = [1e-5, -1e-5].map((h) => { network.weights[k] = kept + h; return loss(); });
            network.weights[k] = kept;
            return (up - down) / 2e-5;
        });
        return [exact, found];
    """
    exact, found = np.asarray(run(page, code, **task(head, 1, 100)))
    assert np.abs(exact).max() > 1e-2
    np.testing.assert_allclose(found, exact, rtol=1e-6, atol=1e-7 * np.abs(exact).max())


def torch_twin(weights: list[list[float]], width: int, outputs: int) -> ToyEnsemble:
    """The book's own toy with the weights that the JavaScript began with."""
    model = ToyEnsemble(X, Y, members=len(weights), seed=0, width=width, outputs=outputs)
    sizes = [width, width, width * width, width, width * outputs, outputs]
    parts = torch.tensor(weights, dtype=torch.float64).split(sizes, dim=1)
    with torch.no_grad():
        for layer in range(3):
            model.weights[layer].copy_(parts[2 * layer].reshape(model.weights[layer].shape))
            model.biases[layer].copy_(parts[2 * layer + 1].reshape(model.biases[layer].shape))
    return model


def torch_loss(model: ToyEnsemble, head: str, early: bool) -> Tensor:
    """The loss of a step, summed over members."""
    target = (Y - model.y_scale[0]) / model.y_scale[1]
    out = model.outputs(X)
    squared = (out[..., 0] - target).square()
    if head == "evidential":
        known = evidence(out[..., 1:], 1.0)
        each = student_nll(squared, known) + 0.1 * misplaced_evidence(out[..., 0] - target, known)
    elif early:
        each = squared
    else:
        variance = model(X)[1]
        each = 0.5 * (squared / variance + variance.log())
    return each.mean(dim=1).sum()


@pytest.mark.parametrize("head", ["gaussian", "evidential"])
def test_training_is_that_of_torch(page: Page, head: str) -> None:
    given = task(head, 2, 60)
    code = """
        const training = learn(given);
        const { members, noise, evident } = uqlive.predict(training, given.at);
        return { begin: training.begin, members, noise, evident };
    """
    found = run(page, code, **given)
    model = torch_twin(found["begin"], given["width"], 4 if head == "evidential" else 2)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.005)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 60)
    for step in range(60):
        optimiser.zero_grad()
        torch_loss(model, head, step < 30).backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        out, (shift, scale) = model.outputs(AT), model.y_scale
    np.testing.assert_allclose(found["members"], shift + scale * out[..., 0], atol=1e-9)
    if head == "gaussian":
        np.testing.assert_allclose(found["noise"], model.predict(AT).noise, rtol=1e-7)
    else:
        known = evidence(out[..., 1:], scale)
        np.testing.assert_allclose(found["noise"], known.aleatoric.sqrt(), rtol=1e-7)
        np.testing.assert_allclose(found["evident"], known.epistemic.sqrt(), rtol=1e-7)


def test_rigidity_is_that_of_the_book(page: Page) -> None:
    given = task("squares", 1, 200)
    code = """
        const training = learn(given);
        return {
            weights: Array.from(training.networks[0].weights),
            std: uqlive.rigidity(training, given.x, given.y, given.at).std,
        };
    """
    found, width = run(page, code, **given), given["width"]
    network = ToyNetwork(X, Y, seed=0, width=width)
    parts = torch.tensor(found["weights"], dtype=torch.float64).split([2 * width, width * width + width, width + 1])
    with torch.no_grad():
        for weight, part in zip(network.weights, parts, strict=True):
            weight.copy_(part.reshape(weight.shape))
    np.testing.assert_allclose(found["std"], rigidity(network, X, Y, AT).std, rtol=1e-5)


def test_mixture_describes_the_features(page: Page) -> None:
    given = task("gaussian", 1, 300, 12)
    code = """
        const training = learn(given);
        const { score, count, likelihood } = uqlive.mixture(training, given.x, given.at);
        const own = uqlive.mixture(training, given.x, given.x).score;
        return { score, count, likelihood, own, seen: uqlive.features(training, given.x, false) };
    """
    found = run(page, code, **given)
    assert abs(np.mean(found["own"])) < 1e-9, "zero is the mean over the training points"
    seen = np.asarray(found["seen"]) - np.mean(found["seen"], axis=0)
    directions, sizes, _ = np.linalg.svd(seen, full_matrices=False)
    white = directions[:, :2] * np.sqrt(len(seen) - 1)
    assert sizes[1] > 1e-3
    other = GaussianMixture(found["count"], n_init=10, random_state=0, reg_covar=1e-4).fit(white)
    assert found["likelihood"] == pytest.approx(other.score(white), abs=0.25), "nats for each point"
    near, far = np.asarray(found["score"])[[3, 11]], np.asarray(found["score"])[[0, -1]]
    assert far.min() > near.max()


def test_scores_are_those_of_the_library(page: Page) -> None:
    pairs = run(page, "return uqlive.scores.forecasters(4, 700)")
    assert len(pairs) == 8
    for error, std in pairs.values():
        e, s = torch.tensor(error, dtype=torch.float64), torch.tensor(std, dtype=torch.float64)
        code = """
            const { nll, crps, miscalibrationArea, coverage, curve } = uqlive.scores;
            const { e, s } = given;
            return [nll(e, s), crps(e, s), miscalibrationArea(e, s), coverage(e, s, 0.68), curve(e, s).observed];
        """
        *numbers, observed = run(page, code, e=error, s=std)
        wanted = [
            metrics.nll(e, s),
            metrics.crps(e, s),
            metrics.miscalibration_area(e, s),
            metrics.coverage(e, s, 0.68),
        ]
        np.testing.assert_allclose(numbers, [float(value) for value in wanted], rtol=1e-11)
        np.testing.assert_array_equal(observed, metrics.calibration_curve(e, s)[1])


def test_forecasters_are_what_their_names_say(page: Page) -> None:
    pairs = {
        name: [torch.tensor(part, dtype=torch.float64) for part in pair]
        for name, pair in run(page, "return uqlive.scores.forecasters(2, 4000)").items()
    }
    inside = {name: float(metrics.coverage(*pair, level=0.95)) for name, pair in pairs.items()}
    rank = {name: float(metrics.spearman(*pair)) for name, pair in pairs.items() if name != "constant"}
    assert inside["perfect"] == pytest.approx(0.95, abs=0.015)
    assert inside["overconfident"] < 0.6 < 0.99 < inside["underconfident"]
    assert abs(rank["wrong order"]) < 0.06 < 0.4 < rank["perfect"]
    assert rank["exaggerated"] == pytest.approx(rank["perfect"], abs=1e-12)
    worst = (pairs["few large errors"][0] / pairs["few large errors"][1]).abs().max()
    assert worst > 2 * (pairs["perfect"][0] / pairs["perfect"][1]).abs().max()
