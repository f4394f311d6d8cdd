"""One trial inside Ray Tune: the function that runs it.

A one-worker trial trains in the Tune trial's own process, because a group of Ray Train workers costs about 10 s a
trial; with several workers the same loop runs under Ray Train. Either way each epoch is one report, and a last report
says how the trial ended, so that Tune, Optuna and the records all learn it from the same place. A trial that the
scheduler stops sends no last report.
"""

import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, TypedDict

from trainers.config import TrialConfig
from trainers.errors import DivergedError


class TrialSpec(TypedDict):
    """What Ray Tune carries to a trial, as plain values.

    `trial_id` names the run everywhere, `phase` is train, search or confirm, `method` the cell's method, `config` a
    `TrialConfig` as a dict, `run_dir` the folder of the run's checkpoints. `simulate` is None, or what a simulated run
    has its learning curve from: `synthetic`, or the path of a `simulation.json`.
    """

    trial_id: str
    phase: str
    method: str
    config: dict[str, Any]
    run_dir: str
    simulate: str | None


def trial_spec(
    trial_id: str, phase: str, method: str, config: TrialConfig, run_dir: Path, simulate: str | None = None
) -> TrialSpec:
    """The specification of one run."""
    return TrialSpec(
        trial_id=trial_id,
        phase=phase,
        method=method,
        config=config.to_dict(),
        run_dir=str(run_dir),
        simulate=simulate,
    )


def run_trial(tune_config: dict[str, Any]) -> None:
    """Train `tune_config["spec"]` (a `TrialSpec`), reporting each epoch and at last the outcome.

    The last report holds `outcome` (completed, diverged or failed), for the latter two a `reason`. One trial that fails
    must not end a sweep, so nothing is raised; the traceback is kept in the run's folder as `error.txt`.
    """
    from ray import tune

    spec: TrialSpec = tune_config["spec"]
    run_dir = Path(spec["run_dir"])
    epochs_seen = 0

    def report(metrics: dict[str, Any]) -> None:
        nonlocal epochs_seen
        epochs_seen = int(metrics["epoch"])
        tune.report(dict(metrics))

    try:
        final = {**_trained(spec, report), "outcome": "completed"}
    except DivergedError as error:
        final = {"outcome": "diverged", "reason": str(error), "epoch": epochs_seen}
    except Exception as error:
        with suppress(OSError):
            run_dir.mkdir(parents=True, exist_ok=True)
            (run_dir / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        final = {"outcome": "failed", "reason": reason, "epoch": epochs_seen}
    tune.report(final)


def _trained(spec: TrialSpec, report: Any) -> dict[str, Any]:
    config, run_dir = TrialConfig.from_dict(spec["config"]), Path(spec["run_dir"])
    if spec["simulate"] is None:
        return train(config, run_dir, report)
    from study.simulate import run_simulated

    return run_simulated(config, run_dir, report, spec["simulate"], trial_id=spec["trial_id"]) or {}


def train(config: TrialConfig, run_dir: Path, report: Any) -> dict[str, Any]:
    """The run's final metrics, by the host that its number of workers asks for."""
    from trainers.host import run_local, run_ray

    if config.workers == 1:
        return run_local(config, run_dir, on_epoch=report)
    from ray.tune.integration.ray_train import TuneReportCallback

    return run_ray(config, run_dir, callbacks=[TuneReportCallback()])
