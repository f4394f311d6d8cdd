"""`python -m study report DIR...`: one study's report, or several studies side by side."""

import argparse
from pathlib import Path

from study.record.terminal import say
from study.report.report import make_report
from study.report.several import make_side_by_side


def write(options: argparse.Namespace) -> int:
    """Write the report and say where it is."""
    if len(options.directories) > 1:
        made = make_side_by_side(
            options.directories,
            options.output or Path.cwd(),
            allow_unequal=options.allow_unequal,
            margin=options.margin,
        )
    else:
        made = make_report(
            options.directories[0],
            output=options.output,
            allow_unequal=options.allow_unequal,
            margin=options.margin,
            pictures=not options.no_pictures,
        )
    say(f"report: {made.html}")
    say(f"the same in Markdown: {made.markdown}; its figures: {made.markdown.parent / 'figures'}")
    return 0
