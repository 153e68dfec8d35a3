"""Figures: what is drawn, that it is labelled with units and legible, and that bad data are refused."""

import os
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib import colors
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from uqlib.show import plots

HISTORY = [{"train_loss": 1.0 / (k + 1), "valid_loss": 1.0 + (k - 6) ** 2} for k in range(10)]
RAMP = torch.linspace(0.1, 1.0, 12)

DRAW = {
    "parity": lambda ax: plots.parity(ax, RAMP, RAMP + 0.01),
    "parity_crowded": lambda ax: plots.parity(ax, RAMP.repeat(300), RAMP.repeat(300) + 0.01),
    "error": lambda ax: plots.error_against_uncertainty(ax, -RAMP, RAMP),
    "error_nats": lambda ax: plots.error_against_uncertainty(ax, RAMP, RAMP.log(), unit="nats"),
    "calibration": lambda ax: plots.calibration(ax, RAMP, RAMP**2, area=0.1),
    "learning": lambda ax: plots.learning_curves(ax, HISTORY),
    "profile": lambda ax: plots.profile(ax, RAMP, RAMP**2, 0.1 * RAMP, reference=RAMP),
    "surface": lambda ax: plots.surface(
        ax,
        RAMP,
        RAMP[:5],
        RAMP[:, None] * RAMP[:5],
        xlabel="x (Å)",
        ylabel="y (Å)",
        value_label="energy (eV)",
        points=(RAMP[:3], RAMP[:3]),
    ),
    "distributions": lambda ax: plots.distributions(
        ax, {"train": RAMP, "hot": RAMP**2}, xlabel="energy (eV)", tail=0.1
    ),
    "configurations": lambda ax: plots.configurations(
        ax, {"train": RAMP.reshape(6, 2), "hot": RAMP.reshape(6, 2) + 1}, shares=(0.7, 0.2), unit="1/Å"
    ),
    "radial": lambda ax: plots.radial_functions(ax, RAMP, {"train": RAMP**2}, marks={"experiment": 0.5}),
    "splits": lambda ax: plots.errors_by_split(
        ax, {"test": (1.0, 0.9, 1.2), "hot": (9.0, 7.0, 13.0)}, xlabel="MAE (meV/Å)", scale={"test": 100, "hot": 300}
    ),
    "cost": lambda ax: plots.cost_bars(ax, {"one": 1.0, "five": 4.5}, xlabel="time", unit="s", relative_to="one"),
}


@pytest.fixture
def ax() -> Axes:
    return Figure().add_subplot()


@pytest.mark.parametrize("name", DRAW)
def test_every_figure_returns_its_axes_labelled_and_can_be_rendered(name: str):
    with mpl.rc_context():
        plots.use_style()
        figure = Figure()
        ax = figure.add_subplot()
        assert DRAW[name](ax) is ax
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[..., :3]
        assert (pixels != 255).any(axis=-1).mean() > 0.01
        assert ax.get_xlabel()
        assert name in ("cost", "splits") or ax.get_ylabel()
        sizes = [text.get_fontsize() for text in ax.texts + ax.get_xticklabels() + [ax.xaxis.label, ax.yaxis.label]]
        assert min(sizes) >= 10


def test_units_are_on_the_axes(ax: Axes):
    plots.error_against_uncertainty(ax, RAMP, RAMP, unit="meV")
    assert ax.get_xlabel() == "uncertainty (meV)"
    assert ax.get_ylabel() == "error (meV)"


def test_parity_writes_the_errors_and_switches_to_density(ax: Axes):
    plots.parity(ax, RAMP, RAMP + 0.25)
    assert "MAE 0.25 eV/Å" in ax.texts[0].get_text()
    assert len(ax.figure.axes) == 1
    plots.parity(ax, RAMP.repeat(300), RAMP.repeat(300))
    assert len(ax.figure.axes) == 2  # a colour bar for the density


