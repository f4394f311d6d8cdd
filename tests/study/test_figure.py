"""The figure shows one point a method, of one kind of accuracy, with names that can be read."""

import re
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from study.figure import draw_figure, shown
from study.summary import CellGroup, Estimate, MethodSummary
from trainers.errors import UserError

METHODS = ("binary", "bop", "frozen", "real-SGD", "real-Adam")


def summary(
    method: str, mib: float | None, accuracy: float, phase: str = "confirm", tested: bool = True, n: int = 3
) -> MethodSummary:
    estimate = Estimate(accuracy, 0.02 if n > 1 else None, n)
    test = estimate if tested else None
    memory = None if mib is None else int(mib * 2**20)
    return MethodSummary(method, phase, tuple(range(n)), n, {}, estimate, test, memory, 1.0, (), Counter())


def group(*methods: MethodSummary, dataset: str = "Digits") -> CellGroup:
    return CellGroup(dataset, "MLP", methods)


def texts(svg: Path) -> str:
    """Everything written in an SVG, where matplotlib draws letters as shapes with their text in a comment."""
    return "\n".join(re.findall(r"<!-- (.*?) -->", svg.read_text(), re.S))


def test_every_method_is_named_once_even_where_all_points_coincide(tmp_path: Path) -> None:
    png, svg = draw_figure([group(*(summary(name, 10, 0.9) for name in METHODS))], tmp_path / "figure", "s")
    for name in METHODS:
        assert texts(svg).splitlines().count(name) == 1
    with Image.open(png) as picture:
        assert picture.width > 800 and picture.height > 600


def test_the_title_the_study_and_n_are_stated(tmp_path: Path) -> None:
    _, svg = draw_figure([group(summary("bop", 10, 0.9))], tmp_path / "figure", "my study")
    written = " ".join(texts(svg).split())
    assert "scikit-learn" in written and "MLP" in written and "study my study" in written and "n = 3" in written
    assert "chance 10 %" in written


def test_a_data_set_of_ones_own_has_its_file_name_and_no_chance_level(tmp_path: Path) -> None:
    _, svg = draw_figure([group(summary("bop", 10, 0.9), dataset="/a/own.parquet")], tmp_path / "figure", "s")
    assert "own.parquet: MLP" in texts(svg) and "chance" not in texts(svg)


def test_confirmed_and_unconfirmed_results_do_not_share_a_panel(tmp_path: Path) -> None:
    mixed = group(summary("bop", 10, 0.9), summary("real-Adam", 40, 0.99, "search", tested=False, n=1))
    assert [method.method for method in shown(mixed)[1]] == ["bop"]
    searched = group(summary("bop", 10, 0.9, "search", tested=False, n=1))
    assert shown(searched)[0] == "val_accuracy"
    _, svg = draw_figure([searched], tmp_path / "figure", "s")
    assert "bop (search, n = 1)" in texts(svg) and "not confirmed" in " ".join(texts(svg).split())


def test_a_panel_shows_test_accuracy_only_if_every_method_in_it_was_tested() -> None:
    tested, untested = summary("bop", 10, 0.9), summary("frozen", 10, 0.9, tested=False)
    assert shown(group(tested))[0] == "test_accuracy"
    assert shown(group(tested, untested))[0] == "val_accuracy"


def test_many_panels_and_methods_without_memory_are_drawn(tmp_path: Path) -> None:
    groups = [group(summary("bop", 10, 0.9), dataset=name) for name in ("MNIST", "CIFAR10", "CIFAR100")]
    png, svg = draw_figure([*groups, group(summary("bop", None, 0.5))], tmp_path / "figure", "s")
    assert png.stat().st_size > 1000
    assert "no run with accuracy and memory" in texts(svg)


def test_a_figure_that_cannot_be_written_is_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "figure.png").mkdir()
    with pytest.raises(UserError, match=r"figure\.png cannot be written"):
        draw_figure([group(summary("bop", 10, 0.9))], tmp_path / "figure", "s")
    assert [path.name for path in tmp_path.iterdir()] == ["figure.png"]
