"""What a trial of a study's bookkeeping costs is measured on the study's own code."""

import json

import pytest

from benchmarks.slopes import main


def test_every_part_is_measured_at_every_size(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--trials", "4", "20", "--json"]) == 0
    small, large = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (small["trials"], large["trials"]) == (4, 20)
    assert all(value > 0 for one in (small, large) for value in one.values())
