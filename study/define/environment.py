"""The process environment that studies run in, where the user has not set it otherwise: read by Ray and MLflow."""

from typing import Final

ENVIRONMENT: Final[dict[str, str]] = {
    # Nothing is reported to anybody. (`DO_NOT_TRACK` is what MLflow and other tools honour beside their own names.)
    "RAY_USAGE_STATS_ENABLED": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    # Workers that Ray starts before it knows what they need: a study's runs have an environment, so none would fit.
    "RAY_prestart_worker_first_driver": "0",
    # Seconds. Ray Train looks at its workers this often; its default of 2 s doubles the start of a short run.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    # Watches for spot instances being taken away; it costs seconds at the end of every run, and runs resume anyway.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}
