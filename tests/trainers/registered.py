"""A model that is known for as long as a test runs."""

from collections.abc import Iterator
from contextlib import contextmanager

from trainers import registry
from trainers.model import Model


@contextmanager
def registered(model: Model) -> Iterator[Model]:
    """Make a model known while the context is open."""
    registry.MODELS.add(model, origin="a test")
    try:
        yield model
    finally:
        del registry.MODELS._things[model.name], registry.MODELS._origins[model.name]
        registry._forget()
