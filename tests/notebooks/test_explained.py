"""The notebook that explains BinSFO shows what it says: as many flips as SGD's, and where the likeness ends."""

import re
from pathlib import Path

import pytest

from tests.notebooks.running import execute, pictures, printed


@pytest.mark.integration
def test_flips_match_those_of_sgd_until_memory_matters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = execute("binsfo_explained.ipynb", tmp_path, monkeypatch)
    one = re.search(r"one step flips ([\d.]+) % by SGD and ([\d.]+) % by BinSFO", printed(notebook))
    assert one is not None
    # A million weights, of which 6 % flip: the counts' deviation is 0.03 points.
    assert abs(float(one[1]) - float(one[2])) < 0.15
    runs = re.findall(
        r"end: (\d+) % by SGD, (\d+) % by BinSFO; flips a step differ by at most ([\d.]+)", printed(notebook)
    )
    (alone, pulled) = [[float(value) for value in run] for run in runs]
    assert alone[2] < 0.5 < pulled[2]
    assert pulled[0] > pulled[1] + 10
    assert pictures(notebook) == 3
