"""The comparison in the terminal says what the records hold, marks what is not confirmed, and fits the page."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from study.compare import compare, percent
from study.summary import Estimate
from study.tracking import Tracker, default_tracking_uri
from tests.study.recorded_study import record_run
from trainers.errors import UserError


@pytest.fixture(scope="module")
def table(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = Path(shutil.copytree(recorded, tmp_path_factory.mktemp("compared") / "study"))
    tracker = Tracker(default_tracking_uri(folder), "recorded")
    cell = "Digits-MLP-bop"
    run_id = tracker.sweep_run(cell, {"range_edges": f"{cell}: lr 0.98 lies at the upper edge of 0.1..1"}, {})
    tracker.finish(run_id, "completed")
    return compare(folder).table


def line_of(table: str, start: str, occurrence: int = 0) -> str:
    return [line for line in table.splitlines() if line.startswith(start)][occurrence]


def test_a_confirmed_method_shows_mean_interval_memory_time_and_trials(table: str) -> None:
    assert line_of(table, "bop").split() == (
        ["bop", "3", "seeds"] + ["92.0", "±", "2.5"] + ["91.0", "±", "2.5"] + ["10.0", "0.25x", "3.0"] + ["2", "1", "2"]
    )


def test_an_unconfirmed_method_says_so(table: str) -> None:
    line = line_of(table, "binary ", 1)
    assert "no: search, 1 seed *" in line and "91.0 ± –" in line
    assert "* Not confirmed" in table


def test_no_value_of_a_pruned_trial_is_shown(table: str) -> None:
    assert "99.9" not in table


def test_best_configurations_name_their_settings_and_shared_ones_once(table: str) -> None:
    assert "  binary     mask EWM, scheduler scaled-gaussian, T 120\n" in table
    assert "  all        batch 96, epochs 2, image_size 8\n" in table


def test_a_learning_rate_is_named_only_where_it_drives_something(table: str) -> None:
    assert "  bop        lr 0.2, " in table
    assert "  frozen     –\n" in table


def test_values_at_a_ranges_edge_are_noted_below(table: str) -> None:
    assert table.rstrip().endswith("  Digits-MLP-bop: lr 0.98 lies at the upper edge of 0.1..1")


def test_the_table_fits_120_columns_and_names_the_data_set(table: str) -> None:
    assert max(map(len, table.splitlines())) <= 120
    assert "scikit-learn" in line_of(table, "Digits, MLP: ")


def test_compare_writes_results_and_figure_from_a_copied_study(recorded_copy: Path) -> None:
    comparison = compare(recorded_copy)
    assert comparison.results.parent == recorded_copy and pq.read_table(comparison.results).num_rows == 65
    assert [path.name for path in comparison.figures] == ["accuracy_vs_memory.png", "accuracy_vs_memory.svg"]
    assert all(path.stat().st_size > 1000 for path in comparison.figures)


def test_compare_twice_says_the_same(recorded_copy: Path) -> None:
    assert compare(recorded_copy).table == compare(recorded_copy).table


def test_a_study_without_a_completed_run_is_refused(fresh_study: Path) -> None:
    tracker = Tracker(default_tracking_uri(fresh_study), "fresh")
    with pytest.raises(UserError, match=r"no completed run to compare \(runs: none at all\)"):
        compare(fresh_study)
    record_run(tracker, None, "Digits", "bop", "train", "a", 1, "running", 0.5, 0.1, 1)
    record_run(tracker, None, "Digits", "bop", "search", "b", 1, "pruned", 0.5, 0.1, 1)
    with pytest.raises(UserError, match="runs: 1 pruned, 1 running"):
        compare(fresh_study)
    assert not (fresh_study / "results.parquet").exists()


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (None, "–"),
        (Estimate(0.5, None, 1), "50.0 ± –"),
        (Estimate(0.5, 0.0, 3), "50.0 ± 0.0"),
        (Estimate(0.91249, 0.00551, 3), "91.2 ± 0.6"),
    ],
)
def test_accuracies_are_shown_in_per_cent(estimate: Estimate | None, text: str) -> None:
    assert percent(estimate) == text
