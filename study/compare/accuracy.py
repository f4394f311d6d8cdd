"""The interval of one method's accuracy: over seeds, searches *and* the images that it was measured on (PROTOCOL §5.2).

A method is right on image i with seed s, or it is not. Its accuracy on other seeds, searches and images is asked for;
the mean of R searches x n seeds x m images varies about a true accuracy p by

    V(p) = V_seed + V_search + p (1 - p) / M,       M = R n m / (1 + (R n - 1) r)

with the parts of seeds and searches, and r, how far runs agree on an image, from the analysis of variance of the
answers (`study.compare.moments`). The interval is all p with |mean - p| <= c sqrt(V(p)): Wilson's score interval (JASA
22, 1927), which lies within 0 and 1 and has a width where all answers are right, with the luck of runs beside it. c is
Cochran's quantile, weighted by whole mean squares of seeds and searches: what they have beyond the images' is too often
found to be nothing by few seeds.

Where answers are not kept, but the number of images is recorded, runs count as agreeing on every image (M = m), and all
that their accuracies vary by as their luck: an interval that is too wide rather than too narrow. Where not even that is
known it is over runs alone, and runs that agree exactly have none, since their agreement says nothing of other images.

`python -m benchmarks.intervals` shows how often each of these holds the truth.
"""

from typing import Any

import numpy as np
from scipy import optimize

from study.compare.moments import PairedMoments
from study.compare.paired import EQUIVALENCE_LEVEL, quantile, shares_of
from study.compare.repeats import table_freedoms, table_interval, table_parts
from study.compare.statistics import Estimate


def answers_interval(right: np.ndarray) -> Estimate:
    """The accuracy of runs whose answers are kept.

    Args:
        right: which images each was right on, bool (seeds, images) or (searches, seeds, images).
    """
    runs = right if right.ndim == 3 else right[np.newaxis]
    searches, seeds, images = runs.shape
    if 1 in (searches, seeds):  # of one seed in each of several searches every run is another's repeat
        runs = runs.reshape(1, searches * seeds, images)
    mean = float(runs.mean())
    if runs.shape[1] == 1:
        return Estimate(mean, None, None, 1)
    found = moments_of(runs)
    return _ends(mean, found.luck, found.whole_luck, found.freedoms, float(found.answers), searches * seeds)


def moments_of(right: np.ndarray) -> PairedMoments:
    """What answers (searches, seeds, images) vary by; of errors, where those are the rarer (the variances agree)."""
    rarer = right if right.mean() < 0.5 else ~right
    return PairedMoments.of_answers(rarer, np.zeros_like(rarer))


def values_interval(values: np.ndarray, images: int | None) -> Estimate:
    """The accuracy of runs whose answers are not kept.

    Args:
        values: their accuracies, fractions (searches, seeds).
        images: how many images each was measured on; None where that is not known.
    """
    runs = values.reshape(1, -1) if 1 in values.shape else values
    mean, n = float(runs.mean()), runs.size
    if n == 1:
        return Estimate(mean, None, None, n)
    if images is not None:
        parts = table_parts(runs)
        return _ends(mean, parts, parts, table_freedoms(runs), float(images), n)
    found = table_interval(runs)
    if found.low is None or found.high is None:
        return found
    return Estimate(found.mean, max(0.0, found.low), min(1.0, found.high), n)


def reach(supposed: Any, luck: Any, of_luck: Any, freedoms: Any, worth: Any) -> Any:
    """How far the mean may lie from a supposed accuracy: c sqrt(V) there; of one study or of many.

    Args:
        supposed: the accuracy, a fraction.
        luck: what the mean varies by beyond its images, by seeds and by searches.
        of_luck: of each, the part of the variance that is known from few runs, by which c is weighted.
        freedoms: of each, from how many degrees of freedom.
        worth: M, how many independent answers all are worth.
    """
    variance = np.maximum(supposed * (1 - supposed) / worth + sum(luck), np.finfo(float).tiny)
    return quantile(EQUIVALENCE_LEVEL, shares_of(of_luck, variance), freedoms) * np.sqrt(variance)


def _ends(mean: float, luck: Any, of_luck: Any, freedoms: Any, worth: float, n: int) -> Estimate:
    def beyond(supposed: float) -> float:
        return abs(mean - supposed) - float(reach(supposed, luck, of_luck, freedoms, worth))

    ends = []
    for furthest in (0.0, 1.0):
        if mean == furthest or beyond(furthest) <= 0:
            ends.append(furthest)
        else:
            ends.append(float(optimize.brentq(beyond, mean, furthest)))
    return Estimate(mean, ends[0], ends[1], n)
