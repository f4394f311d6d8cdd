"""How often rules are wrong over many simulated worlds: the command line and the table that such measurements share."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.verdicts import MARGIN, TOLERATED, WRONG, beyond
from study.compare.paired import decide

Shares = dict[str, tuple[float, float, float]]
"""By rule: how often "comparable" is said at the margin, a difference where there is none, and "comparable" there. The
protocol's rule is named `protocol`."""


def shares_said(rules: Mapping[str, Callable[[Any], Any]], at_zero: Any, at_margin: Any) -> Shares:
    """What is said of studies without a difference and of studies that differ by the margin.

    Args:
        rules: what each takes the studies for, as moments.
        at_zero, at_margin: the studies.
    """
    found = {}
    with np.errstate(divide="ignore", invalid="ignore"):
        for name, rule in rules.items():
            comparable: Any = decide(rule(at_margin), MARGIN)[0]
            as_good, different = decide(rule(at_zero), MARGIN)
            found[name] = (float(np.mean(comparable)), float(np.mean(different)), float(np.mean(as_good)))
    return found


def tell_worst(
    program: str,
    about: str,
    every: Callable[[bool], Sequence[Any]],
    errors: Callable[[Any, int, int], Shares],
    quick: str,
    arguments: list[str] | None,
) -> None:
    """Print of each rule its worst world, and how many lie beyond 5 %; and what the protocol's breaks.

    Args:
        program: the module's name, below `benchmarks`.
        about: what its `--help` says.
        every: the worlds, or, for `--quick`, some of them.
        errors: how often each rule is wrong in one, from so many studies and a seed.
        quick: what `--quick` leaves.
        arguments: the command line's.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{program}",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--studies", type=int, default=1000, metavar="N", help="studies of a world (default: 1000)")
    parser.add_argument("--quick", action="store_true", help=quick)
    chosen = parser.parse_args(arguments)
    rows = [(world, errors(world, chosen.studies, 2 * index)) for index, world in enumerate(every(chosen.quick))]
    print(f"{len(rows)} worlds, {chosen.studies} studies each: the worst, and worlds beyond 5 %")
    print(f"{'rule':<18}  comparable at the margin   a difference that is none   comparable at no difference, mean")
    for rule in rows[0][1]:
        at_margin, none, zero = zip(*(found[rule] for _, found in rows), strict=True)
        over = [sum(beyond(share, WRONG, chosen.studies) > 2 for share in one) for one in (at_margin, none)]
        told = [f"{100 * max(one):5.1f} %  {count:>4}" for one, count in zip((at_margin, none), over, strict=True)]
        print(f"{rule:<18}  {told[0]:<27}{told[1]:<28}{100 * float(np.mean(zero)):5.1f} %")
    broken = [world for world, found in rows if beyond(max(found["protocol"][:2]), WRONG, chosen.studies) > TOLERATED]
    print("\n".join(map(str, broken)) or "no promise is broken by more than chance")
