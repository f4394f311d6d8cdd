"""`compare` reads recorded runs alone, says what they hold, and leaves whole files or none."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from study.cli.command_line import main
from study.compare.compare import compare
from study.record.study_log import StudyLog
from tests.study.made_up_runs import OFFER
from tests.study.recorded_study import begin_study, record_run, record_sweep
from trainers.errors import UserError


def recorded_offers(folder: Path, **by_method: str) -> None:
    """Let the sweeps of a recorded study say what they were offered."""
    log = StudyLog(folder / "log.jsonl")
    for method, offered in by_method.items():
        log.append("sweep_end", cell=record_sweep(log, "Digits", method, offered=offered), tags={})


@pytest.fixture(scope="module")
def table(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = Path(shutil.copytree(recorded, tmp_path_factory.mktemp("compared") / "study"))
    cell = "Digits-MLP-bop"
    edges = {"range_edges": f"{cell}: lr 0.98 lies at the upper edge of 0.1..1"}
    StudyLog(folder / "log.jsonl").append("sweep_end", cell=cell, tags=edges)
    return compare(folder).table


def line_of(table: str, start: str, occurrence: int = 0) -> str:
    return [line for line in table.splitlines() if line.startswith(start)][occurrence]


def test_a_confirmed_method_shows_mean_interval_and_memory(table: str) -> None:
    words = ["bop", "3", "92.0", "[89.5,", "94.5]", "91.0", "[88.5,", "93.5]", "10.0", "0.25x"]
    assert line_of(table, "bop").split()[:10] == words


def test_trials_are_counted_by_outcome(table: str) -> None:
    assert line_of(table, "bop", 1).split()[:6] == ["bop", "2", "1", "1", "1", "0"]


def test_an_unconfirmed_method_says_so(table: str) -> None:
    assert line_of(table, "binary (search) *").split()[3:6] == ["1", "91.0", "[–]"]
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
    edges = table[table.index("At the edge of a search range") :]
    assert "  Digits-MLP-bop: lr 0.98 lies at the upper edge of 0.1..1\n" in edges


def test_the_table_fits_120_columns_and_names_the_data_set(table: str) -> None:
    assert max(map(len, table.splitlines())) <= 120
    assert "scikit-learn" in line_of(table, "Digits, MLP: ")


def test_compare_writes_results_verdicts_and_figure_from_a_copied_study(recorded_copy: Path) -> None:
    comparison = compare(recorded_copy)
    assert comparison.results is not None and comparison.verdicts is not None
    assert comparison.results.parent == recorded_copy and pq.read_table(comparison.results).num_rows == 65
    assert [path.name for path in comparison.figures] == ["accuracy_vs_memory.png", "accuracy_vs_memory.svg"]
    assert all(path.stat().st_size > 1000 for path in comparison.figures)
    verdicts = json.loads(comparison.verdicts.read_text())
    assert verdicts["study"] == "recorded" and verdicts["git_commit"] and len(verdicts["ledger"]) == 7
    assert [one["label"] for one in verdicts["workloads"][0]["methods"]][:2] == ["binary", "bop"]


def test_a_read_only_copy_is_compared_and_no_file_is_written(
    recorded_copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = compare(recorded_copy).table
    for path in recorded_copy.glob("*.*"):
        if path.name not in ("study.json", "log.jsonl"):
            path.unlink()
    before = sorted(recorded_copy.iterdir())
    monkeypatch.setattr("os.access", lambda path, mode: not str(path).startswith(str(recorded_copy)))
    assert main(["compare", str(recorded_copy)]) == 0
    said = capsys.readouterr().out
    assert table in said and "cannot be written, so the comparison is shown and no file of it is kept" in said
    assert sorted(recorded_copy.iterdir()) == before


def test_compare_twice_says_the_same(recorded_copy: Path) -> None:
    first, second = compare(recorded_copy), compare(recorded_copy)
    assert first.table == second.table and first.findings == second.findings


def test_unequal_budgets_are_refused_with_status_2_unless_they_are_allowed(
    recorded_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """PROTOCOL §4.4"""
    recorded_offers(recorded_copy, bop=OFFER.tag(), binary=OFFER.tag().replace('"trials": 5', '"trials": 9'))
    assert main(["compare", str(recorded_copy)]) == 2
    assert "search trials: 9 for binary; 5 for bop (4 fewer)" in capsys.readouterr().err
    assert not (recorded_copy / "results.parquet").exists() and not (recorded_copy / "verdicts.json").exists()
    assert main(["compare", str(recorded_copy), "--allow-unequal"]) == 0
    assert "!! UNEQUAL BUDGETS" in capsys.readouterr().out


def test_the_margin_can_be_given_and_must_mean_something(recorded_copy: Path) -> None:
    """PROTOCOL §6.2"""
    assert "margin ±7.5 points" in compare(recorded_copy, margin=7.5).table
    with pytest.raises(UserError, match="margin is 0 points; give more than 0"):
        compare(recorded_copy, margin=0.0)


def test_verdicts_that_cannot_be_written_are_said_plainly(recorded_copy: Path) -> None:
    (recorded_copy / "verdicts.json").mkdir()
    with pytest.raises(UserError, match=r"verdicts\.json cannot be written"):
        compare(recorded_copy)
    assert not list(recorded_copy.glob(".verdicts*"))


def test_a_study_without_a_completed_run_is_refused(tmp_path: Path) -> None:
    fresh_study = tmp_path / "fresh"
    log = begin_study(fresh_study, "fresh")
    with pytest.raises(UserError, match=r"no completed run to compare \(runs: none at all\)"):
        compare(fresh_study)
    record_run(log, None, "Digits", "bop", "train", "a", 1, "running", 0.5, 0.1, 1)
    record_run(log, None, "Digits", "bop", "search", "b", 1, "pruned", 0.5, 0.1, 1)
    with pytest.raises(UserError, match="runs: 1 pruned, 1 running"):
        compare(fresh_study)
    assert not (fresh_study / "results.parquet").exists()
