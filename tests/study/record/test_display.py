"""Where output goes: lines for a pipe, results for who wants quiet, events for programs, a view for a terminal."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from study.record import display
from study.record.display import JsonLines, Plain, Quiet, use
from study.record.live import Live
from study.record.study_log import StudyLog
from study.record.study_state import StateReader
from study.record.terminal import Counter, Progress, emit, say
from tests.study.record.test_study_state import offer
from tests.study.recorded_study import ORIGIN, begin_study, record_run, record_search, record_sweep
from trainers.activity import Activity
from trainers.config import TrialConfig

CONFIG = TrialConfig("Digits", "MLP", "binary", temperature=37.0, epochs=2)


def everything(folder: Path) -> None:
    """Something of each kind that is said, counted, shown and logged."""
    say("starting Ray ...")
    Counter("Digits")(5, 5, "images")
    progress = Progress("Digits-MLP-binary", 8)
    progress.end(CONFIG, {"epoch": 2, "val_accuracy": 0.9}, "completed")
    progress.end(CONFIG, {"epoch": 1}, "failed", "OSError: gone")
    StudyLog(folder / "log.jsonl").append("session", **ORIGIN)
    say("the table", important=True)
    emit("result", study="small", folder=str(folder), unfinished=[])


def test_a_pipe_gets_a_line_an_event(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with use(Plain()):
        everything(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert [lines[0], lines[1], lines[-1]] == ["starting Ray ...", "[Digits] images 5/5", "the table"]
    assert len(lines) == 5 and lines[3].endswith("failed: OSError: gone")


def test_who_wants_quiet_gets_results_and_what_went_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with use(Quiet()):
        everything(tmp_path)
    failed, table = capsys.readouterr().out.splitlines()
    assert failed.endswith("failed: OSError: gone") and table == "the table"


def test_programs_get_one_object_a_line_the_log_s_events_among_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with use(JsonLines()):
        everything(tmp_path)
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == ["message", "step", "session", "message", "result"]
    assert all(isinstance(event.pop("at"), float) for event in events)
    assert events[0] == {"event": "message", "text": "starting Ray ...", "important": False}
    assert events[1] == {"event": "step", "title": "Digits", "what": "images", "done": 5, "total": 5}
    assert events[2] == {"event": "session", **ORIGIN}
    assert events[4] == {"event": "result", "study": "small", "folder": str(tmp_path), "unfinished": []}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Plain, "[Digits-MLP-bop-search-0000] epoch 2, step 30/400"),
        (JsonLines, '"event":"step","title":"Digits-MLP-bop-search-0000","what":"epoch 2, step","done":30,"total":400'),
    ],
)
def test_after_a_while_without_a_line_it_is_said_what_runs_are_doing(
    kind: type[Plain],
    expected: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(display, "STILL_SECONDS", 0.01)
    log = begin_study(tmp_path, "small")
    cell = record_sweep(log, "Digits", "bop")
    record_run(log, cell, "Digits", "bop", "search", f"{cell}-search-0000", 1, "running", 0.8, 0.1, 1)
    folder = tmp_path / "runs" / f"{cell}-search-0000"
    folder.mkdir(parents=True)
    Activity(folder)("epoch 2, step", 30, 400)
    said = ""
    with use(kind()), display.current().watching(tmp_path, StateReader(tmp_path).doings):
        while expected not in said:  # the suite's own limit ends it
            said += capsys.readouterr().out


def test_the_display_in_use_is_put_back(tmp_path: Path) -> None:
    before = display.current()
    with pytest.raises(OSError), use(Quiet()):
        raise OSError
    assert display.current() is before


def terminal(width: int = 100, height: int = 30) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, height=height, highlight=False)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_terminal_shows_the_study_below_what_is_said_and_at_last_only_that(tmp_path: Path) -> None:
    log = begin_study(tmp_path, "small")
    record_search(log, "Digits", "binary")
    cell = record_sweep(log, "Digits", "bop")
    record_run(log, cell, "Digits", "bop", "search", f"{cell}-search-0000", 1, "running", 0.8, 0.1, 1)
    offer(tmp_path, "Digits-MLP-binary", cell)
    console = terminal()
    with use(Live(console)), display.current().watching(tmp_path):
        say("a line that was said")
        Progress(cell, 8).end(CONFIG, {"epoch": 2, "val_accuracy": 0.9}, "completed")
        Progress(cell, 8).end(CONFIG, {"epoch": 1}, "failed", "OSError: gone")
    text = written(console)
    assert "small" in text and "1 running" in text and "GiB of the machine in use" in text
    assert "a line that was said" in text and "OSError: gone" in text
    assert "val 90.0 %" not in text  # a run that ended well is in the picture
    # The last thing is the picture's removal, line by line, and a cursor that can be seen.
    assert text.rstrip().endswith("\x1b[2K") or "\x1b[2K" in text[text.rindex("\x1b[1A") :]
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


def test_a_killed_command_would_leave_a_visible_cursor(tmp_path: Path) -> None:
    begin_study(tmp_path, "small")
    console = terminal()
    live = Live(console)
    with live.watching(tmp_path):
        text = written(console)
        assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


@pytest.mark.parametrize("width", [40, 80, 140])
def test_the_view_fits_its_terminal(width: int, tmp_path: Path) -> None:
    log = begin_study(tmp_path, "small")
    cells = [record_sweep(log, data, "bop") for data in ("Digits", "MNIST", "CIFAR10", "CIFAR100", "OxfordFlowers")]
    for number in range(12):
        name = f"{cells[3]}-search-{number:04d}"
        record_run(log, cells[3], "CIFAR100", "bop", "search", name, 1, "running", 0.8, 0.1, 1)
    offer(tmp_path, *cells)
    console = terminal(width, 14)
    live = Live(console)
    with live.watching(tmp_path):
        plain = Console(file=io.StringIO(), width=width, height=14)
        plain.print(live.draw())
    lines = written(plain).rstrip("\n").split("\n")
    assert len(lines) < 14 and max(map(len, lines)) <= width
    assert any(line.startswith("CIFAR100-MLP") for line in lines)  # what runs is the last to give way


def test_the_first_interrupt_is_answered_in_the_view_and_later_ones_at_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    begin_study(tmp_path, "small")
    live = Live(terminal(140))
    with live.watching(tmp_path):
        live.notice("\nfinishing the current step\n")
        assert capfd.readouterr().err == ""
        plain = Console(file=io.StringIO(), width=140, height=30)
        plain.print(live.draw())
        assert "finishing the current step" in written(plain)
        live.notice("\nstopped now\n")
        assert capfd.readouterr().err == "\nstopped now\n"


def test_a_long_step_counts_up_and_leaves_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "COUNT_SECONDS", 0.0)
    console = terminal()
    live = Live(console)
    with use(live):
        counter = Counter("MNIST")
        counter(20_000, 60_000, "images")
        plain = Console(file=io.StringIO(), width=100)
        plain.print(live.draw())
        assert "[MNIST] images 20000/60000" in written(plain)
        counter(60_000, 60_000, "images")
    assert written(console).rstrip().endswith("[MNIST] images 60000/60000")


def test_a_single_run_shows_what_it_says_itself(tmp_path: Path) -> None:
    live = Live(terminal())
    with live.following("pretrain Digits-MLP", tmp_path):
        Activity(tmp_path)("epoch 2, step", 30, 400)
        live.progress("[pretrain Digits-MLP 1/1] epoch 1/2")
        plain = Console(file=io.StringIO(), width=100)
        plain.print(live.draw())
    assert "[pretrain Digits-MLP] epoch 2, step 30/400, 0 s" in written(plain)
    assert "[pretrain Digits-MLP 1/1] epoch 1/2" in written(live.console)


@pytest.mark.parametrize(
    ("term", "tty", "lively"), [("xterm", True, True), ("dumb", True, False), ("xterm", False, False)]
)
def test_only_a_terminal_that_can_gets_a_view(
    term: str, tty: bool, lively: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr("sys.stdout.isatty", lambda: tty)
    assert display.is_lively() is lively
