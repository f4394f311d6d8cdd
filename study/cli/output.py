"""How a command speaks: `--quiet`, `--json`, `--plain`, or a live view where standard output is a terminal."""

import argparse

from study.record import display
from trainers.errors import UserError


def add_output_options(parser: argparse.ArgumentParser, *, last: str = "") -> None:
    """Add `--quiet`, `--plain`, and `--json` for events; `last` is what the command prints as JSON behind these."""
    parser.add_argument("--quiet", action="store_true", help="print only results and what went wrong")
    parser.add_argument("--plain", action="store_true", help="lines instead of a live view on a terminal")
    text = f"print events as JSON lines, {last} as the last" if last else "print events as JSON, one object a line"
    parser.add_argument("--json", action="store_true", help=text)


def display_of(options: argparse.Namespace) -> display.Plain:
    """The display that a command's options and standard output ask for.

    Raises:
        UserError: options that exclude each other.
    """
    if not hasattr(options, "quiet"):  # a command whose output is its result
        return display.Plain()
    asked = [name for name in ("quiet", "plain", "json") if getattr(options, name)]
    if len(asked) > 1:
        raise UserError(f"--{asked[0]} and --{asked[1]} exclude each other; give one of them")
    if options.quiet:
        return display.Quiet()
    if options.json:
        return display.JsonLines()
    if options.plain or not display.is_lively():
        return display.Plain()
    from study.record.live import Live

    return Live()
