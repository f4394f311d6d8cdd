"""Many runs: sweeps, confirmations, tracking and comparison, on one machine or a Ray cluster.

Importing this package settles the process environment first: Ray and MLflow read theirs when *they* are imported.
Everything below is a default: a variable that the user has set is left as it is.
"""

import os
from typing import Final

ENVIRONMENT: Final[dict[str, str]] = {
    # Nothing is reported to anybody. (`DO_NOT_TRACK` is what MLflow and other tools honour beside their own names.)
    "RAY_USAGE_STATS_ENABLED": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    # Seconds. Ray Train looks at its workers this often; its default of 2 s doubles the start of a short run.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    # Watches for spot instances being taken away; it costs seconds at the end of every run, and runs resume anyway.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}

if os.environ.get("RAY_ADDRESS", "").strip() in ("", "local"):
    # A study's own Ray is one node: its servers listen on 127.0.0.1 alone. (The variable says whether a Ray may have
    # several nodes, whatever the operating system.) A process that joins a cluster must be reachable, so not there.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
for _name, _value in ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)
