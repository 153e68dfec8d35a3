"""Figures that rank methods, and the table that can be sorted."""

from __future__ import annotations

import browser
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.text import Text

from uqlib.show import plots


@pytest.fixture
def ax() -> Axes:
    return plt.figure().add_subplot()


def texts(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]


def test_rank_intervals(ax: Axes) -> None:
    plots.rank_intervals(
        ax,
        {"near": [1.0, 2.0], "far": [2.0, 1.0]},
        {"near": ([0.5, 1.5], [1.5, 2.5]), "far": ([1.0, 1.0], [3.0, 1.0])},
        ["a", "b"],
    )
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    assert [
        list(np.asarray(line.get_xdata()))
        for line in ax.lines
        if line.get_linestyle() == "None" and str(line.get_marker()) in "os"
    ] == [[1, 2], [2, 1]]
    with pytest.raises(ValueError, match="has 1 ranks, expected 2"):
        plots.rank_intervals(ax, {"near": [1.0]}, {"near": ([1.0], [1.0])}, ["a", "b"])
    with pytest.raises(ValueError, match="average is empty"):
        plots.rank_intervals(ax, {}, {}, ["a"])


def test_pareto_front() -> None:
    cost = {"cheap": 1.0, "middle": 2.0, "worse": 2.5, "dear": 5.0, "twin": 1.0}
    loss = {"cheap": 4.0, "middle": 3.0, "worse": 3.5, "dear": 1.0, "twin": 4.0}
    assert plots.pareto_front(cost, loss) == ["cheap", "middle", "dear", "twin"]


def test_trade_off(ax: Axes) -> None:
    plots.trade_off(ax, {"a": 1.0, "b": 5.0, "c": 6.0}, {"a": 4.0, "b": 1.0, "c": 2.0}, xlabel="cost", ylabel="rank")
    assert list(np.asarray(ax.lines[0].get_xdata())) == [1, 5]
    assert ax.yaxis_inverted()
    assert sorted(texts(ax)) == ["a", "b", "c"]
    with pytest.raises(ValueError, match="expected the same methods, costs > 0"):
        plots.trade_off(ax, {"a": 0.0}, {"a": 1.0}, xlabel="", ylabel="")


def test_better_is_up_on_axes_that_share_their_scale() -> None:
    _, pair = plt.subplots(1, 2, sharey=True)
    for ax in pair:
        plots.trade_off(ax, {"a": 1.0, "b": 5.0}, {"a": 4.0, "b": 1.0}, xlabel="", ylabel="")
    assert all(ax.yaxis_inverted() for ax in pair)


def test_more_can_be_better(ax: Axes) -> None:
    plots.trade_off(ax, {"a": 1.0, "b": 5.0}, {"a": 4.0, "b": 1.0}, xlabel="", ylabel="", lower=False)
    assert list(np.asarray(ax.lines[0].get_xdata())) == [1]
    assert not ax.yaxis_inverted()


def test_names_of_equal_points_do_not_cover_each_other() -> None:
    figure = plt.figure(figsize=(5, 4))
    ax = figure.add_subplot()
    names = ["first one", "second one", "third one"]
    plots.trade_off(ax, dict.fromkeys(names, 1.0), dict.fromkeys(names, 2.0), xlabel="", ylabel="")
    figure.canvas.draw()
    boxes = [Text.get_window_extent(text) for text in ax.texts]  # without the line to the point
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_before_and_after(ax: Axes) -> None:
    plots.before_and_after(ax, {"a": 0.3, "b": None}, {"a": 0.1, "b": 0.2}, xlabel="area")
    assert [list(np.asarray(line.get_xdata())) for line in ax.lines] == [[0.3], [0.1], [0.2]]
    with pytest.raises(ValueError, match="the same methods in order"):
        plots.before_and_after(ax, {"a": 0.3}, {"b": 0.1}, xlabel="area")


def test_sortable_table() -> None:
    table = plots.sortable_table(
        ("name", "x"), [("b <", 2.25), ("a", None), ("c", float("nan"))], caption="& so on", digits=1
    )
    html = table._repr_html_()
    assert "<caption>&amp; so on</caption>" in html
    assert 'data-key="b &lt;">b &lt;</td>' in html
    assert 'class="number" data-key="2.25">2.2</td>' in html
    assert html.count('data-key="">–</td>') == 2
    assert "http" not in html
    assert "ID" not in html.replace("ByID", "")
    assert html.split('id="')[1].split('"')[0] not in table._repr_html_(), "two on one page leave each other alone"
    assert repr(table).splitlines() == ["name  x", "----  ---", "b <   2.2", "a     –", "c     –"]
    with pytest.raises(ValueError, match="got one with 1 cells, expected 2"):
        plots.sortable_table(("a", "b"), [("x",)], caption="")
    with pytest.raises(ValueError, match="digits: got 1, expected 2"):
        plots.sortable_table(("a", "b"), [("x", 1.0)], caption="", digits=(1,))


def test_a_column_without_a_name_has_no_empty_button_and_the_others_still_sort() -> None:
    table = plots.sortable_table(("", "", "x"), [("b", "p", 2.0), ("a", "q", 1.0)], caption="")
    with browser.chromium() as chromium:
        page = chromium.new_page()
        page.set_content(f"<!doctype html><body>{table._repr_html_()}</body>")
        assert page.locator("button").all_inner_texts() == ["x"]
        page.get_by_role("button", name="x").click()
        assert page.locator("tbody td:first-child").all_inner_texts() == ["a", "b"]


def test_a_click_on_the_head_sorts() -> None:
    """Numbers as numbers, texts as texts, again for the other way; what has no value stays last."""
    rows = [("b", 10.0), ("a", None), ("c", 9.0), ("d", -1.0)]
    table = plots.sortable_table(("name", "x"), rows, caption="")
    with browser.chromium() as chromium:
        page = chromium.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.set_content(f"<!doctype html><body>{table._repr_html_()}{table._repr_html_()}</body>")

        def names() -> str:
            return "".join(page.locator("table").first.locator("td:first-child").all_inner_texts())

        assert names() == "bacd"
        for column, expected in (("x", "dcba"), ("x", "bcda"), ("name", "abcd"), ("name", "dcba")):
            page.locator("table").first.get_by_role("button", name=column).click()
            assert names() == expected
        assert page.locator("table").first.locator("th[aria-sort=descending]").inner_text().startswith("name")
        assert "".join(page.locator("table").last.locator("td:first-child").all_inner_texts()) == "bacd"
        assert errors == []
