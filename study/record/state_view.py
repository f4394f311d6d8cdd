"""A study's state as a person sees it: one row a cell, what runs just now, and how long the rest will take.

The same picture serves `python -m study status`, its pipe, and the live view (`study.record.live`). It fits the width
that it is given, from 40 columns up, and the height, where there is one: cells that wait or are done give way first.
Colour never says anything that a word does not say too.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from study.record.study_state import (
    AT_WORK,
    FINISHED,
    NOT_STARTED,
    STOPPED,
    UNCLEAR,
    CellState,
    PhaseState,
    RunningRun,
    StudyState,
)
from study.record.terminal import percent

WIDE, MEDIUM = 96, 72  # columns from which bars, and from which the outcomes, have room
MOST_RUNNING = 8  # runs that are shown one by one
_STYLES = {AT_WORK: "green", FINISHED: "bold green", STOPPED: "yellow", UNCLEAR: "yellow", NOT_STARTED: "yellow"}
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def duration(seconds: float) -> str:
    """A time span in its two largest units.

    >>> [duration(seconds) for seconds in (0.4, 59, 250, 7500, 100000)]
    ['0 s', '59 s', '4 min 10 s', '2 h 5 min', '1 d 3 h']
    """
    rest = max(0, round(seconds))
    parts: list[tuple[int, str]] = []
    for size, unit in _UNITS:
        count, rest = divmod(rest, size)
        if count or parts:
            parts.append((count, unit))
    return " ".join(f"{count} {unit}" for count, unit in parts[:2] if count) or "0 s"


def moment(at: float, now: float) -> str:
    """A time of day, with its date where that is not today's."""
    then = datetime.fromtimestamp(at)
    same = then.date() == datetime.fromtimestamp(now).date()
    return then.strftime("%H:%M:%S" if same else "%Y-%m-%d %H:%M")


def picture(
    state: StudyState,
    now: float,
    width: int,
    height: int | None = None,
    notes: Sequence[str] = (),
    settings: Callable[[Mapping[str, Any]], str] = lambda config: "",
) -> RenderableType:
    """The whole state.

    Args:
        state: what to show.
        now: seconds since 1970.
        width: columns that there are.
        height: lines that there are; None: as many as it takes.
        notes: further lines at the end.
        settings: a running run's recorded configuration in words (`study.record.terminal.describe_recorded`). To know
            them, methods and models are imported, which takes seconds where nothing else has done so.
    """
    head, foot = _head(state, now), [*_foot(state, now), *(Text(note) for note in notes)]
    running = [_running_line(run, now, settings(run.config)) for run in state.running[:MOST_RUNNING]]
    if len(state.running) > MOST_RUNNING:
        running.append(Text(f"  and {len(state.running) - MOST_RUNNING} more"))
    if running:
        running.insert(0, Text("running now" if state.state == AT_WORK else "to go on", style="bold"))
    cells: Sequence[CellState] = state.cells
    hidden = 0
    if height is not None:
        running = running[: max(0, height - len(head) - len(foot) - 6)]
        room = max(1, height - len(head) - len(foot) - len(running) - 4)
        if len(cells) > room:
            cells = _foremost(cells, room - 1)
            hidden = len(state.cells) - len(cells)
    parts: list[RenderableType] = [*head]
    if cells:
        parts += [Text(), _table(cells, width)]
    if hidden:
        parts.append(Text(f"and {hidden} further cells"))
    for line in (*running, *foot):
        line.no_wrap, line.overflow = height is not None, "ellipsis"
    return Group(*parts, *([Text()] if running else []), *running, *([Text()] if foot else []), *foot)


def _head(state: StudyState, now: float) -> list[Text]:
    title = Text.assemble((state.study, "bold"), ": ", (state.state, _STYLES[state.state]))
    if state.state == AT_WORK and state.since is not None:
        title.append(f" since {moment(state.since, now)} ({duration(now - state.since)})")
    elif state.last is not None:
        title.append(f"; last recorded {moment(state.last, now)}, {duration(now - state.last)} ago")
    if state.simulated:
        title.append(f"  SIMULATED ({state.simulated} curves)", "bold yellow")
    return [title]


