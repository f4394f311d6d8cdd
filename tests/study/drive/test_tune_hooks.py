"""Whoever listens to Tune is called in order, and after an error nobody is told anything more."""

import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune import Callback

from study.drive.tune_hooks import Hooks


class Listener(Callback):
    """Keeps what it is told; fails at the events it is asked to."""

    def __init__(self, name: str, told: list[tuple[str, str]], fails_at: str = "") -> None:
        self.name, self.told, self.fails_at = name, told, fails_at

    def on_trial_start(self, *arguments: Any, **information: Any) -> None:
        self._told("start")

    def on_trial_complete(self, *arguments: Any, **information: Any) -> None:
        self._told("complete")

    def _told(self, event: str) -> None:
        self.told.append((self.name, event))
        if event == self.fails_at:
            raise OSError("no space left on device")


def trial(name: str = "a") -> Any:
    return SimpleNamespace(trial_id=name)


def test_listeners_are_called_in_their_order() -> None:
    told: list[tuple[str, str]] = []
    hooks = Hooks([Listener("log", told), Listener("journal", told)])
    hooks.on_trial_start(0, [], trial())
    hooks.on_trial_complete(0, [], trial())
    assert told == [("log", "start"), ("journal", "start"), ("log", "complete"), ("journal", "complete")]


def test_the_first_error_ends_the_call_and_nobody_after_it_is_told_anything() -> None:
    told: list[tuple[str, str]] = []
    hooks = Hooks([Listener("log", told, fails_at="complete"), Listener("journal", told)])
    hooks.on_trial_start(0, [], trial())
    hooks.on_trial_complete(0, [], trial())  # raises nothing: Tune would take it for the trial's own failure
    hooks.on_trial_start(0, [], trial("b"))
    assert told == [("log", "start"), ("journal", "start"), ("log", "complete")]
    with pytest.raises(OSError, match="no space left"):
        hooks.on_step_begin(0, [])
    with pytest.raises(OSError, match="no space left"):
        hooks.check()


def test_what_tune_pickles_of_it_is_nothing(tmp_path: Path) -> None:
    told: list[tuple[str, str]] = []
    hooks = Hooks([Listener("log", told)])
    assert b"Listener" not in pickle.dumps(hooks)
