"""A whole study from its file: every cell searched, the best confirmed, all of it compared."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from study.define.cells import StudyConfig
from study.define.memory_plan import Need
from study.record.folder import StudyFolder
from study.record.terminal import emit, say

if TYPE_CHECKING:  # comparing needs none of what a session is made of
    from study.drive.session import Session


def run_study(
    study: StudyConfig,
    folder: StudyFolder,
    session: "Session",
    needs: Mapping[str, Need],
    *,
    allow_unequal: bool = False,
    reopen_test: bool = False,
) -> int:
    """Run what the study still lacks and show the comparison; 0, or 1 where a cell or a confirmation has no result.

    Args:
        study: checked, with its data prepared.
        folder: claimed for the study's cells.
        session: the work in its folder.
        needs: the memory of one run of each cell, by the cell's name.
        allow_unequal: compare methods whose offered budgets differ, below a banner.
        reopen_test: open test sets again that the study's log says were opened, where the figures are lost.

    Raises:
        StoppedError: Ctrl-C; the runs that were going on are saved.
    """
    from study.drive.course import run_cells
    from study.drive.sweep import SweepResult

    runs = sum(cell.trials for cell in study.cells)
    again = len(study.cells) * study.confirm.k * len(study.confirm.seeds)
    say(f"study {study.name}: {len(study.cells)} sweeps, {runs} search trials, up to {again} confirmation runs")

    def searched(result: SweepResult) -> None:
        say("\n".join(result.lines()), important=True)

    course = run_cells(
        study.cells, study.confirm, folder, session.log, needs, reopen_test=reopen_test, searched=searched
    )
    unfinished = [f"{name} has no completed trial" for name, result in course.searches.items() if result.best is None]
    confirmations = course.confirmations.items()
    unfinished += [f"{trial_id} {outcome}" for trial_id, outcome in confirmations if outcome != "completed"]
    show_comparison(folder.path, allow_unequal=allow_unequal, margin=study.confirm.margin, report=True)
    say(f"open the MLflow UI on this study: python -m study ui {folder.shown}", important=True)
    if unfinished:
        traceback = f"a failed run's traceback is in {folder.shown}/runs/*/error.txt"
        say(f"not all is well: {'; '.join(unfinished)}; {traceback}", important=True)
    emit("result", study=study.name, folder=str(folder.path), unfinished=unfinished)
    return 1 if unfinished else 0


def show_comparison(
    directory: str | Path, *, allow_unequal: bool = False, margin: float | None = None, report: bool = False
) -> None:
    """Compare the recorded runs of a study's folder and print the table and where the files are.

    Args:
        directory: the study's folder.
        allow_unequal, margin: as `compare` takes them.
        report: write the report too, and name it first.
    """
    from study.compare.compare import compare

    comparison = compare(directory, allow_unequal=allow_unequal, margin=margin)
    say(f"\n{comparison.table}\n", important=True)
    if comparison.results is None:
        say(f"{directory} cannot be written, so the comparison is shown and no file of it is kept", important=True)
        return
    if report:
        from study.report.content import content_of
        from study.report.report import document_of, write_report

        say("writing the report ...")
        made = write_report(document_of(content_of(comparison.found)), Path(directory))
        how = f"to open in a browser, or to send; {made.markdown.name} says the same"
        say(f"report: {made.html} ({how})", important=True)
    for figure in comparison.figures[::2]:
        say(f"figure: {figure}", important=True)
    say(f"results: {comparison.results}", important=True)
    say(f"verdicts: {comparison.verdicts}", important=True)
