"""What an examination ran on: hardware, versions, commit and command; nothing that names a machine or a person."""

import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("torch", "triton", "numba", "numpy", "pyarrow", "safetensors")


def hardware() -> dict[str, str]:
    """As short texts; what cannot be found out is `unknown`."""
    return {
        "gpu": _output("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"),
        "cpu": _processor(),
        "versions": ", ".join([f"python {platform.python_version()}", *_versions()]),
        "git_commit": _output("git", "-C", str(REPOSITORY), "rev-parse", "HEAD"),
        "command": "python -m benchmarks.gpu_exam " + " ".join(sys.argv[1:]),
    }


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip() or "unknown"


def _versions() -> list[str]:
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            found.append(f"{package} missing")
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"
