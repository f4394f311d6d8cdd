"""How inputs are made and held to bounds: the settings of every fuzz test, mutations of bytes, and the one check."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from trainers.errors import UserError

# Inputs of each reader. Drawn from a fixed seed, so that every run of the tests sees the same ones.
INPUTS = 2000
# Bytes that reading may map beyond what the process holds when a module of tests begins.
MOST_MEMORY = 3 * 2**30
# Seconds of processor time that one input may take; it is there to end what would never end.
MOST_CPU_SECONDS = 30


def fuzz(inputs: int = INPUTS) -> settings:
    """The settings of a fuzz test."""
    return settings(
        max_examples=inputs,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


@contextmanager
def only_user_errors() -> Iterator[None]:
    """Whatever is read within ends well or with a `UserError` that says something, within its processor time."""

    def too_long(number: int, frame: FrameType | None) -> NoReturn:
        raise AssertionError(f"an input took more than {MOST_CPU_SECONDS} s of processor time")

    before = signal.signal(signal.SIGPROF, too_long)
    signal.setitimer(signal.ITIMER_PROF, MOST_CPU_SECONDS)
    try:
        yield
    except UserError as error:
        text = str(error)
        assert text.strip()
        assert len(text) < 20_000, "a message that long is no message"
        text.encode("utf-8", "backslashreplace")  # it can be printed
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@st.composite
def mutated(draw: st.DrawFn, original: bytes) -> bytes:
    """A valid file's bytes with a few of them changed, doubled, moved, cut out, or its end cut off."""
    data = bytearray(original)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, len(data) - 1)))
        span = draw(st.sampled_from([1, 1, 2, 4, 8, 64]))
        kind = draw(st.sampled_from(["set", "set", "flip", "cut", "double", "truncate", "insert"]))
        if kind == "set":
            data[place : place + span] = draw(st.binary(min_size=span, max_size=span))
        elif kind == "flip" and data:
            data[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del data[place : place + span]
        elif kind == "double":
            data[place:place] = data[place : place + span]
        elif kind == "truncate":
            del data[place:]
        else:
            data[place:place] = draw(st.sampled_from(EXTREMES))
    return bytes(data)


# Lengths, counts and offsets as files hold them, at and beyond what any could be.
EXTREMES = (
    b"\x00" * 8,
    b"\xff" * 8,
    b"\xff\xff\xff\x7f",
    b"\x00\x00\x00\x80",
    b"\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
    b"\x00\x00\x00\x00\x00\x00\x00\x01",
)
