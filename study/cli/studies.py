"""`python -m study list [FOLDER]`: the studies below a folder, one a line, and how far each has come.

As `status`, it only reads (`study.record.study_state`).
"""

import argparse
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from study.cli.status import PIPE_WIDTH
from study.record.file_names import STUDY_FILE
from study.record.study_state import StateReader
from study.record.terminal import say
from trainers.errors import UserError

# Folders that no study lies below: a study's own parts, and what is large and never holds one.
_PASSED_OVER = ("runs", "tune", "mlartifacts", "node_modules", "__pycache__", "site-packages")


def command(options: argparse.Namespace) -> int:
    """The studies below a folder."""
    show_list(options.folder, as_json=options.json)
    return 0


def show_list(folder: str | Path, *, as_json: bool = False) -> None:
    """Print the studies below a folder, one a line; one that cannot be read is named with the reason.

    Args:
        folder: where to look. Links are not followed, and nothing below a study is looked at.
        as_json: one JSON object a study and line, as `show_status` gives them; `{"folder", "error"}` of one that
            cannot be read.

    Raises:
        UserError: there is no such folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UserError(f"there is no folder {root} to look for studies in; name one: python -m study list FOLDER")
    found = 0
    rows: list[list[str]] = []
    for place in studies_below(root):
        found += 1
        try:
            state = StateReader(place).read()
        except (UserError, OSError, ValueError) as error:
            if as_json:
                say(json.dumps({"folder": str(place), "error": str(error)}))
            else:
                rows.append([str(place), "-", f"unreadable: {error}", "-", "-"])
            continue
        if as_json:
            say(json.dumps(state.as_dict()))
        else:
            from study.record.state_view import one_line

            rows.append(one_line(state, root, time.time()))
    if not found and not as_json:
        say(f"no study lies below {root}")
    elif rows:
        _print_rows(rows)


def studies_below(root: Path) -> Iterator[Path]:
    """The folders below `root`, or `root` itself, that hold a study, in the order of their names."""
    for place, folders, files in os.walk(root):
        if STUDY_FILE in files:
            folders.clear()
            yield Path(place)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _PASSED_OVER)


def _print_rows(rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("folder", "study", "state", "runs over", "last recorded"):
        table.add_column(title, overflow="fold", justify="right" if title == "runs over" else "left")
    for row in rows:
        table.add_row(*(Text(value) for value in row))
    Console(width=shutil.get_terminal_size((PIPE_WIDTH, 24)).columns, highlight=False).print(table)
