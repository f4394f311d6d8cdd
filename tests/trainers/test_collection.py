"""Python's collector looks seldom while modules load, and as often as ever where a run trains."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from trainers.collection import SELDOM, USUAL, collect_as_usual, collect_seldom
from trainers.worker import train


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    gc.set_threshold(*USUAL)


class Ring:
    """An object that nobody but itself knows."""

    def __init__(self) -> None:
        self.itself = self


def test_a_run_collects_what_it_makes_however_its_process_loaded() -> None:
    collect_seldom()
    assert gc.get_threshold() == SELDOM
    collect_as_usual()
    assert gc.get_threshold() == USUAL and gc.get_freeze_count() > 0
    ring = weakref.ref(Ring())
    gc.collect()
    assert ring() is None


def test_a_process_that_chose_for_itself_keeps_its_choice() -> None:
    gc.set_threshold(1234, 5, 6)
    frozen = gc.get_freeze_count()
    collect_as_usual()
    assert gc.get_threshold() == (1234, 5, 6) and gc.get_freeze_count() == frozen


def test_training_begins_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class BegunError(Exception):
        pass

    def begun() -> None:
        raise BegunError

    monkeypatch.setattr("trainers.worker.collect_as_usual", begun)
    with pytest.raises(BegunError):
        train(*[None] * 5)  # type: ignore[arg-type]
