"""Where a result comes from: source commit, package versions, hardware and command line, as short strings.

A number without these four cannot be checked again, so every recorded run carries them as tags. Nothing here fails:
what cannot be found out is written as `unknown`.
"""

import contextlib
import os
import platform
import shlex
import subprocess
import sys
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from trainers.machine import allowed_cpus

HERE = Path(__file__).resolve()
UNKNOWN = "unknown"
DISTRIBUTION = "binsfo-study"
PACKAGES = ("torch", "torchvision", "ray", "optuna", "mlflow", "pyarrow", "numpy")
LONGEST_COMMAND = 1000  # characters; MLflow refuses tags above 8000, and nobody reads one that long


def provenance() -> dict[str, str]:
    """The tags that tell where a run comes from: `git_commit`, `versions`, `hardware`, `command`."""
    return {"git_commit": git_commit(), "versions": versions(), "hardware": hardware(), "command": command_line()}


@lru_cache(maxsize=8)
def git_commit(source: Path = HERE) -> str:
    """The commit that `source` (a file) was read from, 40 hex digits, with `-dirty` where its checkout differs from it.

    That is where tracked files were changed, and where there are modules (`*.py`) that it does not track.

    `unknown` where there is no git, no checkout, or the file lies in a checkout that does not track it: a package
    installed into a virtual environment inside somebody's repository is not of that repository's commit.
    """

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(source.parent), *arguments], capture_output=True, text=True, timeout=20, check=True
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", source.name)
        commit = git("rev-parse", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no") or git(
            "ls-files", "--others", "--exclude-standard", "--", ":(top)*.py"
        )
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN
    return f"{commit}-dirty" if changed else commit


@lru_cache(maxsize=1)
def versions() -> str:
    """Versions of Python and the packages that decide a result, e.g. `python 3.11.7, torch 2.13.0, ray 2.60.0`."""
    found = [f"python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


@lru_cache(maxsize=1)
def hardware() -> str:
    """Processors with vectors, memory, system, accelerators: `2 x Xeon 8481C (AVX512), 24 GiB, Linux x86_64`."""
    cores = allowed_cpus()
    parts = [f"{cores} x {_processor()}{_vectors()}"]
    with contextlib.suppress(ValueError, OSError, AttributeError):
        parts.append(f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB")
    parts.append(f"{platform.system()} {platform.machine()}")
    parts.extend(_accelerators())
    return ", ".join(parts)


def command_line() -> str:
    """The command that started this process, as it could be typed again: `python -m study ...`, or `binsfo ...`."""
    program, *arguments = sys.argv or [UNKNOWN]
    start = ["python", "-m", Path(program).parent.name] if Path(program).name == "__main__.py" else [program]
    if Path(program).name == "binsfo":  # the console script, wherever the environment lies
        start = ["binsfo"]
    text = shlex.join([*start, *arguments])
    return text if len(text) <= LONGEST_COMMAND else text[: LONGEST_COMMAND - 1] + "…"


def package_version(distribution: str = DISTRIBUTION) -> str:
    """An installed distribution with its version; `unknown` for a bare checkout."""
    try:
        return f"{distribution} {metadata.version(distribution)}"
    except metadata.PackageNotFoundError:
        return UNKNOWN


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return " ".join(line.split(":", 1)[1].split())
    except OSError:
        pass
    return platform.processor() or platform.machine() or UNKNOWN


def _vectors() -> str:
    """The vectors that torch computes with, ` (AVX2)`: in these, processors of one name may differ, and with them time,
    memory and rounding. Nothing where torch is absent or uses none."""
    try:
        import torch
    except ImportError:
        return ""
    capability = torch.backends.cpu.get_cpu_capability()
    return "" if capability == "DEFAULT" else f" ({capability})"


def _accelerators() -> list[str]:
    """One entry per kind of CUDA device, `2 x NVIDIA H100`; none where torch is absent or sees no device."""
    try:
        import torch

        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    except (ImportError, RuntimeError, AssertionError):
        return []
    return [f"{names.count(name)} x {name}" for name in dict.fromkeys(names)]
