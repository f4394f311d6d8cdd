"""Training replaced by learning curves: the whole of a study runs, and no network is built or trained.

`python -m study run STUDY --simulate` searches, prunes, confirms, records and compares as always, so that a study can
be tried before it is paid for. A run's curve is one of two kinds:

- *synthetic*: a function of the configuration alone. Accuracy saturates,
  a(e) = chance + (height - chance) · (1 - exp(-speed · e)) + noise. Height and speed follow a bump over the logarithm
  of what the method is steered by (learning rate, temperature, threshold); far above its optimum a run may diverge.
- *recorded*: of another study's runs, in the same cell, that of the nearest configuration.

Peak memory is what `trainers.memory.predict` says of the configuration; above a limit, where one is given, a run is out
of memory. Nothing simulated says anything about a method. The folder's `study.json` and every recorded run's tag
`simulated` tell which kind it is, and a folder holds only one.
"""

import json
import math
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from study.define.cells import Cell, ResourcesConfig, StudyConfig
from study.drive.simulated_answers import answered
from study.record.file_names import LOG_FILE
from study.record.study_log import read_lines
from trainers.atomic import write_json, write_text
from trainers.config import TrialConfig
from trainers.data.catalog import lookup
from trainers.errors import DivergedError, UserError
from trainers.method import Method, Range, SimulatedCurve
from trainers.registry import configuration_settings, method_named, model_named

SYNTHETIC, RECORDED = "synthetic", "recorded"
_FORMAT = 1
_CHECKPOINT = "simulated.json"
# Of a data set that is not catalogued and need not be there: classes, channels, side in pixels.
_UNKNOWN_DATA = (10, 3, 32)
# Decades from a bump's centre at which its height is exp(-1/2).
_DECADES = 1.2

Metrics = dict[str, Any]


@dataclass(frozen=True)
class Curve:
    """What a run will report: one entry an epoch, the test set's figures, and the epoch in which the loss is lost."""

    epochs: tuple[Metrics, ...]
    test: Mapping[str, float]
    diverges_in: int | None = None


def simulated_study(study: StudyConfig) -> StudyConfig:
    """The study as it is simulated: every run on one worker and one CPU thread, image sizes resolved without data."""
    one = ResourcesConfig(workers=1, threads=1, device="cpu")

    def on_one(cell: Cell) -> Cell:
        size = input_shape(cell.base)[2]
        return replace(cell, base=cell.base.replace(workers=1, threads=1, device="cpu", image_size=size))

    return replace(study, cells=tuple(on_one(cell) for cell in study.cells), resources=one)


def write_simulation(folder: Path, study: StudyConfig, source: str, device_memory: int | None = None) -> Path:
    """Write `simulation.json`, which every run of a simulated study reads its curve from.

    Args:
        folder: the simulated study's folder; another simulation there is refused.
        study: its cells must all be recorded where the curves are.
        source: `synthetic`, or the folder of the study whose curves are to be replayed.
        device_memory: bytes; a run whose predicted peak is above is out of memory. None: none is.

    Raises:
        UserError: no curves there, none of one of the cells, or another simulation in the folder.
    """
    content: dict[str, Any] = {
        "format": _FORMAT,
        "kind": simulation_kind(source),
        "device_memory": device_memory,
        "runs": [],
    }
    if source != SYNTHETIC:
        content["runs"] = recorded_runs(Path(source))
        held_cells = {run["cell"] for run in content["runs"]}
        lacking = [cell.name for cell in study.cells if not held_cells & {cell.name, cell.searched}]
        if lacking:
            held = ", ".join(sorted(held_cells))
            raise UserError(
                f"{source} holds no recorded epoch of {', '.join(lacking)}, only of {held or 'nothing'}; simulate a "
                "study of those cells, or leave the folder out for synthetic curves"
            )
    text = json.dumps(content, sort_keys=True) + "\n"
    path = folder / "simulation.json"
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise UserError(f"{path} simulates from other curves or with another memory; give another --output")
    folder.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
    return path


def simulation_kind(source: str) -> str:
    """`synthetic`, or `recorded` where `source` is a study's folder: what the tag `simulated` says."""
    return SYNTHETIC if source == SYNTHETIC else RECORDED


def simulated_tag(source: str | None) -> dict[str, str]:
    """The tag of a run whose curve comes from `source`, as its specification says; none where it trains."""
    return {} if source is None else {"simulated": _read_simulation(source)["kind"]}


