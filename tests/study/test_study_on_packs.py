"""The whole way through the command line on real image packs: prepare, sweep, compare; nothing is stubbed."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from study.record.tracking_uri import default_tracking_uri

REPOSITORY = Path(__file__).resolve().parents[2]
DATA_SETS = {
    "MNIST": ["--model", "MLP", "--image_size", "28", "--hid_dim", "64", "--depth", "2"],
    "OxfordPets": ["--model", "AdamBNN", "--image_size", "32", "--width", "0.125"],
}
ALGORITHMS = {"binary": ["binary"], "bop": ["bop"], "real-Adam": ["real", "--optimizer", "Adam"]}
TRIALS, EPOCHS = 2, 2


def study(*words: str) -> str:
    """A command line in a process of its own; what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-m", "study", *words], capture_output=True, text=True, timeout=900, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_two_data_sets_and_three_algorithms_from_data_to_comparison(tmp_path: Path, shared_dir: Path) -> None:
    places = ["--data-root", str(shared_dir / "data"), "--prepared-root", str(tmp_path / "prepared")]
    output = tmp_path / "study"
    for dataset, settings in DATA_SETS.items():
        size = settings[settings.index("--image_size") + 1]
        study("prepare", dataset, *places, "--image_size", size)
        for algorithm in ALGORITHMS.values():
            said = study(
                *["sweep", "--dataset", dataset, "--algorithm", *algorithm, *settings, *places],
                *[
                    "--trials",
                    str(TRIALS),
                    "--epochs",
                    str(EPOCHS),
                    "--batch_size",
                    "96",
                    "--output",
                    str(output),
                    "--json",
                ],
            )
            assert 0 <= json.loads(said.splitlines()[-1])["val_accuracy"] <= 1

    table = study("compare", str(output))
    rows = pq.read_table(output / "results.parquet").to_pylist()
    expected = {(dataset, method): TRIALS for dataset in DATA_SETS for method in ALGORITHMS}
    assert Counter((row["dataset"], row["method"]) for row in rows) == expected
    assert {row["phase"] for row in rows} == {"search"}
    assert {row["status"] for row in rows} <= {"completed", "pruned"}
    assert all(row["test_accuracy"] is None for row in rows)
    for row in rows:
        assert 0 <= row["val_accuracy"] <= 1
        assert row["peak_memory_bytes"] > 0
        assert row["git_commit"]
        assert f"-search-000{row['trial_id'][-1]}" in row["trial_id"]
    for dataset in DATA_SETS:
        assert dataset in table
    assert (output / "accuracy_vs_memory.png").stat().st_size > 0

    client = MlflowClient(default_tracking_uri(output))
    experiment = client.get_experiment_by_name("study")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    kinds = Counter(run.data.tags["run_kind"] for run in runs)
    assert kinds == {"sweep": len(expected), "trial": len(expected) * TRIALS}
    assert all(run.info.status != "RUNNING" for run in runs)
    for run in runs:
        if run.data.tags["status"] == "completed" and run.data.tags["run_kind"] == "trial":
            steps = [point.step for point in client.get_metric_history(run.info.run_id, "val_accuracy")]
            assert steps == list(range(1, EPOCHS + 1))
