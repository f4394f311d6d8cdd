"""`python -m study`: the door to the command line (`study.cli.command_line`)."""

import sys
from collections.abc import Callable

from study.drive.interrupt import whole_process
from trainers.collection import collect_seldom


def program(arguments: list[str] | None = None) -> int:
    """Run a command line (without the program's name) as all that this process does, and return its exit status."""

    def load() -> Callable[[], int]:
        from study.cli.command_line import main  # a second's work, in which Ctrl-C is answered already

        return lambda: main(arguments)

    collect_seldom()
    return whole_process(load)


if __name__ == "__main__":
    sys.exit(program())
