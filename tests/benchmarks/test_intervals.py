"""The benchmark of intervals and p-values measures the protocol's own functions."""

import numpy as np
import pytest

from benchmarks.intervals import POPULATIONS, main, plain_interval, shares
from study.compare.statistics import mean_and_interval


def test_a_line_a_population_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--samples", "3"])
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == list(POPULATIONS)


def test_shares_repeat_and_lie_within_nought_and_one() -> None:
    found = shares("binomial", 5)
    assert found == shares("binomial", 5) and all(0 <= share <= 1 for share in found.values())


def test_the_protocols_interval_is_wider_than_the_plain_one() -> None:
    """PROTOCOL §5.2"""
    values = np.random.default_rng(1).normal(size=10)
    (low, high), (plain_low, plain_high) = mean_and_interval(values.tolist()).interval, plain_interval(values)
    assert low < plain_low and plain_high < high
