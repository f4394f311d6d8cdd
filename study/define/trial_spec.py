"""What one run is asked to do, as plain values: what Ray Tune, the journal and the log carry of it."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, TypedDict

from trainers.config import TrialConfig
from trainers.plugins import Shipped, origins, shipped
from trainers.run_place import RunPlace
from trainers.working_folder import working_folder


class TrialSpec(TypedDict):
    """What Ray Tune carries to a trial, as plain values.

    `trial_id` names the run everywhere, `phase` is train, search or confirm, `method` the cell's method, `config` a
    `TrialConfig` as a dict, `run_dir` the folder of the run's checkpoints, `stop_file` the path whose existence asks
    every run to finish its step, save and stop ("" where nothing will ask), `alone` whether this is the second try of
    a run that memory did not hold, `test_openings` how often the study's log says that its test set was opened,
    `reopen_test` whether to open it once more all the same. `simulate` is None, or what a simulated run has its
    learning curve from: `synthetic`, or the path of a `simulation.json`. `plugins` are the plug-ins that the command
    loaded, with their text, `working_folder` is where it was given. `expected_data` says what data the study began
    with, empty where that is not known. `place` is where the run lies in shared storage, None where there is none.
    """

    trial_id: str
    phase: str
    method: str
    config: dict[str, Any]
    run_dir: str
    stop_file: str
    alone: bool
    test_openings: int
    reopen_test: bool
    simulate: str | None
    plugins: list[Shipped]
    working_folder: str
    expected_data: dict[str, str]
    place: dict[str, Any] | None


def trial_spec(
    trial_id: str,
    phase: str,
    method: str,
    config: TrialConfig,
    run_dir: Path,
    simulate: str | None = None,
    *,
    stop_file: Path | None = None,
    alone: bool = False,
    test_openings: int = 0,
    reopen_test: bool = False,
    expected_data: dict[str, str] | None = None,
    place: RunPlace | None = None,
) -> TrialSpec:
    """The specification of one run; arguments as the entries of `TrialSpec`."""
    return TrialSpec(
        trial_id=trial_id,
        phase=phase,
        method=method,
        config=config.to_dict(),
        run_dir=str(run_dir),
        stop_file=str(stop_file or ""),
        alone=alone,
        test_openings=test_openings,
        reopen_test=reopen_test,
        simulate=simulate,
        plugins=shipped(),
        working_folder=working_folder(),
        expected_data=expected_data or {},
        place=asdict(place) if place else None,
    )


def plugins_tag(config: TrialConfig) -> dict[str, str]:
    """The tag of a run that needs plug-ins: the name and SHA-256 of each; none where it needs none."""
    needed = origins(config.dataset, config.model, config.algorithm)
    return {"plugins": ", ".join(f"{name} {sha256}" for name, sha256 in sorted(needed.items()))} if needed else {}
