"""The notebook on counters runs, and shows what it says: memory makes errors rarer, a lower temperature does not."""

import re
from pathlib import Path

import pytest

from tests.notebooks.running import execute, pictures, printed


@pytest.mark.slow
def test_errors_fall_with_the_bits_and_with_no_temperature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = execute("inertia.ipynb", tmp_path, monkeypatch)
    shares = re.findall(r"b = (\d): wrong for ([\d.]+) to ([\d.]+) % of the time", printed(notebook))
    assert [bits for bits, _, _ in shares] == ["0", "2", "4"]
    assert all(coldest == hottest for _, coldest, hottest in shares)
    assert float(shares[0][1]) == 40.0 and float(shares[0][1]) > float(shares[1][1]) > 10 * float(shares[2][1])
    best = re.findall(r"b = (\d): (\d) bits of state a weight, best ([\d.]+) %", printed(notebook))
    assert [(bits, state) for bits, state, _ in best] == [("0", "1"), ("2", "3"), ("4", "5")]
    assert float(best[2][2]) > float(best[0][2])
    assert pictures(notebook) == 2
