"""Verdicts on means over data sets keep their promises (PROTOCOL §6.5)."""

import numpy as np
import pytest

from benchmarks.mean_verdicts import FAR, Worlds, errors, main, worlds
from benchmarks.simulated_answers import World
from benchmarks.verdicts import TOLERATED, WRONG, beyond

STUDIES = 200


def test_errors_stay_below_five_percent_however_the_data_sets_differ() -> None:
    for index, those in enumerate(list(worlds((2, 3)))[::5]):
        wrong = max(errors(those, STUDIES, 2 * index)["protocol"][:2])
        assert beyond(wrong, WRONG, STUDIES) < TOLERATED, those


def test_freedoms_of_one_data_set_whose_seeds_are_far_apart_are_not_those_of_all() -> None:
    """Or the variance that three seeds show would be taken for one that eighteen show."""
    far = Worlds(tuple(World(3, 2000, 0.05, 0.0, 3.0 / (1 if one == 0 else FAR)) for one in range(6)))
    found = errors(far, 1000, 0)
    assert found["every freedom"][1] > found["protocol"][1] and found["protocol"][1] < 0.07


def test_simulated_means_are_what_they_state() -> None:
    drawn = Worlds((World(3, 1000, 0.2, 0.0, 0.1, -2.0), World(3, 1000, 0.2, 0.0, 0.1, 2.0))).drawn(500, 0, 1.0)
    assert [100 * np.mean(part.mean) for part in drawn.parts] == pytest.approx([-1.0, 3.0], abs=0.15)
    assert 100 * np.mean(drawn.mean) == pytest.approx(1.0, abs=0.1)


def test_command_says_the_worst_world_of_each_rule(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--quick", "--studies", "5"])
    assert "fewest freedoms" in capsys.readouterr().out
