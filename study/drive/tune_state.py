"""What Ray Tune keeps of its trials on disk: one small file a trial, and nothing else that lasts.

    DIR/tune/<cell>/<trial_id>/trial.json   what Tune knew of a trial when it ended: Tune's id, its status, its attempts
    DIR/tune/call/                          what Tune itself writes while a call runs

Tune's own files could be read back only by unpickling them, and nothing in them is needed: the search is in its journal
and each run in its folder. So they are removed when the call is over, and before the next where it was killed.
"""

import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial

from trainers.atomic import write_json

CALL = "call"


def call_folder(tune: Path) -> Path:
    """Where Tune writes during a call, below the study's `tune` folder; no cell has that name."""
    return tune / CALL


def cell_of(trial_id: str) -> str:
    """The cell that a search or confirmation trial belongs to.

    >>> cell_of("Digits-MLP-bop-search-0007"), cell_of("Digits-MLP-bop-confirm-0007-s11")
    ('Digits-MLP-bop', 'Digits-MLP-bop')
    """
    return re.sub(r"-(search-\d+|confirm-\d+-s\d+)$", "", trial_id)


def trial_file(tune: Path, trial_id: str) -> Path:
    """Where `trial.json` of a trial lies, below the study's `tune` folder."""
    return tune / cell_of(trial_id) / trial_id / "trial.json"


def write_trial(tune: Path, trial_id: str, tune_id: str | None, status: str, attempts: int) -> None:
    """Write a trial's file, whole or not at all."""
    path = trial_file(tune, trial_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"trial_id": trial_id, "tune_id": tune_id, "status": status, "attempts": attempts}
    write_json(path, content, durable=False)


def write_missing(tune: Path, ended: Mapping[str, str], attempts: Mapping[str, int]) -> None:
    """Write the files of trials that have ended and have none: their command was killed before it came to that.

    Args:
        tune: the study's `tune` folder.
        ended: how each of the trials ended, by id.
        attempts: how often each was started; once where it does not say.
    """
    for trial_id, outcome in ended.items():
        if not trial_file(tune, trial_id).exists():
            status = Trial.ERROR if outcome == "failed" else Trial.TERMINATED
            write_trial(tune, trial_id, None, status, attempts.get(trial_id, 1))


def clear_calls(tune: Path) -> None:
    """Remove what Tune wrote during calls; earlier releases had a folder for each cell's."""
    for folder in (call_folder(tune), *tune.glob(f"*/{CALL}")):
        shutil.rmtree(folder, ignore_errors=True)


class TrialFiles(Callback):
    """Writes each trial's file when it ends, and clears away what its run no longer needs.

    Tune keeps its trials to the end of the call, with two series of each metric's last values, for a summary that
    nobody reads: nearly all that a trial which is over takes of the driver's memory.

    Args:
        tune: the study's `tune` folder.
        attempts: how often a run was started, over all calls, by its trial id.
    """

    def __init__(self, tune: Path, attempts: Callable[[str], int]) -> None:
        self._tune, self._attempts = tune, attempts

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._end(trial, Trial.TERMINATED)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._end(trial, Trial.ERROR)

    def _end(self, trial: Trial, status: str) -> None:
        spec = trial.config["spec"]
        # Ray Train's own bookkeeping of a run with several workers; the run's checkpoints are beside it.
        shutil.rmtree(Path(spec["run_dir"]) / "ray", ignore_errors=True)
        write_trial(self._tune, spec["trial_id"], trial.trial_id, status, self._attempts(spec["trial_id"]))
        for kept in (trial.run_metadata.metric_analysis, trial.run_metadata.metric_n_steps):
            kept.clear()
