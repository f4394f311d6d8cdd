"""A whole study from its file: every cell searched, the best confirmed, all of it compared."""

from pathlib import Path

from study.config import StudyConfig
from study.folder import StudyFolder
from study.progress import say
from study.tracking import Tracker


def run_study(study: StudyConfig, folder: StudyFolder, tracker: Tracker) -> int:
    """Run what the study still lacks and show the comparison; the exit status.

    Args:
        study: checked, with its data prepared.
        folder: claimed for the study's cells.
        tracker: the study's records.
    """
    from study.cluster import connect
    from study.confirm import confirm
    from study.sweep import sweep

    runs = sum(cell.trials for cell in study.cells)
    again = len(study.cells) * study.confirm.k * len(study.confirm.seeds)
    say(f"study {study.name}: {len(study.cells)} sweeps, {runs} search trials, up to {again} confirmation runs")
    say("starting Ray ...")
    connect()
    for cell in study.cells:
        say("\n".join(sweep(cell, folder, tracker).lines()))
    if study.confirm.k:
        confirm(study.cells, study.confirm, folder, tracker)
    show_comparison(folder.path)
    say(f"open the MLflow UI on this study: python -m study ui {folder.shown}")
    return 0


def show_comparison(directory: str | Path) -> None:
    """Compare the recorded runs of a study's folder and print the table and where the files are."""
    from study.compare import compare

    comparison = compare(directory)
    say(f"\n{comparison.table}\n")
    say(f"figure: {comparison.figures[0]}")
    say(f"results: {comparison.results}")
