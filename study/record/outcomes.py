"""How a trial's attempt ended, and whether the trial is over with it: one rule for Optuna, the log and MLflow.

last report               first                    then
completed, diverged,      the trial is over        -
failed
none (the scheduler       over: pruned             -
stopped it)
out_of_memory             tried again, alone       over: infeasible (it was alone on the device)
stopped, disk_full,       goes on when the command is given again
data_changed,
storage_unreachable
none (its process died)   tried again              over: failed, at the third death
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

STOPPED, OUT_OF_MEMORY, DISK_FULL, DATA_CHANGED = "stopped", "out_of_memory", "disk_full", "data_changed"
STORAGE_UNREACHABLE = "storage_unreachable"
ALL_ALIKE = (DISK_FULL, DATA_CHANGED, STORAGE_UNREACHABLE)
"""Endings that every other run would have too, so that the command ends with the first."""
HOW = {STOPPED: "interrupted", OUT_OF_MEMORY: OUT_OF_MEMORY, **{name: name for name in ALL_ALIKE}}


@dataclass(frozen=True)
class Ending:
    """How an attempt ended.

    Attributes:
        over: whether the trial ended with it.
        outcome: completed, pruned, diverged, failed or infeasible; or, of a trial that goes on, how its attempt ended:
            interrupted, died, out_of_memory, disk_full, data_changed or storage_unreachable.
        reason: why, where there is more to say.
    """

    over: bool
    outcome: str
    reason: str = ""


def ending(result: Mapping[str, Any] | None, *, died: bool = False, alone: bool = False) -> Ending:
    """What the end of an attempt means.

    Args:
        result: the attempt's last report.
        died: its process ended without saying how, and will not be started again by this command.
        alone: it had the device to itself.
    """
    if died:
        return Ending(True, "failed", "the process that ran it died")
    said = str((result or {}).get("outcome") or "pruned")
    reason = str((result or {}).get("reason") or "")
    if said == OUT_OF_MEMORY and alone:
        return Ending(True, "infeasible", reason)
    return Ending(False, HOW[said], reason) if said in HOW else Ending(True, said, reason)
