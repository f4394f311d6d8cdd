"""`python -m study status DIR`: how far a study has come, from another terminal or long after.

It reads and never writes: `study.json`, the study's log and its lock are enough (`study.record.study_state`), so it
works beside a running command, on a read-only mount, and on somebody else's study.
"""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

from study.record.study_state import AT_WORK, StateReader, StudyState
from study.record.terminal import say

# Seconds between two pictures of `status --watch`.
WATCH_SECONDS = 1.0
# Columns of a picture that goes into a pipe.
PIPE_WIDTH = 110


def command(options: argparse.Namespace) -> int:
    """How far a study has come, by its log and lock alone."""
    show_status(options.directory, as_json=options.json, watch=options.watch)
    return 0


def show_status(directory: str | Path, *, as_json: bool = False, watch: bool = False) -> None:
    """Print how far a study has come: what is done, what runs, what is left, since when.

    Args:
        directory: the study's folder.
        as_json: one JSON object instead of a picture.
        watch: again and again, until no command is at work there any more; the picture is renewed in place on a
            terminal.

    Raises:
        UserError: no study in the folder.
    """
    reader = StateReader(Path(directory))
    if watch and not as_json and sys.stdout.isatty():
        from study.record.live import follow

        follow(reader, WATCH_SECONDS)
        return
    while True:
        state = reader.read()
        if as_json:
            say(json.dumps(state.as_dict()))
        else:
            _print_picture(state)
        if not watch or state.state != AT_WORK:
            return
        time.sleep(WATCH_SECONDS)


def _print_picture(state: StudyState) -> None:
    from rich.console import Console

    from study.record.state_view import picture

    width = shutil.get_terminal_size((PIPE_WIDTH, 24)).columns
    console = Console(width=width, highlight=False, soft_wrap=False)
    console.print(picture(state, time.time(), width))
