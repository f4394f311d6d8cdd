"""What would decide a comparison, held against simulated studies (PROTOCOL §6.6)."""

import numpy as np
import pytest

from benchmarks.simulated_answers import World, simulate
from benchmarks.verdicts import shares
from study.compare.paired import decide
from study.compare.power import POWER, Variances, needed

VARIANCES = Variances(seed=0.04, image=0.5 * 0.05 * 1e4, rest=0.5 * 0.05 * 1e4)
"""Seeds differ by 0.2 points; of 5 % discordant answers half are the image's."""


def test_variances_are_those_of_the_world_that_a_study_is_drawn_from() -> None:
    moments = simulate(World(20, 10_000, 0.05, 0.5, 0.2), 1, 3)
    one = type(moments)(
        **{name: value if isinstance(value, int) else value[0] for name, value in vars(moments).items()}
    )
    found = Variances.of(one)
    assert found.image == pytest.approx(VARIANCES.image, rel=0.1)
    assert found.rest == pytest.approx(VARIANCES.rest, rel=0.1)
    assert found.seed == pytest.approx(VARIANCES.seed, rel=0.9)


@pytest.mark.parametrize("seeds, images", [(5, 2000), (10, 10_000), (3, 10_000)])
def test_power_is_what_simulated_studies_have(seeds: int, images: int) -> None:
    found = shares(World(seeds, images, 0.05, 0.5, 0.2), 400, 0)["protocol"]["comparable"]
    assert VARIANCES.power(1.0, seeds, images) == pytest.approx(found, abs=0.12)


@pytest.mark.parametrize("seeds, images", [(5, 1000), (10, 2000), (3, 10_000)])
def test_the_smallest_difference_told_is_told_in_four_of_five_simulated_studies(seeds: int, images: int) -> None:
    least = VARIANCES.least_told(seeds, images)
    moments = simulate(World(seeds, images, 0.05, 0.5, 0.2, difference=least), 400, 0)
    _, different = decide(moments, 0.001)  # a margin that nothing is within
    assert np.mean(different & (moments.mean > 0)) == pytest.approx(POWER, abs=0.12)
    assert VARIANCES.least_told(seeds, images, comparisons=20) > least > VARIANCES.least_told(2 * seeds, 2 * images)


def test_as_many_images_as_are_said_to_be_needed_decide() -> None:
    found = needed(VARIANCES, 1.0, 5, 270)
    assert found.images is not None
    assert VARIANCES.power(1.0, 5, found.images) >= POWER > VARIANCES.power(1.0, 5, found.images * 0.9)
    simulated = shares(World(5, found.images, 0.05, 0.5, 0.2), 400, 1)["protocol"]["comparable"]
    assert simulated > 0.7


def test_where_images_are_too_few_no_number_of_seeds_decides() -> None:
    found = needed(VARIANCES, 1.0, 3, 270)
    assert found.seeds is None and found.text(3, 270).startswith(f"{found.images:,} images with its 3 seeds")


def test_seeds_that_differ_much_need_more_seeds() -> None:
    found = needed(Variances(1.0, 100.0, 100.0), 1.0, 3, 20_000)
    assert found.seeds is not None and 10 < found.seeds < 30


def test_more_comparisons_need_more() -> None:
    few, many = (needed(VARIANCES, 1.0, 5, 2000, count).images for count in (1, 20))
    assert few is not None and many is not None and few < many
