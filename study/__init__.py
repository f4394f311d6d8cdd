"""Many runs: sweeps, confirmations, tracking and comparison, on one machine or a Ray cluster.

From Python: `study.run("quickstart")` runs a study, `study.load("studies/quickstart")` reads one (`study.api`).

Importing this package settles the process environment first: Ray and MLflow read theirs when *they* are imported.
Everything below is a default: a variable that the user has set is left as it is.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.define.environment import ENVIRONMENT

if TYPE_CHECKING:
    from study.api import Study

__all__ = ["ENVIRONMENT", "load", "run"]

if os.environ.get("RAY_ADDRESS", "").strip() in ("", "local"):
    # A study's own Ray is one node: its servers listen on 127.0.0.1 alone. (The variable says whether a Ray may have
    # several nodes, whatever the operating system.) A process that joins a cluster must be reachable, so not there.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
for _name, _value in ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)


def load(directory: str | Path) -> "Study":
    """The study in a folder; see `study.api.Study`. Raises `UserError` where there is none."""
    from study.api import Study  # not at the top: `python -m study --help` imports this package too

    return Study(directory)


def run(source: Any, **options: Any) -> "Study":
    """Run a study and return it; arguments, options and errors are those of `study.api.run`."""
    from study.api import run as run_study

    return run_study(source, **options)