def _foot(state: StudyState, now: float) -> list[Text]:
    lines = []
    counted = f"{state.over} of {state.over + state.left} runs are over"
    if state.left:
        counted += f", {state.left} left"
    if (rate := state.runs_a_minute(now)) is not None and state.state == AT_WORK:
        counted += f"; {rate:.2g} runs a minute" if rate < 10 else f"; {rate:.0f} runs a minute"
    if state.left and state.seconds_left is not None:
        counted += f"; about {duration(state.seconds_left)} to go"
    lines.append(Text(counted))
    if state.state in (STOPPED, UNCLEAR) and state.command:
        lines.append(Text(f"it goes on with the same command: {state.command}"))
    if state.state == UNCLEAR:
        lines.append(Text("its disk has no locks, so nobody can tell whether a command is at work"))
    if state.state == NOT_STARTED:
        lines.append(Text("nothing has run there yet"))
    if state.damaged:
        lines.append(
            Text(f"{state.damaged} damaged lines of its log are passed over: python -m study doctor {state.folder}")
        )
    return lines


def _table(cells: Iterable[CellState], width: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("cell", no_wrap=True, overflow="ellipsis", min_width=12)
    if width >= WIDE:
        table.add_column("", width=12)
    table.add_column("search", no_wrap=True, justify="right")
    if width >= MEDIUM:
        table.add_column("", overflow="fold")
    table.add_column("confirm", no_wrap=True, justify="right")
    table.add_column("best val", no_wrap=True, justify="right")
    for cell in cells:
        row: list[RenderableType] = [Text(cell.name, style="" if cell.search.left or cell.confirm.left else "green")]
        if width >= WIDE:
            planned = max(cell.search.over + cell.search.left, 1)
            row.append(ProgressBar(total=planned, completed=planned - cell.search.left, width=12))
        row.append(_count(cell.search))
        if width >= MEDIUM:
            row.append(_outcomes(cell))
        row += [_count(cell.confirm), percent(cell.best)]
        table.add_row(*row)
    return table


def _count(phase: PhaseState) -> str:
    if phase.planned is None:
        return str(phase.over) if phase.over or phase.left else "-"
    return f"{max(phase.planned - phase.left, 0)}/{phase.planned}" if phase.planned else "-"


def _outcomes(cell: CellState) -> Text:
    """How many of a cell's runs go on, were pruned or came to no good, both phases together."""
    text = Text()
    for outcome, style in (
        ("running", "cyan"),
        ("interrupted", "yellow"),
        ("pruned", "dim"),
        ("diverged", "yellow"),
        ("infeasible", "yellow"),
        ("failed", "red"),
    ):
        if count := cell.search.outcomes.get(outcome, 0) + cell.confirm.outcomes.get(outcome, 0):
            text.append(", " if text else "")
            text.append(f"{count} {outcome}", style)
    return text


def _running_line(run: RunningRun, now: float, settings: str) -> Text:
    of = f"{run.epoch}/{run.epochs}" if run.epochs else str(run.epoch)
    value = "" if run.val_accuracy is None else f"  val {percent(run.val_accuracy)}"
    now_at = f"  ({run.doing})" if run.doing else ""
    return Text(
        f"  {run.trial_id}  epoch {of}{value}{now_at}{settings and '  '}{settings}  {duration(now - run.since)}"
    )


def _foremost(cells: Sequence[CellState], count: int) -> list[CellState]:
    """The cells to show where not all have room: those with runs going on, then those that wait, then those done."""

    def rank(cell: CellState) -> int:
        if cell.search.outcomes.get("running") or cell.confirm.outcomes.get("running"):
            return 0
        return 1 if cell.search.left or cell.confirm.left else 2

    chosen = {cell.name for cell in sorted(cells, key=rank)[: max(count, 0)]}
    return [cell for cell in cells if cell.name in chosen]


def one_line(state: StudyState, root: Path, now: float) -> list[str]:
    """A study's row among others: folder, state, runs over and in all, and when something was last recorded."""
    place = str(state.folder.relative_to(root)) if state.folder.is_relative_to(root) else str(state.folder)
    last = "-" if state.last is None else moment(state.last, now)
    return [place, state.study, state.state, f"{state.over}/{state.over + state.left}", last]
