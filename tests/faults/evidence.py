"""What a finished study has left behind, read from each of its records on its own, and what must be true of it.

The records are the study's log, Ray Tune's (`trial.json`) and Optuna's journal; each is asked by itself. MLflow shows
the log, and is asked after what it lacks was delivered.
"""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from mlflow import MlflowClient
from mlflow.entities import Run
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from safetensors import safe_open

from study.mlflow_export.delivery import deliver
from study.record.folder import study_identity
from study.record.runs_table import collect

EPOCH_METRICS = (
    "train_loss", "val_accuracy", "flip_rate", "learning_rate", "peak_memory_MiB", "details/train_seconds",
)  # fmt: skip
FINAL_METRICS = ("test_accuracy", "details/test_accuracy_top5")


@dataclass(frozen=True)
class Evidence:
    """A finished study, by trial id.

    Attributes:
        rows: how each run ended, by the results table.
        tune: the id in every `trial.json` that there is.
        searched: for each search trial that Optuna has: its parameters, state, value and intermediate values.
        runs: MLflow's runs of trials.
        sweeps: MLflow's runs of cells.
        client: reads their metrics.
        events: the study's log.
        weights: each run's last and best model, as bytes by tensor.
    """

    rows: dict[str, str]
    tune: list[str]
    searched: dict[str, tuple[Any, ...]]
    runs: list[Run]
    sweeps: list[Run]
    client: MlflowClient
    events: list[dict[str, Any]]
    weights: dict[str, dict[str, bytes]]

    @property
    def planned(self) -> list[str]:
        """The ids of all trials, as the log's first starts say."""
        return sorted({event["trial_id"] for event in self.events if event["event"] == "start"})

    def count(self, name: str) -> Counter[str]:
        """How many events of a name each trial has."""
        return Counter(event["trial_id"] for event in self.events if event["event"] == name)

    def epochs(self) -> dict[str, list[int]]:
        """The epochs that the log has of each trial, in its order."""
        found: dict[str, list[int]] = defaultdict(list)
        for event in self.events:
            if event["event"] == "epoch":
                found[event["trial_id"]].append(event["epoch"])
        return found

    def outcomes(self) -> dict[str, str]:
        """How the log says that each trial ended."""
        return {event["trial_id"]: event["outcome"] for event in self.events if event["event"] == "end"}


