"""What each part of a study's bookkeeping costs as its trials grow in number: no training, no Ray, one process.

    python -m benchmarks.slopes

A search of one cell is asked for settings, told epochs and ends, by the very code that a study runs (sampler, rungs,
journal, log). After 100, 1,000 and more trials it is measured what one more trial costs: in milliseconds to ask for it,
to report an epoch that is a rung, to tell its end and to log an event; in bytes of the records; and in seconds to open
the journal and the log again, and to read the table of results. Times are medians of several trials.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.define.cells import Cell, make_cell
from study.define.settings import AshaConfig, ResourcesConfig, SearchConfig
from study.record.folder import StudyFolder
from study.record.runs_table import read_study
from study.record.study_log import StudyLog
from study.search.journal import open_journal
from study.search.journal_search import JournalSearch

MEASURED = 15
"""Trials that are timed at each size."""
EPOCHS = 10


@dataclass(frozen=True)
class Slope:
    """What one more trial costs after so many.

    Attributes:
        trials: that have ended.
        ask, report, tell, log: median milliseconds: of settings for a trial, of an epoch at a rung, of an end, of an
            event in the log.
        open_journal, open_log, read_table: seconds, of all that is there.
        journal_bytes, log_bytes: of the files, a trial.
        memory_bytes: that the search's state holds of each trial.
    """

    trials: int
    ask: float
    report: float
    tell: float
    log: float
    open_journal: float
    open_log: float
    read_table: float
    journal_bytes: float
    log_bytes: float
    memory_bytes: float


def cell_of(trials: int) -> Cell:
    """A cell whose search learns from all trials and stops the worst of them at rungs."""
    return make_cell(
        "Digits",
        "MLP",
        "bop",
        fixed={"hid_dim": 16, "depth": 2, "batch_size": 32, "epochs": EPOCHS, "image_size": 8},
        search=SearchConfig(trials=trials, asha=AshaConfig(grace_period=1, reduction_factor=3)),
        resources=ResourcesConfig(device="cpu"),
    )


class Study:
    """One cell's search in a folder, with its log, as a study has them; trials end as soon as they are asked for."""

    def __init__(self, folder: Path, trials: int) -> None:
        self.folder = StudyFolder(folder, name="slopes").create()
        self.cell = cell_of(trials)
        self.log = StudyLog(self.folder.log)
        self.log.append("session", git_commit="0" * 40, versions="", hardware="", command="benchmarks.slopes")
        self.log.append("sweep", cell=self.cell.name, tags={"dataset": "Digits", "model": "MLP"}, params={})
        self.search = JournalSearch(self.cell, open_journal(self.folder.journal), self.folder)

    def trial(self, number: int) -> dict[str, float]:
        """One trial from its settings to its end; milliseconds of each part."""
        took: dict[str, float] = {}

        def timed(part: str, call: Callable[[], Any]) -> Any:
            began = time.perf_counter()
            answer = call()
            took[part] = 1000 * (time.perf_counter() - began)
            return answer

        tune_id = f"t{number}"
        asked = timed("ask", lambda: self.search.suggest(tune_id))
        assert asked is not None
        spec = asked["spec"]
        names = {"cell": self.cell.name, "phase": "search", "method": "bop", "config": spec["config"], "tags": {}}
        self.log.append("start", trial_id=spec["trial_id"], attempt=1, **names)
        # Spread evenly, as those of a search that has settled: a third of each rung goes on.
        value = (number * 0.6180339887) % 1.0
        result = {"epoch": 1, "val_accuracy": value, "train_loss": 1.0, "lr": 0.1, "peak_memory_bytes": 10**6}
        stops = timed("report", lambda: self.search.report(tune_id, result))
        timed(
            "log",
            lambda: self.log.append(
                "epoch", trial_id=spec["trial_id"], epoch=1, metrics={**result}, device_seconds=1.0
            ),
        )
        outcome = "pruned" if stops else "completed"
        self.log.append(
            "end",
            trial_id=spec["trial_id"],
            outcome=outcome,
            metrics={} if stops else dict(result),
            reason="",
            rung=1 if stops else None,
            device_seconds=1.0,
        )
        last = result if stops else {**result, "outcome": "completed"}
        timed("tell", lambda: self.search.conclude(tune_id, last))
        return took


def measure(study: Study, trials: int, done: int) -> Slope:
    """Run trials up to so many, and measure the next few and what is there."""
    for number in range(done, trials):
        study.trial(number)
    timings = [study.trial(number) for number in range(trials, trials + MEASURED)]
    middle = {part: statistics.median(one[part] for one in timings) for part in timings[0]}
    there = trials + MEASURED
    seconds = {
        name: _seconds(call)
        for name, call in (
            ("open_journal", lambda: open_journal(study.folder.journal).get_all_studies()),
            ("open_log", lambda: StudyLog(study.folder.log)),
            ("read_table", lambda: read_study(study.folder.path)),
        )
    }
    tracemalloc.start(1)
    held = open_journal(study.folder.journal)
    held.get_all_studies()
    memory = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return Slope(
        trials,
        **middle,
        **seconds,
        journal_bytes=study.folder.journal.stat().st_size / there,
        log_bytes=study.folder.log.stat().st_size / there,
        memory_bytes=memory / there,
    )


def _seconds(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def table(slopes: Sequence[Slope]) -> list[str]:
    """A row a size."""
    titles = ("trials", "ask ms", "rung ms", "tell ms", "log ms", "journal s", "log s", "table s", "KiB a trial")
    rows = [
        (
            f"{one.trials:,}",
            *(f"{value:.1f}" for value in (one.ask, one.report, one.tell, one.log)),
            *(f"{value:.2f}" for value in (one.open_journal, one.open_log, one.read_table)),
            f"{(one.journal_bytes + one.log_bytes) / 1024:.1f} on disk, {one.memory_bytes / 1024:.1f} in memory",
        )
        for one in slopes
    ]
    widths = [max(len(row[place]) for row in (titles, *rows)) for place in range(len(titles))]
    return ["  ".join(f"{word:>{width}}" for word, width in zip(row, widths, strict=True)) for row in (titles, *rows)]


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print a table or one JSON object a size."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.slopes", description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000, 3000], metavar="N", help="of the cell")
    parser.add_argument("--json", action="store_true", help="one JSON object a size, instead of a table")
    options = parser.parse_args(arguments)
    sizes = sorted(set(options.trials))
    slopes: list[Slope] = []
    with tempfile.TemporaryDirectory(prefix="slopes-") as scratch:
        study, done = Study(Path(scratch) / "study", sizes[-1] + len(sizes) * MEASURED), 0
        for trials in sizes:
            slopes.append(measure(study, trials, done))
            done = trials + MEASURED
    print("\n".join(json.dumps(vars(one)) for one in slopes) if options.json else "\n".join(table(slopes)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
