"""Where a study is shown while it runs and whenever somebody asks: in MLflow, and, in a PostgreSQL, to Optuna's tools.

Both are views that can be deleted and made again: a study goes by its log and its search's journal, waits for neither,
and fails with neither (`study.mlflow_export.delivery`).
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from study.record.file_names import JOURNAL_FILE
from study.record.folder import StudyFolder, study_identity
from study.record.postgres import is_postgres
from study.record.study_log import StudyLog
from study.record.terminal import say

if TYPE_CHECKING:  # MLflow and Optuna take seconds to import
    from study.mlflow_export.delivery import Delivery

OPTUNA_NAME = "Optuna's database"


def deliveries_of(folder: StudyFolder, log: StudyLog, show: Callable[[str], None] = say) -> "list[Delivery]":
    """What shows a study while it runs, each from a thread of its own."""
    from study.mlflow_export.delivery import Delivery, delivery_of
    from study.search.optuna_export import OptunaExporter, Owner

    found = [delivery_of(folder, log, show)]
    if folder.tracking_uri is not None and is_postgres(folder.tracking_uri):
        uri, owner = folder.tracking_uri, Owner(folder.name, folder.study_id)
        found.append(Delivery(log, lambda: OptunaExporter(folder.journal, uri, owner), show, OPTUNA_NAME))
    return found


def deliver_all(
    directory: str | Path, tracking_uri: str | None = None, show: Callable[[str], None] = say
) -> tuple[int, int]:
    """Bring MLflow's pages, and in a PostgreSQL Optuna's tables, to what a study's records say.

    Arguments and errors are those of `study.mlflow_export.delivery.deliver`. Returns how many runs and how many search
    trials were written.
    """
    from study.mlflow_export.delivery import deliver
    from study.search.optuna_export import OptunaExporter, Owner

    runs = deliver(directory, tracking_uri, show)
    known = study_identity(directory)
    uri = tracking_uri or known.tracking_uri
    if not is_postgres(uri):
        return runs, 0
    exporter = OptunaExporter(known.folder / JOURNAL_FILE, uri, Owner(known.name, str(known.study_id)))
    try:
        trials = exporter.update()
    finally:
        exporter.close()
    show(f"Optuna's tables there show its searches; {trials} trials were brought up to date")
    return runs, trials
