"""How often Python looks for objects that know only each other: seldom while modules load, as usual while a run trains.

Importing what a command or a trial needs makes half a million objects that stay. Python's collector walks over them
again and again, which takes a fifth of the time until a command begins to work. A run, though, frees its networks by
the collector alone; there it looks as often as ever, and at what the run has made.
"""

import gc

USUAL = gc.get_threshold()
SELDOM = (100_000, 50, 50)
"""New objects until it looks at them; and how often it does before it looks at older ones, and at all."""


def collect_seldom() -> None:
    """From here on this process loads more than it trains."""
    gc.set_threshold(*SELDOM)


def collect_as_usual() -> None:
    """End what `collect_seldom` began, if it did; what is there by now is not looked at again."""
    if gc.get_threshold() == SELDOM:
        gc.freeze()
        gc.set_threshold(*USUAL)