def test_guides_are_where_a_calibrated_model_puts_its_quantiles(ax: Axes):
    generator = torch.Generator().manual_seed(0)
    std = torch.rand(4000, generator=generator) + 0.1
    error = std * torch.randn(4000, 3, generator=generator).square().mean(dim=1).sqrt()
    plots.error_against_uncertainty(ax, error, std, components=3)
    slopes = sorted(float(line.get_ydata()[0] / line.get_xdata()[0]) for line in ax.lines)  # type: ignore[index]
    below = [float((error < slope * std).double().mean()) for slope in slopes]
    assert below[0] == pytest.approx(0.05, abs=0.02)
    assert below[1] == pytest.approx(0.50, abs=0.03)
    assert below[-1] == pytest.approx(0.95, abs=0.02)


def test_a_second_call_adds_points_without_a_second_set_of_guides(ax: Axes):
    plots.error_against_uncertainty(ax, RAMP, RAMP)
    lines = len(ax.lines)
    plots.error_against_uncertainty(ax, RAMP, 2 * RAMP, guides=False)
    assert len(ax.lines) == lines
    assert len(ax.collections) == 2


def test_learning_curves_mark_the_best_validation_epoch(ax: Axes):
    plots.learning_curves(ax, HISTORY)
    assert ax.lines[-1].get_label() == "best, epoch 7"


def test_surface_puts_values_where_they_belong(ax: Axes):
    x, y = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([0.0, 1.0])
    values = torch.zeros(3, 2)
    values[2, 0] = 1.0
    plots.surface(ax, x, y, values, xlabel="x (Å)", ylabel="y (Å)", value_label="energy (eV)")
    drawn = np.asarray(ax.collections[0].get_array()).reshape(2, 3)  # rows are y
    assert drawn[0, 2] == 1.0
    assert drawn.sum() == 1.0


def test_cost_bars_write_multiples(ax: Axes):
    plots.cost_bars(ax, {"one": 2.0, "five": 9.0}, xlabel="time", unit="s", relative_to="one")
    assert [text.get_text() for text in ax.texts] == ["2 s  (1.0×)", "9 s  (4.5×)"]


def test_cycle_is_told_apart_in_colour_vision_deficiency():
    """Every pair of the first five colours differs after projection to what deuteranopes and protanopes see."""
    # Machado, Oliveira, Fernandes, IEEE Trans. Vis. Comput. Graph. 15, 1291 (2009), severity 1, linear RGB.
    deuteranopia = np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]])
    protanopia = np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]])
    seen = np.array([colors.to_rgb(colour) for colour in plots.CYCLE[:5]]) ** 2.2
    for matrix in (deuteranopia, protanopia):
        projected = np.clip(seen @ matrix.T, 0, 1) ** (1 / 2.2)
        distances = np.linalg.norm(projected[:, None] - projected[None], axis=-1)
        assert distances[~np.eye(5, dtype=bool)].min() > 0.1


def test_distributions_have_the_same_area_and_lose_nothing_beyond_the_edge(ax: Axes):
    plots.distributions(ax, {"train": RAMP, "hot": 50 * RAMP}, xlabel="energy (eV)", bins=10, tail=0.25)
    steps = [patch.get_data() for patch in ax.patches]  # pyright: ignore[reportAttributeAccessIssue]
    areas = [np.sum(step.values * np.diff(step.edges)) for step in steps]
    assert areas == pytest.approx([1.0, 1.0])
    assert [patch.get_fill() for patch in ax.patches] == [True, False]
    assert "and above" in ax.get_xlabel()


def test_errors_by_split_keep_their_order_and_their_intervals(ax: Axes):
    plots.errors_by_split(ax, {"test": (2.0, 1.0, 4.0), "hot": (9.0, 7.0, 13.0)}, xlabel="MAE (meV/Å)")
    assert [text.get_text() for text in ax.get_yticklabels()] == ["test", "hot"]
    segments = ax.collections[0].get_segments()  # pyright: ignore[reportAttributeAccessIssue]
    ends = sorted(segment[:, 0].tolist() for segment in segments)
    assert ends == [[1.0, 4.0], [7.0, 13.0]]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first on top


