"""The figures show one point a method, of one kind of accuracy, with names that can be read; and the profiles."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from study.compare.figure import STATE, draw_figure, draw_figures, shown
from study.compare.findings import find
from study.compare.scores import summarise
from study.compare.verdict import WorkloadVerdicts, judge
from tests.study.made_up_runs import Row, confirmed, run, searched, sweep_tags, table
from trainers.errors import UserError

METHODS = ("binary", "bop", "frozen", "real-SGD", "real-Adam")


def workloads(*rows: Row | Sequence[Row]) -> list[WorkloadVerdicts]:
    return judge(summarise(table(*rows)), 1.0)


def bop(**changes: Any) -> list[Row]:
    return confirmed("bop", [0.88, 0.90, 0.92], **changes)


def texts(svg: Path) -> str:
    """Everything written in an SVG, where matplotlib draws letters as shapes with their text in a comment."""
    return "\n".join(re.findall(r"<!-- (.*?) -->", svg.read_text(), re.S))


def test_every_method_is_named_once_even_where_all_points_coincide(tmp_path: Path) -> None:
    variants = ("binary-EWM-const", "binary-WPM-const")
    rows = [confirmed(name, [0.88, 0.90, 0.92]) for name in (*METHODS, *variants)]
    png, svg = draw_figure(workloads(*rows), tmp_path / "figure", "s")
    for name in (*METHODS, *variants):
        assert texts(svg).splitlines().count(name) == 1
    with Image.open(png) as picture:
        assert picture.width > 800 and picture.height > 600


def test_the_title_the_study_and_n_are_stated(tmp_path: Path) -> None:
    _, svg = draw_figure(workloads(bop()), tmp_path / "figure", "my study", ["SIMULATED on synthetic learning curves"])
    written = " ".join(texts(svg).split())
    assert "scikit-learn" in written and "MLP" in written and "study my study" in written and "n = 3" in written
    assert "chance 10 %" in written and "SIMULATED" in written and "confirmation seeds (n = 3)." in written


def test_a_data_set_of_ones_own_has_its_file_name_and_no_chance_level(tmp_path: Path) -> None:
    _, svg = draw_figure(workloads(bop(dataset="/a/own.parquet")), tmp_path / "figure", "s")
    assert "own.parquet: MLP" in texts(svg) and "chance" not in texts(svg)


def test_confirmed_and_unconfirmed_results_do_not_share_a_panel(tmp_path: Path) -> None:
    (mixed,) = workloads(bop(), searched("real-Adam"))
    assert [method.method for method in shown(mixed.group)[1]] == ["bop"]
    alone = workloads(searched("bop"))
    assert shown(alone[0].group)[0] == "validation"
    _, svg = draw_figure(alone, tmp_path / "figure", "s")
    assert "bop (search, n = 1)" in texts(svg) and "not confirmed" in " ".join(texts(svg).split())


def test_a_panel_shows_test_accuracy_only_if_every_method_in_it_was_tested() -> None:
    untested = [row | {"test_accuracy": None} for row in confirmed("frozen", [0.9, 0.9])]
    assert shown(workloads(bop())[0].group)[0] == "test"
    assert shown(workloads(bop(), untested)[0].group)[0] == "validation"


def test_a_panel_says_whether_its_intervals_are_over_images_too(tmp_path: Path) -> None:
    _, svg = draw_figure(workloads(bop(test_images=300)), tmp_path / "figure", "s")
    assert "over confirmation seeds (n = 3) and images." in " ".join(texts(svg).split())


def test_methods_of_several_n_are_named_with_theirs(tmp_path: Path) -> None:
    many = confirmed("frozen", [0.7 + place / 100 for place in range(10)], 20)
    _, svg = draw_figure(workloads(bop(), many), tmp_path / "figure", "s")
    written = " ".join(texts(svg).split())
    assert "bop (n = 3)" in written and "frozen (n = 10)" in written and "seeds (n = 3 to 10)." in written


def test_intervals_of_memory_and_what_is_perhaps_on_the_front_are_drawn_and_said(tmp_path: Path) -> None:
    rows = [confirmed("bop", [0.90, 0.91, 0.92], [10, 11, 12]), confirmed("frozen", [0.90, 0.92, 0.90], [11, 11, 12])]
    png, svg = draw_figure(workloads(*rows), tmp_path / "figure", "s")
    assert png.stat().st_size > 1000
    assert "perhaps on it, by the intervals: frozen." in " ".join(texts(svg).split())


def test_an_interval_of_memory_that_reaches_below_zero_can_be_drawn(tmp_path: Path) -> None:
    png, _ = draw_figure(workloads(confirmed("bop", [0.9, 0.91], [2, 20])), tmp_path / "figure", "s")
    with Image.open(png) as picture:
        assert picture.width > 800


def test_bits_of_state_are_drawn_across_where_they_were_recorded(tmp_path: Path) -> None:
    bits = {"bop": 33.0, "binary-4bit": 5.0, "binary-0bit": 1.0}
    rows = [confirmed(name, [0.9, 0.91, 0.92], state_bits_per_weight=value) for name, value in bits.items()]
    unknown = confirmed("real-Adam", [0.9, 0.92, 0.94])
    found = find("s", table(*rows, unknown), sweep_tags(*bits, "real-Adam"))
    paths = draw_figures(found, tmp_path)
    assert [path.stem for path in paths] == ["accuracy_vs_memory"] * 2 + ["accuracy_vs_state"] * 2
    written = " ".join(texts(paths[3]).split())
    assert "Accuracy against bits of state" in written and "bits a binary weight" in written
    assert all(name in written for name in bits) and "real-Adam" not in written
    _, svg = draw_figure(judge(summarise(table(unknown)), 1.0), tmp_path / "none", "s", across=STATE)
    assert "no run with accuracy and bits of state" in texts(svg)


def test_many_panels_and_methods_without_memory_are_drawn(tmp_path: Path) -> None:
    panels = [bop(dataset=name) for name in ("MNIST", "CIFAR10", "CIFAR100")]
    bare = [row | {"peak_memory_bytes": None} for row in bop()]
    png, svg = draw_figure(workloads(*panels, bare), tmp_path / "figure", "s")
    assert png.stat().st_size > 1000
    assert "no run with accuracy and peak memory" in texts(svg)


def test_over_several_workloads_the_profiles_are_drawn_beside(tmp_path: Path) -> None:
    """PROTOCOL §6.5"""
    rows = [confirmed(name, [accuracy, accuracy], dataset=dataset) for dataset in ("Digits", "MNIST")
            for name, accuracy in (("bop", 0.9), ("binary", 0.8))]  # fmt: skip
    rows.append([run("frozen", "confirm", 0, 11, 0.5, status="diverged", dataset=name) for name in ("Digits", "MNIST")])
    methods = ("bop", "binary", "frozen")
    tags = sweep_tags(*methods) | sweep_tags(*methods, dataset="MNIST")
    paths = draw_figures(find("s", table(*rows), tags), tmp_path)
    assert [path.name for path in paths] == [
        "accuracy_vs_memory.png", "accuracy_vs_memory.svg", "performance_profile.png", "performance_profile.svg"
    ]  # fmt: skip
    written = texts(paths[3])
    assert "bop (area 1.00)" in written and "binary (area 0.67)" in written and "frozen (area 0.00)" in written
    assert len(draw_figures(find("s", table(bop()), sweep_tags("bop")), tmp_path)) == 2


def test_a_figure_that_cannot_be_written_is_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "figure.png").mkdir()
    with pytest.raises(UserError, match=r"figure\.png cannot be written"):
        draw_figure(workloads(bop()), tmp_path / "figure", "s")
    assert [path.name for path in tmp_path.iterdir()] == ["figure.png"]
