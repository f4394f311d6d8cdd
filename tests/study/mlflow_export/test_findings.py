"""What the comparison wrote is said beside the runs: each verdict at its sweep, all of them at the experiment."""

import json
from pathlib import Path
from typing import Any

from study.mlflow_export.findings import LONGEST_NOTE, artifacts, notes, overview

ROW: dict[str, Any] = {
    "method": "bop",
    "label": "bop",
    "kind": "undecided",
    "text": "undecided: [-2.2, 1.4] reaches beyond the margin, at 0.50x memory",
    "front": "on the Pareto front",
    "seeds": [11, 12, 13],
    "test_accuracy": {"mean": 0.975, "low": 0.97, "high": 0.981, "n": 3},
    "val_accuracy": None,
    "peak_memory_bytes": {"mean": 3 * 2**20, "low": None, "high": None, "n": 1},
}


def write(folder: Path, *rows: dict[str, Any], remarks: tuple[str, ...] = ()) -> None:
    workload = {"dataset": "Digits", "model": "MLP", "measure": "test", "baseline": "real-Adam"}
    content = {"workloads": [{**workload, "methods": list(rows), "remarks": list(remarks)}]}
    (folder / "verdicts.json").write_text(json.dumps(content))


def test_a_sweep_is_told_its_verdict_with_accuracy_and_memory(tmp_path: Path) -> None:
    write(
        tmp_path, ROW, {**ROW, "method": "real-Adam", "label": "real-Adam", "kind": "baseline", "text": "the baseline"}
    )
    bop, adam = notes(tmp_path)
    assert (bop.dataset, bop.model, bop.method) == ("Digits", "MLP", "bop")
    assert bop.text.startswith(
        "**Undecided: [-2.2, 1.4] reaches beyond the margin, at 0.50x memory**, against real-Adam."
    )
    assert "On the Pareto front." in bop.text
    assert "bop: 97.5 % [97.0, 98.1], 3.00 MiB; 3 seeds." in bop.text
    assert adam.text.startswith("**The baseline**. ")


def test_a_banner_stands_before_every_number(tmp_path: Path) -> None:
    write(tmp_path, ROW)
    content = json.loads((tmp_path / "verdicts.json").read_text())
    (tmp_path / "verdicts.json").write_text(json.dumps({**content, "banners": ["UNEQUAL BUDGETS: so"]}))
    assert notes(tmp_path)[0].text.startswith("**UNEQUAL BUDGETS: so**\n\n**Undecided")
    assert str(overview(tmp_path)).startswith("**UNEQUAL BUDGETS: so**\n\n### Digits, MLP")


def test_rows_of_one_method_are_told_together(tmp_path: Path) -> None:
    write(tmp_path, {**ROW, "label": "bop#1"}, {**ROW, "label": "bop#2"})
    (note,) = notes(tmp_path)
    assert note.text.index("bop#1") < note.text.index("bop#2")


def test_the_experiment_is_told_all_verdicts_in_a_table(tmp_path: Path) -> None:
    write(tmp_path, ROW, remarks=("Test set: opened once.",))
    told = str(overview(tmp_path))
    assert "| bop | 97.5 % [97.0, 98.1] | 3.00 MiB | undecided: [-2.2, 1.4] reaches" in told
    assert told.endswith("- Test set: opened once.")
    write(tmp_path, *[{**ROW, "label": "x" * 400}] * 50)
    assert len(str(overview(tmp_path))) == LONGEST_NOTE


def test_the_reports_sentence_comes_first_without_links_into_the_report(tmp_path: Path) -> None:
    write(tmp_path, ROW)
    said = "> [**bop**](#runs-bop) reaches 97.5 \\[97.0, 98.1\\] %. **Undecided: **[**real-SGD**](#r)."
    (tmp_path / "report.md").write_text(f"# Study\n\n## The answer\n\nDigits\n\n{said}\n\n## Results\n\n> other\n")
    told = str(overview(tmp_path))
    assert told.startswith("bop reaches 97.5 \\[97.0, 98.1\\] %. Undecided: real-SGD.\n\n### Digits, MLP")
    assert "other" not in told


def test_nothing_is_said_where_nothing_was_compared_or_its_file_cannot_be_read(tmp_path: Path) -> None:
    assert (notes(tmp_path), overview(tmp_path), artifacts(tmp_path)) == ([], None, [])
    for damaged in ("", "[]", '{"workloads": 1}', '{"workloads": [1]}', '{"workloads": [{"dataset": "x"}]}'):
        (tmp_path / "verdicts.json").write_text(damaged)
        assert (notes(tmp_path), overview(tmp_path)) == ([], None), damaged


def test_the_report_comes_first_and_pictures_stand_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    for name in (
        "verdicts.json",
        "report.html",
        "accuracy_vs_memory.png",
        "figures/lift.svg",
        "figures/x.txt",
        "other",
    ):
        (tmp_path / name).write_text(name)
    found = [(file.folder, file.source.name) for file in artifacts(tmp_path)]
    assert found == [
        ("", "report.html"), ("", "verdicts.json"), ("figures", "accuracy_vs_memory.png"), ("figures", "lift.svg"),
    ]  # fmt: skip
