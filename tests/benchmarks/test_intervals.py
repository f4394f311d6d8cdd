"""The benchmark of intervals and p-values measures the protocol's own functions."""

import numpy as np
import pytest

from benchmarks import intervals
from benchmarks.intervals import ACCURACIES, POPULATIONS, AnswersOf, accuracy_lines, held, main, plain_interval, shares
from study.compare.statistics import mean_and_interval


def test_a_line_a_rule_and_a_line_a_population_is_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intervals, "worlds", lambda: [AnswersOf(3, 50, 0.9, 0.5, 0.0)])
    main(["--samples", "3"])
    printed = capsys.readouterr().out.splitlines()
    assert [line[:30].strip() for line in printed[2 : 2 + len(ACCURACIES)]] == list(ACCURACIES)
    assert [line.split()[0] for line in printed[3 + len(ACCURACIES) :]] == list(POPULATIONS)


@pytest.mark.parametrize("deviation", [0.0, 1.0])
def test_the_protocols_interval_of_an_accuracy_holds_the_true_one_where_seeds_alone_do_not(deviation: float) -> None:
    """PROTOCOL §5.2; 93 % allow for the chance of 1,000 studies."""
    found = held(AnswersOf(5, 270, 0.9, 0.97, deviation), 1000, 1)
    assert found["protocol"] > 0.93 and found["protocol, answers not kept"] > 0.93
    assert found["seeds only, t"] < 0.7


def test_the_least_of_each_number_of_seeds_is_told() -> None:
    lines = list(accuracy_lines([AnswersOf(n, 60, 0.9, 0.5, 0.1) for n in (2, 3)], 20))
    assert "least, n = 2" in lines[1] and "least, n = 3" in lines[1] and len(lines) == 2 + len(ACCURACIES)


def test_shares_repeat_and_lie_within_nought_and_one() -> None:
    found = shares("binomial", 5)
    assert found == shares("binomial", 5) and all(0 <= share <= 1 for share in found.values())


def test_the_protocols_interval_is_wider_than_the_plain_one() -> None:
    """PROTOCOL §5.2"""
    values = np.random.default_rng(1).normal(size=10)
    (low, high), (plain_low, plain_high) = mean_and_interval(values.tolist()).interval, plain_interval(values)
    assert low < plain_low and plain_high < high
