"""The live view of a study on a terminal: its state (`study.record.state_view`), renewed in place.

It reads the study's log like anybody else, so that what is shown is what is recorded. The cursor stays visible all the
time: a process that is killed leaves the terminal as it found it.
"""

import time

from rich.console import Console
from rich.live import Live

from study.record.state_view import picture
from study.record.study_state import AT_WORK, StateReader


def follow(reader: StateReader, pause: float) -> None:
    """Show a study's state until no command is at work there any more; the last picture stays."""
    console = Console(highlight=False)
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        console.show_cursor(True)
        while True:
            state = reader.read()
            height = console.height - 1 if state.state == AT_WORK else None
            live.update(picture(state, time.time(), console.width, height), refresh=True)
            if state.state != AT_WORK:
                return
            time.sleep(pause)
