"""Where a run lies in shared storage: what a study tells each of its runs, as values that travel to its workers.

STORAGE/studies/<study>/                  the study's folder, as its command mirrors it
STORAGE/studies/<study>/runs/<trial_id>/  one run (`trainers.stored_run`)
STORAGE/studies/<study>/stop              is there while every run of the study is to stop
STORAGE/data/, STORAGE/files/             what runs read (`trainers.stored_inputs`)
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class RunPlace:
    """Where a run lies in shared storage, as values that travel to its workers.

    Attributes:
        uri: of the storage.
        study: the study's folder there.
        study_id: the study's own id.
        trial_id: the run's.
        inputs: its data and pretrained file there (`trainers.stored_inputs`).
    """

    uri: str
    study: str
    study_id: str
    trial_id: str
    inputs: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """The run's folder, below the storage's address."""
        return run_path(self.study, self.trial_id)


def study_place(name: str) -> str:
    """Where a study lies, below the storage's address."""
    return f"studies/{name}"


def run_path(study: str, trial_id: str) -> str:
    """Where a run of a study lies, below the storage's address."""
    return f"{study}/runs/{trial_id}"


def stop_path(study: str) -> str:
    """What is there while every run of a study is to stop."""
    return f"{study}/stop"