def test_importing_changes_no_setting_and_use_style_does():
    code = (
        "import matplotlib as m; before = dict(m.rcParams); import uqlib.show.plots as p; "
        "assert dict(m.rcParams) == before;"
        "p.use_style(); assert m.rcParams['axes.prop_cycle'].by_key()['color'][0] == p.BLUE"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": os.getcwd()})


def test_flipbook_has_one_described_picture_per_button_and_repeats():
    def make() -> plots.Flipbook:
        return plots.flipbook(
            lambda ax, n: ax.plot(range(n)), [2, 5], label="points", alt='A line "so" long.', figsize=(2, 2)
        )

    html = make()._repr_html_()
    assert html == make()._repr_html_()
    assert html.count('type="radio"') == html.count("<img ") == html.count("display: block") == 2
    assert 'alt="A line &quot;so&quot; long. Here: points 5."' in html
    assert "<script" not in html
    assert "http" not in html
    assert html.count(" checked>") == 1


def test_flipbook_asks_for_values_and_a_description():
    with pytest.raises(ValueError, match="expected at least one value and a description"):
        plots.flipbook(lambda ax, n: None, [], label="points", alt="A line.")
    with pytest.raises(ValueError, match="a description"):
        plots.flipbook(lambda ax, n: None, [1], label="points", alt=" ")


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda ax: plots.parity(ax, RAMP, RAMP[:-1]), r"shapes differ: reference \(12,\), prediction \(11,\)"),
        (lambda ax: plots.parity(ax, RAMP, RAMP / 0), "prediction is not finite in 12 of 12 values"),
        (lambda ax: plots.parity(ax, [], []), "reference is empty"),
        (lambda ax: plots.error_against_uncertainty(ax, 0 * RAMP, RAMP), "expected some to draw on logarithmic axes"),
        (lambda ax: plots.calibration(ax, 100 * RAMP, 100 * RAMP), "divide percentages by 100"),
        (lambda ax: plots.learning_curves(ax, []), "history is empty"),
        (
            lambda ax: plots.learning_curves(ax, HISTORY, {"mae": "MAE"}),
            r"no \['mae'\], expected names out of \['train",
        ),
        (lambda ax: plots.profile(ax, RAMP, RAMP, -RAMP), "std has a negative value"),
        (
            lambda ax: plots.surface(ax, RAMP, RAMP[:5], RAMP, xlabel="", ylabel="", value_label=""),
            r"values has shape \(12,\), expected \(12, 5\)",
        ),
        (lambda ax: plots.distributions(ax, {}, xlabel=""), "values is empty"),
        (lambda ax: plots.distributions(ax, {"a": RAMP}, xlabel="", tail=0.5), "tail is 0.5"),
        (lambda ax: plots.configurations(ax, {}), "points is empty"),
        (lambda ax: plots.configurations(ax, {"a": RAMP}), r"points of 'a' have shape \(12,\)"),
        (lambda ax: plots.radial_functions(ax, RAMP, {}), "functions is empty"),
        (lambda ax: plots.radial_functions(ax, RAMP, {"a": RAMP}, colours={"b": "red"}), r"none for \['a'\]"),
        (lambda ax: plots.errors_by_split(ax, {"a": (1.0, 0.0, 2.0)}, xlabel=""), "all positive"),
        (lambda ax: plots.cost_bars(ax, {}, xlabel="", unit="s"), "expected at least one entry"),
        (lambda ax: plots.cost_bars(ax, {"a": 1.0}, xlabel="", unit="s", relative_to="b"), r"expected one of \['a'\]"),
    ],
)
def test_bad_data_are_refused(ax: Axes, draw, message: str):
    with pytest.raises(ValueError, match=message):
        draw(ax)


def test_a_survival_curve_is_a_step_inside_its_band() -> None:
    ax = Figure().subplots()
    plots.survival(ax, [0, 2, 5], [1.0, 0.5, 0.5], [0.8, 0.2, 0.2], [1.0, 0.8, 0.8], label="a method")
    (line,) = ax.lines
    assert line.get_drawstyle() == "steps-post"
    assert list(np.asarray(line.get_ydata())) == [100, 50, 50]
    assert len(ax.collections) == 1
    with pytest.raises(ValueError, match="outside 0 to 1"):
        plots.survival(ax, [0, 1], [1.0, 50.0], [0.5, 0.5], [1.0, 1.0])
