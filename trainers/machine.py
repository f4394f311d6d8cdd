"""What this process may use of its machine and its account: what an administrator or a scheduler allows counts."""

import math
import os
from pathlib import Path

_CONTROL_GROUP = Path("/sys/fs/cgroup")


def allowed_cpus(control_group: Path = _CONTROL_GROUP) -> int:
    """CPUs that this process may use, at least 1: those of its set (`taskset`, SLURM, a container's), or its quota.

    A set is what `os.sched_getaffinity` says, where the system knows such a thing (Linux). A quota is that of the
    control group (`cpu.max` in version 2, `cpu.cfs_quota_us` in version 1): seconds of CPU per second, rounded up.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cpus = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    quota = _quota(control_group)
    return max(1, cpus if quota is None else min(cpus, math.ceil(quota)))


def _quota(control_group: Path) -> float | None:
    """CPUs that the control group's time amounts to; None where it is not limited."""
    try:
        quota, period = (control_group / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota, period = ((control_group / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        except OSError:
            return None
    try:
        return int(quota) / int(period) if int(quota) > 0 else None
    except (ValueError, ZeroDivisionError):  # `max`
        return None


def home() -> Path | None:
    """The user's home folder; None for a user that has no entry in the system's list and no HOME, as in containers."""
    try:
        return Path.home()
    except RuntimeError:
        return None