def recorded_runs(directory: Path) -> list[dict[str, Any]]:
    """Every run in a study's log that has reported an epoch: its cell, configuration, outcome, epochs and test figures.

    Raises:
        UserError: no log there.
    """
    path = directory / LOG_FILE
    if not path.is_file():
        raise UserError(f"there is no {path}, the log of a study; name the folder of a study that was run")
    runs: dict[str, dict[str, Any]] = {}
    for line in read_lines(path):
        event = line.event or {}  # what a damaged line held is not replayed
        kind, trial_id = event.get("event"), event.get("trial_id")
        if kind == "start" and event["cell"] is not None:
            new = {"cell": event["cell"], "config": event["config"], "outcome": None, "epochs": {}, "test": {}}
            runs.setdefault(str(trial_id), new)
        elif kind == "epoch" and trial_id in runs:
            runs[trial_id]["epochs"].setdefault(int(event["epoch"]), event["metrics"])
        elif kind == "end" and trial_id in runs:
            runs[trial_id]["outcome"] = event["outcome"]
            tested = {name: value for name, value in event["metrics"].items() if name.startswith("test_")}
            runs[trial_id]["test"] = tested
    usable = [run for run in runs.values() if run["epochs"] or run["outcome"] == "diverged"]
    return [{**run, "epochs": [run["epochs"][epoch] for epoch in sorted(run["epochs"])]} for run in usable]


def run_simulated(
    config: TrialConfig,
    run_dir: Path,
    report: Callable[[Metrics], None],
    source: str,
    *,
    trial_id: str = "",
    stopped: Callable[[], bool] = lambda: False,
) -> Metrics | None:
    """Report a run's curve epoch by epoch, from the run's last checkpoint if there is one; returns the final metrics.

    Args:
        config: the run.
        run_dir: the run's own folder. Its checkpoint holds the epochs reported so far, which are reported once more,
            with `replayed`, when the run goes on.
        report: takes each epoch's metrics, as a training run would give them.
        source: `synthetic`, or the path of a `simulation.json`.
        trial_id: the run's name, which begins with its cell's: that cell's recorded runs are looked through.
        stopped: asked after each epoch, which is saved by then; where it says so, the run ends there and returns None.

    Raises:
        DivergedError: the curve ends in a loss that is no number.
        MemoryError: the predicted peak is above the simulation's device memory.
        UserError: the simulation or the checkpoint cannot be read.
    """
    simulation = _read_simulation(source)
    memory = _memory(_without_draws(config))
    limit = simulation["device_memory"]
    if limit is not None and memory["peak_memory_bytes"] > limit:
        raise MemoryError(f"{memory['peak_memory_bytes']} bytes are predicted, and the device simulated has {limit}")
    curve = (
        synthetic_curve(config) if simulation["kind"] == SYNTHETIC else _replayed(config, trial_id, simulation["runs"])
    )
    checkpoint = run_dir / "checkpoints" / _CHECKPOINT
    history = _history(checkpoint, config)
    for metrics in history:
        report({**metrics, "replayed": True})
    for epoch in range(len(history) + 1, config.epochs + 1):
        if curve.diverges_in == epoch:
            raise DivergedError(f"the training loss is nan in epoch {epoch} (simulated)")
        history.append({**memory, **curve.epochs[epoch - 1], "epoch": epoch})
        _save(checkpoint, config, history)
        report(dict(history[-1]))
        if stopped():
            return None
    figures: Metrics = {}
    if config.test:
        synthetic = _read_simulation(source)["kind"] == SYNTHETIC
        figures = answered(config, run_dir, curve.test) if synthetic else dict(curve.test)
    return {**history[-1], **figures, "status": "completed"}


def synthetic_curve(config: TrialConfig) -> Curve:
    """A configuration's learning curve: a function of its fingerprint and settings, and of nothing else."""
    draws = random.Random(config.fingerprint())  # a text seeds through SHA-512: the same in every process
    classes = input_shape(config)[0]
    chance = 1 / classes
    method = method_named(config.algorithm)
    simulated = method.simulated or _like_any_other(method)
    best = simulated.best[config.method] - 0.02 * random.Random(config.dataset).random()
    for factor in simulated.factors(config):
        best *= factor
    fit, above = _fit(simulated.optimum(config))
    height = chance + (best - chance) * fit + draws.gauss(0, 0.006)
    speed = (0.3 + 1.2 * fit) * 8 / (8 + config.epochs)
    lost = above > 3 or (above > 2 and draws.random() < 0.5)
    epochs = []
    for epoch in range(1, config.epochs + 1):
        reached = chance + (height - chance) * (1 - math.exp(-speed * epoch)) + draws.gauss(0, 0.003)
        accuracy = min(max(reached, 0.0), 1.0)
        metrics: Metrics = {
            "train_loss": -math.log(max(accuracy, 1e-3)),
            "val_accuracy": accuracy,
            "val_accuracy_top5": min(1.0, accuracy + 0.5 * (1 - accuracy)),
            "flip_rate": 0.01 / epoch if method.flips else 0.0,
            "lr": config.lr,
            "train_seconds": float(epoch),
        }
        if any(setting.name == "temperature" for setting in method.settings):
            metrics["temperature"] = (config.temperature or 100 * config.lr) / epoch
        epochs.append(metrics)
    last = epochs[-1]["val_accuracy"]
    test = min(max(last - 0.01 + draws.gauss(0, 0.004), 0.0), 1.0)
    diverges_in = 1 + draws.randrange(config.epochs) if lost else None
    return Curve(tuple(epochs), {"test_accuracy": test, "test_accuracy_top5": min(1.0, test + 0.02)}, diverges_in)