def read_events(folder: Path) -> list[dict[str, Any]]:
    """The finished lines of a study's log; none where it has not been begun."""
    log = folder / "log.jsonl"
    if not log.exists():
        return []
    return [json.loads(line) for line in log.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


def epochs_logged(folder: Path) -> int:
    """How many epochs a study has recorded so far."""
    return sum(event["event"] == "epoch" for event in read_events(folder))


def read_evidence(folder: Path) -> Evidence:
    """All that a study's folder, and the MLflow that it was told to use, hold of it."""
    deliver(folder)
    known = study_identity(folder)
    client = MlflowClient(known.tracking_uri)
    (experiment,) = client.search_experiments(filter_string=f"tags.study_id = '{known.study_id}'")
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    return Evidence(
        rows={row["trial_id"]: row["status"] for row in collect(folder).to_pylist()},
        tune=sorted(json.loads(path.read_text())["trial_id"] for path in (folder / "tune").rglob("trial.json")),
        searched=_searched(folder / "optuna.journal"),
        runs=[run for run in runs if run.data.tags["run_kind"] == "trial"],
        sweeps=[run for run in runs if run.data.tags["run_kind"] == "sweep"],
        client=client,
        events=read_events(folder),
        weights={
            f"{path.parent.parent.name}/{path.stem}": _model(path) for path in (folder / "runs").rglob("*.safetensors")
        },
    )


def require_whole(study: Evidence) -> None:
    """Every trial once in every record, ended, with every epoch once; none was run on after its end."""
    planned = study.planned
    assert study.rows == {name: study.outcomes()[name] for name in planned}, "the results table"
    assert study.tune == planned, "Tune's records"
    assert sorted(study.searched) == [name for name in planned if "-search-" in name], "Optuna's records"
    assert not [name for name, trial in study.searched.items() if not trial[1].is_finished()], "Optuna: not ended"
    assert sorted(run.data.tags["trial_id"] for run in study.runs) == planned, "MLflow's records"
    assert not [run.info.run_name for run in [*study.runs, *study.sweeps] if run.info.status == "RUNNING"]
    assert not [run.info.run_name for run in study.runs if run.data.tags["status"] in ("running", "interrupted")]
    _require_points_once(study)
    over: set[str] = set()
    for event in study.events:
        if event["event"] == "end":
            assert event["trial_id"] not in over, f"{event['trial_id']} ended twice"
            over.add(event["trial_id"])
        elif "trial_id" in event and event["event"] != "test_opened":
            assert event["trial_id"] not in over, f"{event['trial_id']} went on after its end: {event}"
    assert sorted(over) == planned
    for name in planned:
        assert study.epochs()[name] == list(range(1, len(study.epochs()[name]) + 1)), f"epochs of {name}"
        # A run is interrupted at most once an attempt, and its last checkpoint is that of the epoch before.
        assert study.count("retrained")[name] < study.count("start")[name], f"{name} did not go on from its checkpoint"
    tested = study.count("test_opened")
    assert all(tested[name] == ("-confirm-" in name) for name in planned), f"test set openings: {tested}"


def require_same(study: Evidence, reference: Evidence) -> None:
    """The same trials with the same values as an uninterrupted study, and the same confirmed models to the bit."""
    assert study.planned == reference.planned
    assert study.searched == reference.searched
    assert study.outcomes() == reference.outcomes()
    assert study.epochs() == reference.epochs()
    assert _values(study) == _values(reference)
    confirmed = sorted(name for name in reference.weights if "-confirm-" in name)
    assert confirmed == sorted(name for name in study.weights if "-confirm-" in name)
    assert confirmed, "nothing was confirmed"
    for name in confirmed:
        assert study.weights[name] == reference.weights[name], f"the model {name} has other bits"


def _require_points_once(study: Evidence) -> None:
    epochs, outcomes = study.epochs(), study.outcomes()
    for run in study.runs:
        name = run.data.tags["trial_id"]
        assert run.data.tags["status"] == outcomes[name]
        for metric in EPOCH_METRICS:
            points = study.client.get_metric_history(run.info.run_id, metric)
            assert sorted(point.step for point in points) == epochs[name], f"{metric} of {name}"
        if outcomes[name] == "completed":
            assert len(epochs[name]) == int(run.data.params["epochs"])
        for metric in FINAL_METRICS:
            points = study.client.get_metric_history(run.info.run_id, metric)
            assert len(points) == ("-confirm-" in name), f"{metric} of {name}"


def _values(study: Evidence) -> dict[str, list[tuple[float, ...]]]:
    """What each epoch of each trial measured, but for memory and time."""
    found: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    for event in study.events:
        if event["event"] == "epoch":
            measured = event["metrics"]
            found[event["trial_id"]].append(tuple(measured[key] for key in ("train_loss", "val_accuracy", "flip_rate")))
    return found


def _searched(journal: Path) -> dict[str, tuple[Any, ...]]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = JournalStorage(JournalFileBackend(str(journal)))
    found: dict[str, tuple[Any, ...]] = {}
    for summary in optuna.get_all_study_names(storage):
        for trial in optuna.load_study(study_name=summary, storage=storage).get_trials(deepcopy=False):
            name = f"{summary}-search-{trial.number:04d}"
            found[name] = (trial.params, trial.state, trial.values, trial.intermediate_values)
    return found


def _model(path: Path) -> dict[str, bytes]:
    with safe_open(path, framework="pt") as file:
        names = [name for name in file.keys() if name.startswith("model.")]  # noqa: SIM118 (not a dict)
        return {name: file.get_tensor(name).contiguous().numpy().tobytes() for name in names}
