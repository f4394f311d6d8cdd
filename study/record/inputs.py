"""What a run is held against before it starts: the files that others of the study began from, and their lengths.

The hash of a pretrained file stands in every record, so that another file under the same path is noticed.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from study.record.study_log import TrialRecord
from trainers.config import TrialConfig
from trainers.content_names import file_sha256
from trainers.errors import UserError

PRETRAINED = "pretrained_sha256"


def file_tags(config: TrialConfig) -> dict[str, str]:
    """The SHA-256 of a run's pretrained file, as a tag; none where it has none."""
    if config.pretrained is None:
        return {}
    file = Path(config.pretrained)
    try:
        state = file.stat()
        return {PRETRAINED: _sha256(file, state.st_size, state.st_mtime_ns)}
    except OSError:
        return {}  # what is wrong with it is said by who opens it


def refuse_replaced(records: Mapping[str, TrialRecord], configs: Iterable[TrialConfig]) -> None:
    """Refuse to go on with another pretrained file than that which the study's runs were trained from.

    Args:
        records: the study's runs.
        configs: what is to run.

    Raises:
        UserError: the file under that path is another one by now.
    """
    now = {config.pretrained: file_tags(config).get(PRETRAINED) for config in configs if config.pretrained}
    for trial_id, record in records.items():
        path, then = record.config.get("pretrained"), record.tags.get(PRETRAINED)
        if path and then and (found := now.get(path)) and found != then:
            raise UserError(
                f"the pretrained file {path} is another one than {trial_id} was trained from (SHA-256 {then[:12]}... "
                f"then, {found[:12]}... now); put that one back, or give another --output"
            )


def other_lengths(records: Mapping[str, TrialRecord], trial_id: str, config: TrialConfig) -> list[str]:
    """Lines that say which ended runs differ from one that is about to start in their number of epochs alone."""
    if trial_id in records:
        return []
    wanted = config.fingerprint()
    lines = []
    for other, record in records.items():
        epochs = record.config.get("epochs")
        if record.phase == "train" and record.ended and isinstance(epochs, int) and epochs != config.epochs:
            same = TrialConfig.recorded(record.config).replace(epochs=config.epochs).fingerprint() == wanted
            if same:
                lines.append(
                    f"{other} is this configuration with {epochs} epochs, and is over; with {config.epochs} epochs it "
                    "is another run, which starts from nothing, since schedules go by a run's length"
                )
    return lines


@lru_cache(maxsize=64)
def _sha256(file: Path, size: int, modified: int) -> str:
    return file_sha256(file)
