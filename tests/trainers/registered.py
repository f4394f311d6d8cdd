"""A model that is known for as long as a test runs."""

from collections.abc import Iterator
from contextlib import contextmanager

from trainers.model import Model
from trainers.registry import MODELS, Origin


@contextmanager
def registered(model: Model) -> Iterator[Model]:
    """Make a model known while the context is open."""
    origin = Origin("a test", "")
    MODELS.add(model, origin)
    try:
        yield model
    finally:
        MODELS.withdraw(origin)
