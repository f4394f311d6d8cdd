"""Studies from Python: run one, or read one that was run, in a program or a notebook.

    import study

    s = study.load("studies/quickstart")
    s.runs()                     # one row a run, as a pandas DataFrame
    s.verdicts()                 # one row a method and workload: scores, difference to the baseline, verdict
    s.plot.accuracy_memory()     # a picture, shown by a notebook
    study.run("quickstart", trials=3, output="studies/mine")

A loaded study holds no records: each call reads the study's log, so that it tells of a study that is still running too.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.record.display import Quiet, use
from study.record.folder import study_identity
from study.record.study_state import StateReader, StudyState
from trainers.errors import UserError
from trainers.plugins import load_plugin

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from study.compare.findings import Findings
    from study.compare.picture import Plots


class Study:
    """A study that was run, or is running: its records, as the study's folder has them.

    Args:
        directory: the study's folder.

    Raises:
        UserError: no study in the folder.
    """

    def __init__(self, directory: str | Path) -> None:
        self.name = study_identity(directory).name
        """The study's name."""
        self.folder = Path(directory).resolve()
        """The study's folder."""

    def __repr__(self) -> str:
        state = self.status()
        return f"<study {self.name!r} in {self.folder}: {state.state}, {state.over} of {state.over + state.left} runs>"

    def runs(self) -> "pd.DataFrame":
        """One row a run, whatever became of it: what it is, its settings, what it measured and used, its origin.

        The columns are those of `results.parquet` (`study.record.columns`): accuracies are fractions 0..1, memory is in
        bytes, times in seconds; a setting that a run's method or model does not read is missing.

        Raises:
            UserError: no records yet, or a damaged log.
        """
        from study.record.runs_table import collect

        return _frame(collect(self.folder))

    def epochs(self) -> "pd.DataFrame":
        """One row an epoch of a run: what learning curves are of. Units and errors as for `runs`."""
        from study.record.epochs_table import read_epochs

        return _frame(read_epochs(self.folder))

    def findings(self, *, margin: float | None = None, allow_unequal: bool = False) -> "Findings":
        """Scores, verdicts and budgets as values, by the protocol; nothing is written.

        Args:
            margin: of equivalence, in points; None takes the study's own.
            allow_unequal: compare methods whose offered budgets differ, below a banner.

        Raises:
            UserError: no records yet, a damaged log, no completed run, or offered budgets that differ.
        """
        from study.compare.found import find_in, require_completed

        return require_completed(find_in(self.folder, allow_unequal=allow_unequal, margin=margin)).findings

    def verdicts(self, *, margin: float | None = None, allow_unequal: bool = False) -> "pd.DataFrame":
        """One row a method and workload, in the comparison's order; arguments and errors as for `findings`.

        Columns: `dataset`, `model`, `method`, `phase`, `n` (seeds), `test_accuracy` and `val_accuracy` with the ends of
        their 95 % intervals (`..._low`, `..._high`; fractions), `peak_memory_bytes`, `state_bits_per_weight`, `kind`
        (baseline, comparable, higher, lower, undecided, none), `difference_points` to the baseline with its ends,
        `holm_p`, `memory_ratio`, `front`, and the verdict in words as `text`. What is not measured is missing.
        """
        import pandas as pd

        rows = [
            _verdict_row(workload.group.dataset, workload.group.model, verdict)
            for workload in self.findings(margin=margin, allow_unequal=allow_unequal).workloads
            for verdict in workload.verdicts
        ]
        frame = pd.DataFrame(rows)
        words = ("dataset", "model", "method", "phase", "kind", "front", "text")
        # What no row has measured is a missing number too, not an object.
        return frame.astype({name: float for name in frame.columns if name not in (*words, "n")})

    def table(self, *, margin: float | None = None, allow_unequal: bool = False) -> str:
        """The comparison as `python -m study compare` prints it; arguments and errors as for `findings`."""
        from study.compare.table import render

        return render(self.findings(margin=margin, allow_unequal=allow_unequal))

    @property
    def plot(self) -> "Plots":
        """The study's figures: `plot.accuracy_memory()`, `plot.accuracy_state()`, `plot.curves("flip_rate")`."""
        from study.compare.picture import Plots
        from study.record.epochs_table import read_epochs

        return Plots(self.findings, lambda: read_epochs(self.folder), self.name)

    def status(self) -> StudyState:
        """What is done, what runs and what is left (`study.record.study_state`)."""
        return StateReader(self.folder).read()


