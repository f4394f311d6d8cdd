"""What a user is told while a study runs: one short line an event, and nothing of Ray's own tables.

Everything goes through the display in use (`study.record.display`), which prints it, draws it or hands it to a program.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from study.record import display
from trainers.clock import stamp
from trainers.config import TrialConfig
from trainers.errors import UserError
from trainers.registry import declared, method_named, model_named

# Seconds without a line after which the next epoch is worth one, so that a long trial is seen to be alive.
QUIET_SECONDS = 5.0
# The outcomes of a run that need no attention.
_EXPECTED = ("completed", "pruned")


def say(line: str, *, important: bool = False) -> None:
    """Tell the user a line; an important one, a result or what went wrong, also where they asked for quiet."""
    display.current().line(line, important=important)


def emit(event: str, **fields: Any) -> None:
    """Tell programs (`--json`) of something that is not in the study's log; people are told by `say`."""
    display.current().event({"at": stamp(), "event": event, **fields})


def describe(config: TrialConfig) -> str:
    """The settings that tell one trial of a cell from another, in a few words.

    >>> describe(TrialConfig("MNIST", "MLP", "binary", scheduler_type="gaussian", temperature=37.0))
    'EWM gaussian T=37'
    >>> describe(TrialConfig("MNIST", "MLP", "binary", scheduler_type="relative", temperature=0.3, inertia_bits=4))
    'EWM relative 4-bit counters T=0.3'
    >>> describe(TrialConfig("MNIST", "MLP", "real", optimizer="Adam", lr=0.01))
    'Adam lr=0.01'
    """
    method = method_named(config.algorithm)
    if method.describe is not None:
        return method.describe(config)
    searched = method.searched(model_named(config.model), config.to_dict())
    words = [f"{declared()[name].title}={_value(getattr(config, name))}" for name in searched]
    return " ".join(words or [f"lr={config.lr:.3g}"])


def describe_recorded(values: Mapping[str, Any]) -> str:
    """As `describe`, of a recorded configuration; nothing where its method or model is not known here (a plug-in's)."""
    try:
        return describe(TrialConfig.recorded(values))
    except (UserError, TypeError):  # what is recorded may hold anything
        return ""


def _value(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


class Counter:
    """Shows how far something has come, as `what done/total`; the first count, the last, and a few between."""

    def __init__(self, title: str, show: Callable[[str], None] | None = None) -> None:
        self._title, self._show = title, show
        self._last = float("-inf")

    def __call__(self, done: int, total: int, what: str) -> None:
        if done >= total or time.monotonic() - self._last >= display.COUNT_SECONDS:
            if self._show is not None:
                self._show(f"[{self._title}] {what} {done}/{total}")
            else:
                display.current().count(self._title, what, done, total)
            self._last = time.monotonic()


def percent(fraction: float | None) -> str:
    """An accuracy as a percentage; a dash where there is none."""
    return "-" if fraction is None else f"{100 * fraction:.1f} %"


# Above this share of one class, accuracy is shown with what it would be for naming that class alone.
LARGE_SHARE = 0.5
# From this difference on, balanced accuracy is shown beside accuracy: a point of per cent.
NOTEWORTHY_DIFFERENCE = 0.01


def accuracy_with_context(metrics: Mapping[str, Any], split: str) -> str:
    """A split's accuracy; where classes are of unequal size, beside it what keeps it from flattering.

    >>> accuracy_with_context({"val_accuracy": 0.95, "val_accuracy_balanced": 0.5, "val_majority_share": 0.95}, "val")
    '95.0 % (balanced 50.0 %, largest class alone 95.0 %)'
    >>> accuracy_with_context({"val_accuracy": 0.95, "val_accuracy_balanced": 0.949, "val_majority_share": 0.1}, "val")
    '95.0 %'
    """
    accuracy = metrics[f"{split}_accuracy"]
    balanced, share = metrics.get(f"{split}_accuracy_balanced"), metrics.get(f"{split}_majority_share")
    if balanced is None or share is None:
        return percent(accuracy)
    if share <= LARGE_SHARE and abs(accuracy - balanced) < NOTEWORTHY_DIFFERENCE:
        return percent(accuracy)
    return f"{percent(accuracy)} (balanced {percent(balanced)}, largest class alone {percent(share)})"


class Progress:
    """Prints the lines of one sweep or confirmation.

    Args:
        title: what is running, e.g. `Digits-MLP-binary`.
        total: trials that it is to have.
        ended: trials that an earlier call ran already.
        best: their best validation accuracy.
        keep_best: show the best value so far: of a search, not of repeats of one configuration.
        every_epoch: a line for each epoch, instead of one after a while without any.
        show: where a line goes; None: to the display in use.
        clock: seconds; only differences matter.
    """

    def __init__(
        self,
        title: str,
        total: int,
        *,
        ended: int = 0,
        best: float | None = None,
        keep_best: bool = True,
        every_epoch: bool = False,
        show: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.title, self.total, self.ended, self.best = title, total, ended, best
        self._keep_best = keep_best
        self._every_epoch, self._show, self._clock = every_epoch, show, clock
        self._last = clock()

    def epoch(self, config: TrialConfig, metrics: Mapping[str, Any]) -> None:
        """One epoch of one trial; its last one has its line when the trial ends."""
        due = self._every_epoch or self._clock() - self._last >= QUIET_SECONDS
        if due and metrics["epoch"] < config.epochs:
            self._line(self.ended + 1, config, f"epoch {metrics['epoch']}/{config.epochs}", metrics, "")

    def end(self, config: TrialConfig, metrics: Mapping[str, Any], outcome: str, reason: str = "") -> None:
        """The end of one trial, however it ended."""
        self.ended += 1
        value = metrics.get("val_accuracy")
        if self._keep_best and outcome == "completed" and value is not None:
            self.best = value if self.best is None else max(self.best, value)
        note = "" if outcome == "completed" else f"  {outcome}{': ' if reason else ''}{reason}"
        trouble = outcome not in _EXPECTED
        self._line(self.ended, config, f"epoch {metrics.get('epoch', 0)}/{config.epochs}", metrics, note, trouble)

    def pause(self, config: TrialConfig, epoch: int, metrics: Mapping[str, Any], how: str, reason: str = "") -> None:
        """A trial has stopped and will go on; `how` in a word."""
        note = f"  {how.replace('_', ' ')}{': ' if reason else ''}{reason}; it will go on"
        self._line(self.ended + 1, config, f"epoch {epoch}/{config.epochs}", metrics, note, trouble=True)

    def _line(
        self,
        number: int,
        config: TrialConfig,
        epoch: str,
        metrics: Mapping[str, Any],
        note: str,
        trouble: bool = False,
    ) -> None:
        shown = [
            f"{split} {accuracy_with_context(metrics, split)}"
            for split in ("val", "test")
            if metrics.get(f"{split}_accuracy") is not None
        ]
        best = f"  (best {percent(self.best)})" if self.best is not None and self.total > 1 else ""
        line = (
            f"[{self.title} {number}/{self.total}] {describe(config)}  seed {config.seed}  {epoch}  "
            f"{'  '.join(shown)}{best}{note}"
        )
        if self._show is not None:
            self._show(line)
        else:
            display.current().progress(line, trouble=trouble)
        self._last = self._clock()
