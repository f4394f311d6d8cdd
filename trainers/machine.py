"""What this process may use of its machine and its account: what an administrator or a scheduler allows counts."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

_CONTROL_GROUP = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def control_groups(controller: str, root: Path = _CONTROL_GROUP, own: Path = _OWN) -> Iterator[Path]:
    """The folders of the control groups whose limits this process is under, its own first: the limit of each holds.

    A container sees its group as the root. A job of a scheduler on a bare machine (SLURM, systemd) has one of its own
    somewhere below, as `/proc/self/cgroup` says.

    Args:
        controller: `cpu` or `memory`; in version 1 each has groups of its own.
        root: where control groups are mounted.
        own: the file that names this process's groups, `hierarchy:controllers:path` a line.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and controller not in controllers.split(","):
            continue
        base = root / controller if controllers else root
        folder = base / path.lstrip("/")
        for group in (folder, *folder.parents):
            if group == base or base not in group.parents:
                break
            yield group
    yield root
    yield root / controller


def allowed_cpus(control_group: Path = _CONTROL_GROUP, own: Path = _OWN) -> int:
    """CPUs that this process may use, at least 1: those of its set (`taskset`, SLURM, a container's), or its quota.

    A set is what `os.sched_getaffinity` says, where the system knows such a thing (Linux). A quota is that of the
    control group (`cpu.max` in version 2, `cpu.cfs_quota_us` in version 1): seconds of CPU per second, rounded up.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cpus = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    quotas = [quota for group in control_groups("cpu", control_group, own) if (quota := _quota(group)) is not None]
    return max(1, min([cpus, *map(math.ceil, quotas)]))


def _quota(control_group: Path) -> float | None:
    """CPUs that one control group's time amounts to; None where it is not limited."""
    try:
        quota, period = (control_group / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota, period = ((control_group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
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
