"""What is shown while a study runs."""

from collections.abc import Callable

import pytest

from study.record.terminal import Counter, Progress, describe
from trainers.config import TrialConfig

CONFIG = TrialConfig("Digits", "MLP", "binary", scheduler_type="gaussian", temperature=37.0, epochs=10)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def shown() -> list[str]:
    return []


def progress(show: Callable[[str], None], clock: Clock, **options: object) -> Progress:
    return Progress("Digits-MLP-binary", 8, show=show, clock=clock, **options)


def test_a_line_says_which_trial_what_settings_how_far_and_how_good(shown: list[str]) -> None:
    lines = progress(shown.append, Clock(), ended=2, best=0.93)
    lines.end(CONFIG, {"epoch": 10, "val_accuracy": 0.912}, "completed")
    assert shown == [
        "[Digits-MLP-binary 3/8] EWM gaussian T=37  seed 1  epoch 10/10  val 91.2 %  (best 93.0 %)",
    ]


def test_an_epoch_has_a_line_only_after_a_while_without_one(shown: list[str]) -> None:
    clock = Clock()
    lines = progress(shown.append, clock)
    lines.epoch(CONFIG, {"epoch": 1, "val_accuracy": 0.5})
    assert not shown
    clock.now = 60.0
    lines.epoch(CONFIG, {"epoch": 2, "val_accuracy": 0.5})
    lines.epoch(CONFIG, {"epoch": 3, "val_accuracy": 0.5})
    assert len(shown) == 1
    assert "epoch 2/10" in shown[0]


def test_a_pruned_trial_s_value_never_becomes_the_best(shown: list[str]) -> None:
    lines = progress(shown.append, Clock(), best=0.6)
    lines.end(CONFIG, {"epoch": 1, "val_accuracy": 0.9}, "pruned")
    assert "(best 60.0 %)" in shown[0]
    assert shown[0].endswith("pruned")


def test_a_failure_is_shown_with_its_reason(shown: list[str]) -> None:
    progress(shown.append, Clock()).end(CONFIG, {}, "failed", "RuntimeError: no space left")
    assert shown[0].endswith("failed: RuntimeError: no space left")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (CONFIG, "EWM gaussian T=37"),
        (CONFIG.replace(temperature=None, lr=0.5), "EWM gaussian lr=0.5"),
        (CONFIG.replace(inertia_bits=4, anneal="cosine"), "EWM gaussian 4-bit counters cosine T=37"),
        (CONFIG.replace(model="AdamBNN", lr=0.5), "EWM gaussian T=37"),
        (CONFIG.replace(model="AdamBNN", lr=0.5, real_optimizer="published"), "EWM gaussian T=37 lr=0.5"),
        (CONFIG.replace(algorithm="real", optimizer="Adam", lr=0.5), "Adam lr=0.5"),
        (CONFIG.replace(algorithm="bop", lr=0.5), "lr=0.5 threshold=1e-06"),
        (CONFIG.replace(algorithm="frozen"), "binary weights fixed"),
    ],
)
def test_settings_are_described_by_what_the_method_uses(config: TrialConfig, words: str) -> None:
    assert describe(config) == words


def test_a_count_shows_its_last_step(shown: list[str]) -> None:
    counter = Counter("Digits", shown.append)
    for done in range(1, 101):
        counter(done, 100, "images")
    assert shown[-1] == "[Digits] images 100/100"
    assert len(shown) < 10