def input_shape(config: TrialConfig) -> tuple[int, int, int]:
    """`(classes, channels, image size)` without any data: of an uncatalogued data set a small colour one's."""
    info = lookup(config.dataset)
    classes, channels, size = (info.num_classes, info.channels, info.image_size) if info else _UNKNOWN_DATA
    return classes, channels, config.image_size or size


def _like_any_other(method: Method) -> SimulatedCurve:
    """The curve of a method that says nothing of one: its optimum lies in the middle of what is searched."""

    def optimum(config: TrialConfig) -> list[tuple[float, float]]:
        searched = method.searched(model_named(config.model), config.to_dict())
        ranges = {name: values for name, values in searched.items() if isinstance(values, Range) and values.log}
        return [(getattr(config, name), math.sqrt(values.low * values.high)) for name, values in ranges.items()]

    return SimulatedCurve(dict.fromkeys(method.variants, 0.9), optimum)


def _fit(steered: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """How near a configuration is to its method's optimum, 0..1, and how many decades its rate lies above it."""
    distances = [math.log10(value / centre) for value, centre in steered]
    fit = math.exp(-sum((distance / _DECADES) ** 2 for distance in distances) / 2)
    return fit, max(distances, default=0.0)


def _replayed(config: TrialConfig, trial_id: str, runs: Iterable[Mapping[str, Any]]) -> Curve:
    """The nearest recorded run's curve; beyond its end its last epoch is repeated."""
    wanted = config.to_dict()
    runs, first = list(runs), re.sub(r"-r\d+(?=-(?:search|confirm)-)", "", trial_id)
    for name in (trial_id, first):  # a repeated search that is not recorded itself goes by the first one's runs
        candidates = [run for run in runs if name.startswith((f"{run['cell']}-search-", f"{run['cell']}-confirm-"))]
        if candidates:
            break
    else:
        raise UserError(f"no recorded run of the cell of {trial_id!r} to replay; simulate with synthetic curves")
    run = min(candidates, key=lambda run: _distance(wanted, run["config"]))
    lost = run["outcome"] == "diverged"
    recorded = run["epochs"]
    last = recorded[-1] if recorded else {}
    epochs = tuple({**(recorded[epoch] if epoch < len(recorded) else last)} for epoch in range(config.epochs))
    test = run["test"] or {"test_accuracy": last.get("val_accuracy", 0.0)}
    return Curve(epochs, test, len(recorded) + 1 if lost else None)


def _distance(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """Decades between numbers, 1 for each choice that differs; a seed that differs decides between equals."""
    total = 0.01 * (one.get("seed") != other.get("seed"))
    for setting in configuration_settings():
        ours, theirs = one.get(setting.name, setting.earlier), other.get(setting.name, setting.earlier)
        number = setting.kind in (int, float) and not setting.choices and setting.scope != "execution"
        if number and ours and theirs:
            total += abs(math.log10(ours / theirs))
        else:
            total += ours != theirs
    return total


def _without_draws(config: TrialConfig) -> TrialConfig:
    """The configuration with what moves its memory next to nothing at a default, so that a prediction serves many."""
    slight = [setting for setting in config.settings if setting.memory in ("", "slight") and setting.optional]
    return config.replace(**{setting.name: setting.default for setting in slight})


@lru_cache(maxsize=256)
def _memory(config: TrialConfig) -> dict[str, int]:
    from trainers.memory.predictions import predicted_step

    return predicted_step(config, *input_shape(config)).metrics()


@lru_cache(maxsize=1)
def _read_simulation(source: str) -> dict[str, Any]:
    if source == SYNTHETIC:
        return {"kind": SYNTHETIC, "device_memory": None, "runs": []}
    try:
        content = json.loads(Path(source).read_text(encoding="utf-8"))
        if content["format"] != _FORMAT:
            raise ValueError(f"format {content['format']!r}, not {_FORMAT}")
        return {name: content[name] for name in ("kind", "device_memory", "runs")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{source} is no simulation ({error}); give another --output") from None


def _history(checkpoint: Path, config: TrialConfig) -> list[Metrics]:
    if not checkpoint.exists():
        return []
    try:
        content = json.loads(checkpoint.read_text(encoding="utf-8"))
        fingerprint, history = content["fingerprint"], list(content["history"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"checkpoint {checkpoint} cannot be read ({error}); remove it to start the run anew") from None
    if fingerprint != config.fingerprint():
        raise UserError(f"{checkpoint} belongs to another run; use another folder")
    return history


def _save(checkpoint: Path, config: TrialConfig, history: list[Metrics]) -> None:
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    write_json(checkpoint, {"fingerprint": config.fingerprint(), "history": history}, durable=False)
