"""The time that records are stamped with."""

import time


def stamp() -> float:
    """Seconds since 1970, to the millisecond.

    All stamps that are held against one another come from here, so that of two in one process the later one is never
    the smaller number: unrounded, a moment may lie before the rounded stamp of an event that came earlier.
    """
    return round(time.time(), 3)
