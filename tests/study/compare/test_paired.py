"""The paired comparison over seeds and images (PROTOCOL §5.3, §5.4, §6.2)."""

import numpy as np
import pytest

from study.compare.moments import PairedMoments
from study.compare.paired import PairedVerdict, decide, paired_verdict, verdict_of

GENERATOR = np.random.default_rng(3)


def answers(seeds: int, images: int, discordance: float, accuracy: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
    baseline = GENERATOR.random((seeds, images)) < accuracy
    return baseline ^ (GENERATOR.random((seeds, images)) < discordance), baseline


def test_moments_are_those_of_a_two_way_analysis_of_variance() -> None:
    method, baseline = answers(4, 50, 0.2)
    d = method.astype(float) - baseline
    found = PairedMoments.of_answers(method, baseline)
    seeds, images, mean = d.mean(axis=1, keepdims=True), d.mean(axis=0, keepdims=True), d.mean()
    assert found.mean == pytest.approx(mean)
    assert found.seed_square == pytest.approx(50 * ((seeds - mean) ** 2).sum() / 3)
    assert found.image_square == pytest.approx(4 * ((images - mean) ** 2).sum() / 49)
    assert found.rest_square == pytest.approx(((d - seeds - images + mean) ** 2).sum() / (3 * 49))
    assert found.discordant_images == (d != 0).any(axis=0).sum()


def test_one_seeds_images_part_is_tangos_score_variance() -> None:
    """Tango 1998: with b = 9 for and c = 3 against of 100 pairs, the restricted estimate at Δ = 0.1 by a search."""
    method = np.zeros((2, 100), dtype=bool)
    baseline = method.copy()
    method[:, :9], baseline[:, 9:12] = True, True
    shares = np.linspace(0.0001, 0.4, 400_000)
    likelihood = 9 * np.log(shares + 0.1) + 3 * np.log(shares) + 88 * np.log(1 - 2 * shares - 0.1)
    against = shares[np.argmax(likelihood)]
    moments = PairedMoments.of_answers(method, baseline)
    assert moments.answers == pytest.approx(100)
    assert moments.image_part(0.1) == pytest.approx((2 * against + 0.1 - 0.01) / 100, rel=1e-3)


@pytest.mark.parametrize("seeds, images, discordance", [(2, 90, 0.1), (3, 270, 0.02), (5, 2000, 0.05), (20, 500, 0.01)])
def test_comparable_is_what_the_interval_within_the_margin_says(seeds: int, images: int, discordance: float) -> None:
    for margin in (0.3, 1.0, 3.0):
        method, baseline = answers(seeds, images, discordance, 0.6)
        found = paired_verdict(method, baseline, margin)
        low, high = found.interval
        assert (found.verdict == "comparable") == (-margin <= low and high <= margin) == (found.p_equivalent <= 0.025)
        assert low < found.difference < high


def test_the_verdict_of_one_study_is_that_of_the_simulations() -> None:
    for discordance in (0.005, 0.05):
        method, baseline = answers(5, 1000, discordance, 0.5)
        moments = PairedMoments.of_answers(method, baseline)
        comparable, different = decide(moments, 1.0)
        found = paired_verdict(method, baseline, 1.0).verdict
        assert (found == "comparable", found in ("higher", "lower")) == (comparable, different)


def test_agreeing_seeds_never_give_an_interval_of_no_width() -> None:
    """Three times the same 270 answers, all right: 270 images cannot show that two methods are within a point."""
    right = np.ones((3, 270), dtype=bool)
    found = paired_verdict(right, right, 1.0)
    assert found.verdict == "undecided" and found.interval[0] < -1 and found.interval[1] > 1
    assert paired_verdict(np.ones((3, 2000), dtype=bool), np.ones((3, 2000), dtype=bool), 1.0).verdict == "comparable"


def test_one_seed_decides_nothing() -> None:
    right = np.ones((1, 10_000), dtype=bool)
    assert paired_verdict(right, right, 1.0).verdict == "undecided"
    assert paired_verdict(right, ~right, 1.0).verdict == "undecided"


def test_a_plain_difference_is_named_by_its_sign() -> None:
    method, baseline = answers(5, 2000, 0.02)
    worse = method & (GENERATOR.random(method.shape) < 0.9)
    assert paired_verdict(worse, baseline, 1.0).verdict == "lower"
    assert paired_verdict(baseline, worse, 1.0).verdict == "higher"


def test_swapping_the_methods_turns_the_signs_alone() -> None:
    method, baseline = answers(4, 600, 0.05)
    one, other = paired_verdict(method, baseline, 1.0), paired_verdict(baseline, method, 1.0)
    assert one.difference == pytest.approx(-other.difference)
    assert one.interval == pytest.approx(tuple(-end for end in reversed(other.interval)), abs=1e-6)
    assert one.p_different == pytest.approx(other.p_different)
    assert one.p_equivalent == pytest.approx(other.p_equivalent)


def test_everything_is_a_finite_number_whatever_the_answers() -> None:
    for method, baseline in (
        (np.ones((2, 1)), np.zeros((2, 1))),
        (np.ones((3, 50)), np.zeros((3, 50))),
        (np.eye(4), np.zeros((4, 4))),
        (np.zeros((2, 3)), np.zeros((2, 3))),
    ):
        found: PairedVerdict = paired_verdict(method, baseline, 1.0)
        assert np.isfinite([*found.interval, found.p_different, found.p_equivalent]).all()
        assert -100 <= found.interval[0] <= found.difference <= found.interval[1] <= 100


@pytest.mark.parametrize("margin", [0.0, -1.0, float("nan")])
def test_margin_that_is_no_positive_number_is_refused(margin: float) -> None:
    with pytest.raises(ValueError, match="not a positive number of points"):
        paired_verdict(np.ones((2, 3)), np.ones((2, 3)), margin)


def test_answers_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shapes \(2, 3\) and \(2, 4\)"):
        paired_verdict(np.ones((2, 3)), np.ones((2, 4)), 1.0)


def searched(generator: np.random.Generator, of_search: float, of_run: float) -> tuple[np.ndarray, np.ndarray]:
    """Answers of three searches, four seeds and 5,000 images, whose runs differ by so many points."""
    luck = generator.normal(size=(3, 1, 1)) * of_search + generator.normal(size=(3, 4, 1)) * of_run
    draws = generator.random((3, 4, 5000))
    return draws < 0.9 + luck / 100, generator.random((3, 4, 5000)) < 0.9


def test_one_search_is_the_two_level_model() -> None:
    method, baseline = (one[0] for one in searched(np.random.default_rng(3), 0.0, 0.3))
    assert verdict_of(PairedMoments.of_answers(method[np.newaxis], baseline[np.newaxis]), 1.0) == paired_verdict(
        method, baseline
    )


def test_what_searches_differ_by_is_in_the_interval_and_named() -> None:
    calm = paired_verdict(*searched(np.random.default_rng(1), 0.0, 0.1))
    lucky = paired_verdict(*searched(np.random.default_rng(1), 2.0, 0.1))
    assert lucky.searches == 3 and lucky.search_error is not None and calm.search_error is not None
    assert lucky.search_error > 5 * calm.search_error and lucky.search_error > lucky.seed_error
    assert lucky.interval[1] - lucky.interval[0] > 4 * (calm.interval[1] - calm.interval[0])


def test_mean_squares_of_searches_seeds_and_runs_add_up() -> None:
    method, baseline = searched(np.random.default_rng(2), 1.0, 0.5)
    found = PairedMoments.of_answers(method, baseline)
    means = method.mean(axis=2) - baseline.mean(axis=2)
    assert found.mean == pytest.approx(means.mean())
    assert found.search_square == pytest.approx(4 * 5000 * means.mean(axis=1).var(ddof=1))
    assert found.seed_square == pytest.approx(3 * 5000 * means.mean(axis=0).var(ddof=1))
    whole = 5000 * ((means - means.mean()) ** 2).sum()
    assert 2 * found.search_square + 3 * found.seed_square + 6 * found.run_square == pytest.approx(whole)
