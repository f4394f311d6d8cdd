"""What a search keeps on disk: the checkpoints of its runs, Tune's files, and its share of nothing else.

A run keeps its last and its best checkpoint; a pruned run keeps none. The journal, the log and MLflow's database are
the whole study's and are counted beside.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from study.define.memory_plan import MIB
from study.drive.tune_state import trial_file
from study.record.file_names import DATABASE_FILE
from study.record.folder import StudyFolder


def size_below(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; 0 where there is nothing. What vanishes meanwhile is nothing."""
    if path.is_file():
        return path.stat().st_size
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except FileNotFoundError:
                continue
    return total


def disk_line(folder: StudyFolder, trial_ids: Iterable[str]) -> str:
    """What a search's trials keep on disk, in one line."""
    ids = list(trial_ids)
    runs = [size for trial_id in ids if (size := size_below(folder.run_dir(trial_id)))]
    tune = sum(size_below(trial_file(folder.tune, trial_id)) for trial_id in ids)
    records = sum(size_below(path) for path in (folder.log, folder.journal, folder.path / DATABASE_FILE))
    return (
        f"on disk: {len(ids)} trials keep {sum(runs) / MIB:.1f} MiB in {len(runs)} run folders and "
        f"{tune / 1024:.1f} KiB of Tune's; log, journal and database of the study {records / MIB:.1f} MiB"
    )
