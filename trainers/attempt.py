"""What one attempt at a run is told beside its configuration: none of it changes what is trained.

A run may take several attempts: it is stopped and goes on, or its process dies and is started again.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from trainers.clock import stamp
from trainers.run_place import RunPlace
from trainers.working_folder import working_folder


@dataclass(frozen=True)
class Attempt:
    """One attempt at a run.

    Args:
        stop_file: a path whose existence asks the run to finish its step, save and stop; None: nothing asks.
        began: when the attempt began, in seconds since 1970, for the device seconds that it reports.
        test_openings: how often the test set was opened for this run, by the study's log.
        reopen_test: open the test set again where it was opened before; see `trainers.gate`.
        expected_data: what data and pretrained file are to be (`trainers.node_data`); empty: nothing is checked.
        working_folder: where the command was given, which relative paths are meant from; empty: not known.
        place: where the run lies in shared storage; None: nowhere.
    """

    stop_file: Path | None = None
    began: float = field(default_factory=stamp)
    test_openings: int = 0
    reopen_test: bool = False
    expected_data: dict[str, str] = field(default_factory=dict)
    working_folder: str = field(default_factory=working_folder)
    place: RunPlace | None = None

    def device_seconds(self, workers: int) -> float:
        """Seconds since the attempt began, once for each worker."""
        return max(0.0, stamp() - self.began) * workers

    def to_dict(self) -> dict[str, Any]:
        """Every field by name, as plain values that travel to another process."""
        return {**asdict(self), "stop_file": str(self.stop_file) if self.stop_file else None}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Attempt":
        """The inverse of `to_dict`."""
        stop_file = Path(values["stop_file"]) if values["stop_file"] else None
        place = RunPlace(**values["place"]) if values["place"] else None
        return cls(**{**values, "stop_file": stop_file, "place": place})
