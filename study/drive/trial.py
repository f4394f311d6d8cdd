"""One trial inside Ray Tune: the function that runs it.

A one-worker trial trains in the Tune trial's own process, because a group of Ray Train workers costs about 10 s a
trial; with several workers the same loop runs under Ray Train. Either way each epoch is one report, and a last report
says how the trial ended, so that Tune, Optuna and the records all learn it from the same place. A trial that the
scheduler stops sends no last report.
"""

import gc
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from study.define.trial_spec import TrialSpec
from trainers.attempt import Attempt
from trainers.config import TrialConfig
from trainers.errors import (
    DataChangedError,
    DiskFullError,
    DivergedError,
    OutOfMemoryError,
    PreemptedError,
    StoppedError,
    StorageError,
)
from trainers.plugins import receive
from trainers.run_place import RunPlace
from trainers.working_folder import enter

if TYPE_CHECKING:
    from ray.tune.execution.placement_groups import PlacementGroupFactory

OUTCOMES: Final[dict[type[Exception], str]] = {
    DivergedError: "diverged",
    OutOfMemoryError: "out_of_memory",
    StoppedError: "stopped",
    DiskFullError: "disk_full",
    DataChangedError: "data_changed",
    StorageError: "storage_unreachable",
}
"""How a run ended, by the error that ended it; any other is `failed`."""


def run_trial(tune_config: dict[str, Any]) -> None:
    """Train `tune_config["spec"]` (a `TrialSpec`), reporting each epoch and at last the outcome.

    When a run goes on from a checkpoint, the epochs that it has are reported first, with `replayed` set. The last
    report holds `outcome` (completed, diverged, failed, out_of_memory, stopped, disk_full, data_changed or
    storage_unreachable), `epoch`, the seconds of this attempt over all its workers as `device_seconds` and, unless
    completed, a `reason`. One trial that fails must not end a sweep, so nothing is raised; what is not understood
    leaves its traceback in the run's folder as `error.txt`.
    """
    from ray import tune

    spec: TrialSpec = tune_config["spec"]
    tune.report(ended(spec, tune.report))


def reserved(tune_config: dict[str, Any]) -> "PlacementGroupFactory":
    """What Tune reserves for a trial: `tune_config["resources"]`, by Tune's names. It lies here because Tune takes it
    along to the trial's process, which loads its module."""
    from ray.tune.execution.placement_groups import resource_dict_to_pg_factory

    return resource_dict_to_pg_factory(tune_config["resources"])


def ended(spec: TrialSpec, report: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Train one run, reporting its epochs; how it ended, as the last report of `run_trial`."""
    receive(spec["plugins"])
    config, run_dir = TrialConfig.recorded(spec["config"]), Path(spec["run_dir"])
    attempt = Attempt(
        stop_file=Path(spec["stop_file"]) if spec["stop_file"] else None,
        test_openings=spec["test_openings"],
        reopen_test=spec["reopen_test"],
        expected_data=spec["expected_data"],
        working_folder=spec["working_folder"],
        place=RunPlace(**spec["place"]) if spec["place"] else None,
    )
    epochs_seen = 0

    def epoch(metrics: dict[str, Any]) -> None:
        nonlocal epochs_seen
        epochs_seen = int(metrics["epoch"])
        report(dict(metrics))

    try:
        enter(spec["working_folder"], config, required=attempt.place is None)
        final = {**_trained(spec, epoch, attempt), "outcome": "completed"}
    except PreemptedError:
        raise  # this process is ending, and the trial goes on elsewhere: for Tune, as if it had died
    except Exception as error:
        final = {**failure(error, run_dir), "epoch": epochs_seen}
        _keep_traceback(final["outcome"], attempt.place, run_dir)
    if final["outcome"] != "completed":
        release_memory()
    return {**final, "device_seconds": attempt.device_seconds(config.workers)}


def failure(error: Exception, run_dir: Path) -> dict[str, Any]:
    """The outcome of a run that `error` ended, and the reason."""
    from trainers.exhaustion import exhausted

    known = exhausted(error, run_dir) or error
    for kind, outcome in OUTCOMES.items():
        if isinstance(known, kind):
            return {"outcome": outcome, "reason": str(known)}
    with suppress(OSError):
        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
    return {"outcome": "failed", "reason": f"{type(error).__name__}: {error}".splitlines()[0]}


def _keep_traceback(outcome: str, place: RunPlace | None, run_dir: Path) -> None:
    """Bring a failed run's traceback to shared storage, where there is one, for the command to fetch."""
    if outcome == "failed" and place is not None:
        from trainers.stored_run import StoredRun

        with suppress(StorageError, DiskFullError, OSError):
            StoredRun(place, run_dir).push_error()


def release_memory() -> None:
    """Give back what a run that ended in an error held: the next one may be given to this very process."""
    import torch

    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _trained(spec: TrialSpec, report: Callable[[dict[str, Any]], None], attempt: Attempt) -> dict[str, Any]:
    config, run_dir = TrialConfig.recorded(spec["config"]), Path(spec["run_dir"])
    if spec["simulate"] is None:
        return train(config, run_dir, report, attempt)
    from study.drive.simulate import run_simulated
    from trainers.stop import require_no_stop, stop_requested

    require_no_stop(attempt.stop_file)
    final = run_simulated(
        config,
        run_dir,
        lambda metrics: report({**metrics, "device_seconds": attempt.device_seconds(config.workers)}),
        spec["simulate"],
        trial_id=spec["trial_id"],
        stopped=lambda: stop_requested(attempt.stop_file),
    )
    if final is None:
        raise StoppedError("stopped as asked")
    return final


def train(
    config: TrialConfig, run_dir: Path, report: Callable[[dict[str, Any]], None], attempt: Attempt
) -> dict[str, Any]:
    """The run's final metrics, by the host that its number of workers asks for."""
    from trainers.host import run_local, run_ray
    from trainers.stop import require_no_stop

    require_no_stop(attempt.stop_file)
    host = run_local if config.workers == 1 else run_ray
    return host(config, run_dir, report, attempt)
