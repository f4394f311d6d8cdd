"""The scale benchmark: what it counts, and that it runs; no test says how fast a machine is."""

from pathlib import Path

import pytest

from benchmarks.scale import Scale, main, measure, table, within

SMALL = Scale(100, 9.9, 4.95, 90 * 2**10, 200 * 2**20, 100 * 2**20, 2**20)
LARGE = Scale(1000, 199.8, 49.95, 900 * 2**10, 220 * 2**20, 120 * 2**20, 2**22)


def test_time_and_growth_are_by_the_trial() -> None:
    assert SMALL.seconds_a_trial == pytest.approx(0.1)
    assert SMALL.cpu_seconds_a_trial == pytest.approx(0.05)
    assert SMALL.growth_a_trial == pytest.approx(1024)


def test_the_last_line_compares_the_largest_study_with_the_smallest() -> None:
    titles, *rows = table([SMALL, LARGE])
    assert "ms a trial" in titles
    assert rows[-1].split()[:3] == ["1000", ":", "100"]
    assert rows[-1].split()[3:] == ["2.00x", "1.00x", "1.10x", "1.20x"]


def test_a_study_that_slows_down_is_not_within_the_allowed_ratio() -> None:
    assert not within([SMALL, LARGE])
    assert within([SMALL, LARGE], allowed=2.0)
    assert within([SMALL, SMALL])


def test_fewer_than_two_trials_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--trials", "1"])
    assert "at least 2 trials" in capsys.readouterr().err


@pytest.mark.slow
def test_a_simulated_study_is_measured_while_it_runs(tmp_path: Path) -> None:
    scale = measure(4, 2, tmp_path)
    assert scale.trials == 4
    assert scale.peak_rss >= scale.peak_uss > 0
    assert scale.seconds > 0
    assert scale.state_bytes > 0
