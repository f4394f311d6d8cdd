"""What a setting is: declared once, with all that anybody has to know of it.

Those of every run stand in `trainers.run_settings`. A method declares its own settings in its file below
`trainers.methods`, a model its own below `trainers.models`, a plug-in in the plug-in. The command line and its help,
what a study file may say, the columns of `results.parquet`, fingerprints, the defaults of older studies, names in
tables, memory plans and simulation all follow from these declarations; nothing else lists settings.
"""

import difflib
import reprlib
import sys
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

from trainers.errors import UserError

Scope = Literal["workload", "scientific", "nuisance", "execution"]
"""What a setting is for in a comparison (study/PROTOCOL.md, section 2): what is the same for all methods of a workload,
what the comparison is about, what must be tuned for each method, and how and where a run is carried out."""

Memory = Literal["", "slight", "more", "less", "other"]
"""How a setting decides about a run's memory: not at all, next to nothing, a larger value takes more or less, or in no
order."""

REQUIRED: Final = object()
"""The default of a setting that has none."""

NEVER: Final = object()
"""The `before` of a setting that is as old as what it belongs to."""

LARGEST_WHOLE: Final = 2**63 - 1  # what records and tables hold
_LARGEST = sys.float_info.max

APPROXIMATIONS = ("STE", "ApproxSign", "ReSTE")
ACTIVATION_MEMORY = ("stock", "packed")
WEIGHT_SCALES = ("none", "layer", "channel")
NORM_STATISTICS = ("running", "reestimated")
REAL_OPTIMIZERS = ("Adam", "SGD", "published")
REAL_SCHEDULES = ("cosine", "const")
REAL_LR = {"Adam": 1e-3, "SGD": 0.1}
"""The real parameters' learning rate where none is given, by optimizer."""
DEVICES = ("auto", "cpu", "cuda")
PLACEMENTS = ("pack", "spread")
KERNELS = ("auto", "torch")


def one_of(field: str, value: object, allowed: Iterable[str], more: str = "") -> None:
    """Raise `UserError` unless `value` is one of the allowed names, suggesting the nearest.

    Args:
        field: what is named, in the message.
        value: what was got.
        allowed: the names.
        more: what else could be done, at the message's end.
    """
    names = tuple(allowed)
    if value in names:
        return
    near = difflib.get_close_matches(str(value).lower(), [name.lower() for name in names], n=1)
    hint = next((f" (did you mean {name}?)" for name in names if near and name.lower() == near[0]), "")
    raise UserError(f"{field} {value!r} is unknown; use {alternatives(names)}{hint}{more}")


def alternatives(values: Iterable[object]) -> str:
    """`a, b or c`."""
    texts = [str(value) for value in values]
    return " or ".join([", ".join(texts[:-1]), texts[-1]]) if len(texts) > 1 else "".join(texts)


