"""What every fuzzed reader is held to: so much memory and no more."""

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.inputs import MOST_MEMORY


@pytest.fixture(scope="module", autouse=True)
def bounded_memory() -> Iterator[None]:
    """Let the process map so much more than now, and no more: a bomb ends in a MemoryError, which is no UserError."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MOST_MEMORY, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
