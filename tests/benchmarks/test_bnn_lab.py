"""bnn-lab is asked for the very products that the kernels compute; without it the way to it is named."""

import json

import pytest
import torch

from benchmarks import bnn_lab


class Answers:
    """In place of bnn-lab's process."""

    kernel = "none"

    def __init__(self, python: str) -> None:
        self.asked: list[tuple[int, int, int]] = []

    def seconds(self, rows: int, outputs: int, bits: int) -> float:
        self.asked.append((rows, outputs, bits))
        return 1.0


def test_a_row_a_shape_says_how_fast_both_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = Answers("python")
    monkeypatch.setattr(bnn_lab, "Theirs", lambda python: theirs)
    monkeypatch.setattr(bnn_lab, "SHAPES", ((3, 70, 6),))
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    assert bnn_lab.main(["--python", "python", "--batch-size", "2", "--repeats", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (row,) = found["rows"]
    assert theirs.asked == [(2 * 36, 70, 9 * 70)] * 2
    assert row["bnn_lab_gmac_per_second"] == pytest.approx(2 * 36 * 70 * 9 * 70 / 1e9)
    assert row["ratio"] == pytest.approx(row["gmac_per_second"] / row["bnn_lab_gmac_per_second"])
    assert {"git_commit", "hardware", "bnn_lab"} <= found.keys()


@pytest.mark.integration
def test_an_environment_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert bnn_lab.main(["--python", "/nowhere/python"]) == 2
    assert "cannot start /nowhere/python" in capsys.readouterr().err