@dataclass(frozen=True)
class Setting:
    """One setting of a run: a field of `TrialConfig`.

    Args:
        name: in Python, on the command line (`--some_name` or `--some-name`), in study files and in records.
        kind: str, int, float or bool.
        help: what it is, in a line.
        default: `REQUIRED` where there is none; None where leaving it out means something of its own.
        scope: what it is for, see `Scope`.
        choices: the values that it may have; empty where a range bounds it.
        least: of a number, the least that it may be.
        study_least: the same in a study, where that is more.
        above: of a number, what it must exceed.
        below: of a number, what it must not reach.
        short: its name in a table, where another than `name`.
        shown: whether a table names it also where it has its default.
        memory: how it decides about memory, see `Memory`.
        offered: whether a study's ranges may list values of it beside the method's own search space, for a search
            with memory as an objective.
        ablatable: whether a study's `ablate` may list values of it, each of which makes a method of its own.
        identity: whether it is part of what a run is: False for where it reads and computes and what it checks.
        column: whether each row of `results.parquet` carries it.
        set_by: what sets it in a study, so that the study's `fixed` may not.
        since: the format of configurations with which it came. 1 and 2: every configuration had every setting, whoever
            read it, and still has those; a fingerprint names them. 3: only whom it concerns has it.
        before: what a run did that was recorded before the setting was there; at this value it is no part of a
            fingerprint, so that such a run keeps its own. `NEVER` where there are no such runs.
    """

    name: str
    kind: type
    help: str
    default: Any = REQUIRED
    scope: Scope = "scientific"
    choices: tuple[Any, ...] = ()
    least: float | None = None
    study_least: float | None = None
    above: float | None = None
    below: float | None = None
    short: str = ""
    shown: bool = False
    memory: Memory = ""
    offered: bool = False
    ablatable: bool = False
    identity: bool = True
    column: bool = True
    set_by: str = ""
    since: int = 3
    before: Any = NEVER

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or self.kind not in (str, int, float, bool):
            raise UserError(
                f"a setting has the name of a Python variable and is str, int, float or bool; got {self.name!r} and "
                f"{self.kind!r}"
            )
        if self.optional:
            self.check(self.default)

    @property
    def title(self) -> str:
        """Its name in a table."""
        return self.short or self.name

    @property
    def earlier(self) -> Any:
        """What a record that does not name it means."""
        return self.default if self.before is NEVER else self.before

    @property
    def optional(self) -> bool:
        """Whether a run may leave it out."""
        return self.default is not REQUIRED

    def is_default(self, value: Any) -> bool:
        return self.optional and bool(value == self.default)

    def check(self, value: Any) -> Any:
        """The value as it is kept: a float where a whole number was given for one.

        Raises:
            UserError: it is not what this setting may be; says what it may.
        """
        if value is None and self.default is None:
            return None
        if self.kind is bool:
            if not isinstance(value, bool):
                raise UserError(f"{self.name} {value!r} is not true or false; give one of them")
        elif self.choices and self.kind is str:
            one_of(self.name, value, self.choices)
        elif self.choices:
            if type(value) is not self.kind or value not in self.choices:
                raise UserError(f"{self.name} {value!r} is not offered; use {alternatives(self.choices)}")
        elif self.kind is str:
            self._check_text(value)
        elif self.kind is int:
            self._check_whole(value)
        else:
            return self._checked_number(value)
        return value

    def _check_text(self, value: Any) -> None:
        # Records are lines of UTF-8, which has no surrogates, and NUL ends a path.
        if not isinstance(value, str) or not value or any(unicodedata.category(sign) in ("Cc", "Cs") for sign in value):
            raise UserError(
                f"{self.name} {value!r} is not a name or path; give a non-empty text without control characters"
            )

    def _check_whole(self, value: Any) -> None:
        least = -LARGEST_WHOLE if self.least is None else int(self.least)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            bound = "" if self.least is None else f" of at least {least}"
            raise UserError(f"{self.name} {value!r} is not a whole number{bound}")
        if value > LARGEST_WHOLE or (self.below is not None and value >= self.below):
            most = LARGEST_WHOLE if self.below is None else int(self.below) - 1
            beyond = "beyond 64 bits" if self.below is None else "too large"
            raise UserError(f"{self.name} {reprlib.repr(value)} is {beyond}; give at most {most}")

    def _checked_number(self, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not -_LARGEST <= value <= _LARGEST:
            raise UserError(f"{self.name} {value!r} is not a finite number; give one such as 0.1")
        number = float(value)  # 1 and 1.0 are the same setting, so the same fingerprint
        if (self.above, self.below) == (0, None):
            if number <= 0:
                raise UserError(f"{self.name} {number} is not positive; give a number above 0")
            return number
        inside = (
            (self.least is None or number >= self.least)
            and (self.above is None or number > self.above)
            and (self.below is None or number < self.below)
        )
        if not inside:
            raise UserError(f"{self.name} {number} is outside {self._bounds()}; give a number inside")
        return number

    def _bounds(self) -> str:
        left = (
            f"{self.least:g} <= " if self.least is not None else f"{self.above:g} < " if self.above is not None else ""
        )
        right = f" < {self.below:g}" if self.below is not None else ""
        return f"{left}{self.name}{right}"
