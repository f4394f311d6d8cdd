"""Every metric has its place in MLflow's pages: what decides stands first, and there are few."""

import pytest

from study.mlflow_export.metrics import DEVICE_SECONDS, LEFT_OUT, MOST_KEYS, SHOWN, of_whole_run, shown
from study.record.metrics import METRIC_KEYS
from study.record.study_log import TrialRecord


def test_every_recorded_metric_is_shown_or_left_out_on_purpose() -> None:
    assert set(METRIC_KEYS) == SHOWN.keys() | set(LEFT_OUT)


def test_a_run_shows_few_metrics() -> None:
    names = {entry.name for entry in SHOWN.values()} | {DEVICE_SECONDS}
    assert len(names) == len(SHOWN) + 1 <= MOST_KEYS


def test_what_decides_stands_outside_of_folders() -> None:
    first = {entry.name for entry in SHOWN.values() if "/" not in entry.name}
    assert {"test_accuracy", "val_accuracy", "peak_memory_MiB", "state_bits_per_weight", "flip_rate"} <= first
    assert len(first) < 10


def test_memory_is_shown_in_mebibytes_and_numbers_can_be_read() -> None:
    measured = {"peak_memory_bytes": 3 * 2**20, "memory_weights_bytes": 2**19, "val_accuracy": 1 / 3, "strange": 1.0}
    assert dict(shown(measured)) == {"peak_memory_MiB": 3.0, "memory/weights_MiB": 0.5, "val_accuracy": 0.33333}


@pytest.mark.parametrize(("outcome", "told"), [("running", False), ("interrupted", False), ("completed", True)])
def test_what_a_run_took_is_shown_when_it_is_over(outcome: str, told: bool) -> None:
    trial = TrialRecord("a", None, "search", "bop", {}, {}, outcome=outcome, metrics={"epoch": 3})
    assert of_whole_run(trial) == ({DEVICE_SECONDS: 0.0} if told else {})
