"""The examples of one's own rule, data and model run as their first lines say, on a smaller budget."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.integration

REPOSITORY = Path(__file__).resolve().parents[2]


def study(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(
        [sys.executable, "-m", "study", *words], capture_output=True, text=True, timeout=900, env=environment
    )


def example(name: str, output: Path, *more: str) -> list[dict[str, object]]:
    """Run an example with one search trial a cell; the rows of its results."""
    file, plugin = (str(REPOSITORY / "examples" / f"{name}.{kind}") for kind in ("yaml", "py"))
    words = ["--trials", "1", "--output", str(output), "--data-root", str(output.parent / "data"), *more]
    done = study("run", file, "--plugin", plugin, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return pq.read_table(output / "results.parquet").to_pylist()


def test_a_rule_of_ones_own_is_searched_confirmed_and_compared(tmp_path: Path) -> None:
    rows = example("own_rule", tmp_path / "out")
    own = [row for row in rows if row["method"] == "largest"]
    assert [row["phase"] for row in own] == ["confirm", "confirm", "search"]
    assert all(row["status"] == "completed" and row["flip_threshold"] for row in own)
    assert all(str(row["plugins"]).startswith("own_rule.py ") for row in own)
    assert all(row["plugins"] is None for row in rows if row["method"] == "binary")
    compared = study("compare", str(tmp_path / "out"))
    assert compared.returncode == 0 and "largest" in compared.stdout, "also where the plug-in is not at hand"
    changed = tmp_path / "own_rule.py"
    changed.write_text((REPOSITORY / "examples" / "own_rule.py").read_text() + "# another version\n")
    words = ["--plugin", str(changed), "--trials", "2", "--output", str(tmp_path / "out")]
    refused = study("run", str(REPOSITORY / "examples" / "own_rule.yaml"), *words)
    assert refused.returncode == 2 and "was begun with the plug-in own_rule.py of SHA-256" in refused.stderr
    lost = study("run", str(REPOSITORY / "examples" / "own_rule.yaml"), "--output", str(tmp_path / "out"))
    assert lost.returncode == 2 and "'largest' is unknown" in lost.stderr and "--plugin FILE.py" in lost.stderr


def test_a_data_set_of_ones_own_is_prepared_and_learned(tmp_path: Path) -> None:
    rows = example("own_data", tmp_path / "out")
    assert {row["dataset"] for row in rows} == {"Stripes"}
    assert all(row["status"] == "completed" and str(row["plugins"]).startswith("own_data.py ") for row in rows)


def test_a_network_of_ones_own_is_trained_by_every_method_with_packed_activations(tmp_path: Path) -> None:
    rows = example("own_model", tmp_path / "out")
    assert {row["method"] for row in rows} == {"binary", "bop", "frozen", "real-SGD", "real-Adam"}
    assert all((row["status"], row["blocks"], row["activation_memory"]) == ("completed", 3, "packed") for row in rows)
