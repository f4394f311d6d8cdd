"""Verdicts keep their promises where searches are repeated (PROTOCOL §5.3)."""

import dataclasses

import numpy as np
import pytest

from benchmarks.repeated_searches import errors, main, worlds
from benchmarks.simulated_answers import World, simulate
from benchmarks.verdicts import TOLERATED, WRONG, beyond

STUDIES = 300


def test_errors_stay_below_five_percent_whatever_runs_differ_by() -> None:
    for index, world in enumerate(worlds(searches=(2, 3), images=(2000,))):
        wrong = max(errors(world, STUDIES, 2 * index)["protocol"][:2])
        assert beyond(wrong, WRONG, STUDIES) < TOLERATED, world


def test_runs_of_one_search_are_no_seeds_of_their_own() -> None:
    """Or a search that was lucky would count as often as it was confirmed."""
    world = World(5, 2000, 0.05, 0.0, 0.1, 0.0, searches=2, search_deviation=1.0, run_deviation=0.2)
    found = errors(world, 500, 0)
    assert found["every run a seed"][1] > 0.2 and found["protocol"][1] < 0.07


def test_simulated_searches_have_the_spread_that_they_state() -> None:
    world = World(3, 10_000, 0.05, 0.0, 0.3, 0.0, searches=4, search_deviation=0.8, run_deviation=0.2)
    moments = simulate(world, 3000, 0)
    images = world.discordance / (12 * world.images) * 1e4
    assert 1e4 * np.var(moments.mean) == pytest.approx(0.64 / 4 + 0.09 / 3 + 0.04 / 12 + images, rel=0.1)
    assert moments.searches == 4 and np.shape(moments.search_square) == (3000,)
    shifted = simulate(dataclasses.replace(world, difference=1.0), 500, 0)
    assert np.mean(shifted.mean) == pytest.approx(0.01, abs=0.001)


def test_command_says_the_worst_world_of_each_rule(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--quick", "--studies", "5"])
    assert "every run a seed" in capsys.readouterr().out
