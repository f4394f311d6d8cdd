"""The whole platform through its command line, on real images, with nothing stubbed."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

DATASETS = {
    "MNIST": ["--model", "MLP", "--hid_dim", "64", "--depth", "3", "--image_size", "28"],
    "OxfordPets": ["--model", "AdamBNN", "--width", "0.25", "--image-size", "32"],
}
SWEEPS = {("MNIST", "binary"): "binary", ("OxfordPets", "real"): "real-Adam"}
"""A data set and an algorithm each, with the name of the method that it is."""
TRIALS, EPOCHS = 2, 2


def study(*words: str) -> subprocess.CompletedProcess[str]:
    """`python -m study WORDS`, as a user runs it."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(
        [sys.executable, "-m", "study", *words], capture_output=True, text=True, env=environment, timeout=900
    )


@pytest.mark.slow
def test_prepare_sweep_and_compare_leave_every_run_row_and_file(shared_dir: Path, tmp_path: Path) -> None:
    prepared, output = str(tmp_path / "prepared"), str(tmp_path / "comparison")
    data = ["--data-root", str(shared_dir / "data"), "--prepared-root", prepared]
    for dataset, options in DATASETS.items():
        size = options[-1]
        done = study("prepare", dataset, *data, "--image-size", size)
        assert done.returncode == 0, done.stderr
    for dataset, algorithm in SWEEPS:
        words = ["--dataset", dataset, *DATASETS[dataset], *data, "--algorithm", algorithm, "--epochs", str(EPOCHS)]
        optimizer = ["--optimizer", "Adam"] if algorithm == "real" else []
        done = study(
            *("sweep", *words, *optimizer, "--batch_size", "96", "--trials", str(TRIALS), "--output", output, "--json"),
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout.splitlines()[-1])["val_accuracy"] > 0

    done = study("compare", output)
    assert done.returncode == 0, done.stderr
    for name in ("MNIST", "OxfordPets", "binary", "real-Adam"):
        assert name in done.stdout

    rows = pq.read_table(Path(output) / "results.parquet").to_pylist()
    assert len(rows) == len(SWEEPS) * TRIALS
    assert len({row["trial_id"] for row in rows}) == len(rows)
    expected = {(dataset, method): TRIALS for (dataset, _), method in SWEEPS.items()}
    assert Counter((row["dataset"], row["method"]) for row in rows) == expected
    assert {row["status"] for row in rows} <= {"completed", "pruned"}
    for row in rows:
        assert row["phase"] == "search"
        assert row["test_accuracy"] is None  # nobody asked for it
        assert row["git_commit"] and f"-search-000{row['trial_id'][-1]}" in row["trial_id"]
        if row["status"] == "completed":
            assert row["epochs"] == EPOCHS and 0 <= row["val_accuracy"] <= 1 and row["peak_memory_bytes"] > 0

    client = MlflowClient(tracking_uri=f"sqlite:///{output}/mlflow.db")
    experiments = [experiment for experiment in client.search_experiments() if experiment.name == "comparison"]
    runs = client.search_runs([experiments[0].experiment_id])
    parents = [run for run in runs if run.data.tags.get("run_kind") == "sweep"]
    assert len(parents) == len(SWEEPS)
    assert sum(run.data.tags.get("run_kind") == "trial" for run in runs) == len(rows)
    assert all(run.info.status != "RUNNING" for run in runs)
    assert len({key for run in runs for key in run.data.metrics}) <= 24
    for run in runs:
        if run.data.tags["run_kind"] == "trial" and run.data.tags["status"] == "completed":
            steps = [point.step for point in client.get_metric_history(run.info.run_id, "val_accuracy")]
            assert steps == list(range(1, EPOCHS + 1))
    for figure in ("accuracy_vs_memory.png", "accuracy_vs_memory.svg"):
        assert (Path(output) / figure).stat().st_size > 1000