def run(
    source: str | Path | Mapping[str, Any],
    *,
    output: str | Path | None = None,
    trials: int | None = None,
    asha: bool = True,
    at_once: int | None = None,
    data_root: str | Path = "data",
    prepared_root: str | Path | None = None,
    download: bool = False,
    simulate: str | Path | bool = False,
    plugins: Sequence[str | Path] = (),
    allow_unequal: bool = False,
    reopen_test: bool = False,
    tracking_uri: str | None = None,
    storage: str | None = None,
    quiet: bool = False,
) -> Study:
    """Run what a study still lacks, as `python -m study run` does, and return it; its lines go to standard output.

    It may be called from any thread, and beside a Ray that runs in the process already, which is then used where its
    workers can (docs/environments.md). In a notebook's main thread an interrupt stops it as Ctrl-C does: the first
    finishes the running steps and saves, a second ends the whole process.

    Args:
        source: a preset's name, the path of a study file, or such a file's content as a dictionary.
        output: the study's folder; None: `studies/<name of the study>`.
        trials: search trials a cell; None: as the study says.
        asha: whether a trial that lags is stopped early.
        at_once: the most trials side by side; None: as many as fit.
        data_root: folder of the sources.
        prepared_root: folder of prepared data; None: beside the sources.
        download: fetch data sets that are not on disk.
        simulate: train nothing: True for synthetic learning curves, a study's folder for those recorded there.
        plugins: Python files with methods, models or data sets of your own.
        allow_unequal: compare methods whose offered budgets differ.
        reopen_test: open test sets again where they were opened before; that is recorded.
        tracking_uri: an MLflow tracking URI; None: a database in the folder.
        storage: shared storage for a cluster's nodes (docs/cluster.md); None: the study's own, or none.
        quiet: print only results and what went wrong.

    Returns:
        The study, also where some of its runs failed: `runs()` says which.

    Raises:
        UserError: what was given cannot be run; the message says what to do. Nothing was trained then.
        StoppedError: it was interrupted; what was done is saved, and the same call goes on from there.
    """
    from study.cli import commands
    from study.cli.command_line import parser
    from study.define.study_file import load_study

    for plugin in plugins:
        load_plugin(str(plugin))
    with tempfile.TemporaryDirectory() as folder:
        file = _file_of(source, Path(folder))
        if output is None:
            name = load_study(file, data_root=str(data_root)).name
            output = Path("studies") / (f"{name}-simulated" if simulate else name)
        words = ["run", file, "--output", str(output), "--data-root", str(data_root)]
        given = {"trials": trials, "at-once": at_once, "prepared-root": prepared_root, "tracking-uri": tracking_uri}
        given["storage"] = storage
        words += [word for name, value in given.items() if value is not None for word in (f"--{name}", str(value))]
        flags = {
            "no-asha": not asha,
            "download": download,
            "allow-unequal": allow_unequal,
            "reopen-test": reopen_test,
        }
        words += [f"--{name}" for name, wanted in flags.items() if wanted]
        if simulate:
            words += ["--simulate", *([] if simulate is True else [str(simulate)])]
        with use(Quiet()) if quiet else nullcontext():
            commands.run(parser("run").parse_args(words))
    return Study(output)


def _file_of(source: str | Path | Mapping[str, Any], folder: Path) -> str:
    """A preset's name or a study file's path; a dictionary is written into `folder` first."""
    if not isinstance(source, Mapping):
        return str(source)
    file = folder / "study.yaml"
    try:
        file.write_text(json.dumps(dict(source)), encoding="utf-8")  # YAML holds JSON
    except TypeError as error:
        raise UserError(f"the study given as a dictionary holds what no study file could ({error})") from None
    return str(file)


def _frame(table: "pa.Table") -> "pd.DataFrame":
    """As pandas has it; whole numbers stay whole where some are missing."""
    import pandas as pd
    import pyarrow as pa

    types = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    return table.to_pandas(types_mapper=types.get)


def _verdict_row(dataset: str, model: str, verdict: Any) -> dict[str, Any]:
    row = verdict.row
    bits = list(row.state_bits.values())
    return {
        "dataset": dataset,
        "model": model,
        "method": row.label,
        "phase": row.phase,
        "n": len(row.seeds),
        **_ends("test_accuracy", row.test_accuracy),
        **_ends("val_accuracy", row.val_accuracy),
        "peak_memory_bytes": row.peak_memory.mean if row.peak_memory else None,
        "state_bits_per_weight": sum(bits) / len(bits) if bits else None,
        "kind": verdict.kind,
        **_ends("difference_points", verdict.difference),
        "holm_p": verdict.adjusted_p,
        "memory_ratio": verdict.memory_ratio.mean if verdict.memory_ratio else None,
        "front": verdict.front or None,
        "text": verdict.text,
    }


def _ends(name: str, estimate: Any) -> dict[str, float | None]:
    values = (None, None, None) if estimate is None else (estimate.mean, estimate.low, estimate.high)
    return dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))
