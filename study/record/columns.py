"""The columns of the results table: what a run is, its whole configuration, what it measured and used, its origin.

A setting's column follows from its declaration (`trainers.settings`): a method's or model's setting is null in the rows
of others, however it was set. A setting that nothing here declares, as of a plug-in that is not loaded, has a column of
the type that the records show.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from trainers.memory.report import CATEGORIES
from trainers.registry import EVERY_RUN, METHODS, MODELS, declared, settings_of
from trainers.settings import Setting

_TYPES = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}

RUN = {
    "study": pa.string(),
    "dataset": pa.string(),
    "model": pa.string(),
    "algorithm": pa.string(),
    "method": pa.string(),
    "phase": pa.string(),
    "trial_id": pa.string(),
    "seed": pa.int64(),
    "repeat": pa.int64(),
    "status": pa.string(),
}
"""What names a run, and the type of each."""
_OUTCOME = [
    ("val_accuracy", pa.float64()),
    ("val_accuracy_top5", pa.float64()),
    ("val_accuracy_balanced", pa.float64()),
    ("val_majority_share", pa.float64()),
    ("test_accuracy", pa.float64()),
    ("test_accuracy_top5", pa.float64()),
    ("test_accuracy_balanced", pa.float64()),
    ("test_majority_share", pa.float64()),
    ("train_loss", pa.float64()),
    ("flip_rate", pa.float64()),
    ("flips_per_weight", pa.float64()),
    ("flipped_share", pa.float64()),
    ("flipped_by_layer", pa.string()),
    ("peak_memory_bytes", pa.int64()),
    *((f"memory_{category}_bytes", pa.int64()) for category in CATEGORIES),
    ("state_bits_per_weight", pa.float64()),
    ("train_seconds", pa.float64()),
    ("fewest_workers", pa.int64()),
    ("rung", pa.int64()),
    ("attempts", pa.int64()),
    ("epochs_used", pa.int64()),
    ("device_seconds", pa.float64()),
    ("test_opened", pa.int64()),
    ("test_forced", pa.int64()),
    ("test_set", pa.string()),
    ("test_images", pa.int64()),
    ("simulated", pa.string()),
    ("plugins", pa.string()),
    ("git_commit", pa.string()),
    ("versions", pa.string()),
    ("hardware", pa.string()),
    ("command", pa.string()),
]

OUTCOME = tuple(name for name, _ in _OUTCOME)


def configuration_columns() -> list[Setting]:
    """The declared settings that have a column of their own beside what names the run."""
    return [setting for name, setting in declared().items() if setting.column and name not in RUN]


def schema(configs: Iterable[Mapping[str, Any]] = ()) -> pa.Schema:
    """The table's columns and their types.

    Accuracies are fractions 0..1, memory is in bytes, times in seconds; a metric is the last epoch's. `rung` is the
    epoch at which a run was pruned, `repeat` which of its method's searches it belongs to, from 1. `flips_per_weight`
    is all flips of a run by its binary weights, `flipped_share` the share of these that differ from its start at the
    end, `flipped_by_layer` that of each layer, as JSON. `fewest_workers` is how many a run went on with, null where
    none was lost. `simulated` is null where it was trained, `plugins` where it needed none.

    Args:
        configs: recorded configurations, whose undeclared settings get a column too.
    """
    settings = [(setting.name, _TYPES[setting.kind]) for setting in configuration_columns()]
    known, strange = declared(), dict[str, pa.DataType]()
    for config in configs:
        for name, value in config.items():
            if name not in known and value is not None:
                strange.setdefault(name, _TYPES.get(type(value), pa.string()))
    return pa.schema([*RUN.items(), *settings, *strange.items(), *_OUTCOME])


def configuration(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a run's model and method read, by column, from its whole recorded configuration.

    One that the record does not name is what it was before there was a choice.
    """
    algorithm, model = config.get("algorithm"), config.get("model")
    columns = {setting.name for setting in configuration_columns()}
    if algorithm in METHODS.all() and model in MODELS.all():
        own: Iterable[Setting] = settings_of(str(algorithm), str(model))
        return {s.name: config.get(s.name, s.earlier) for s in own if s.name in columns}
    # Of a plug-in that is not loaded: every run's settings, and those that nothing here declares.
    common = {setting.name for setting in EVERY_RUN}
    return {name: value for name, value in config.items() if name in columns & common or name not in declared()}
