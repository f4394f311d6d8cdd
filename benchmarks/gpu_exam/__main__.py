"""`python -m benchmarks.gpu_exam`: run the parts one after the other, each in its own process and within its time."""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from benchmarks.gpu_exam.hardware import REPOSITORY, hardware
from benchmarks.gpu_exam.page import page
from benchmarks.gpu_exam.parts import PARTS

_LEAST = 15.0  # seconds; torch and CUDA take most of that to start, so a part that has less left is not begun
_PATIENCE = 6  # times its seconds that a part may take in a rehearsal: Triton's interpreter is slow


def main(arguments: list[str] | None = None) -> int:
    """Examine; 0 where every part ran to its end, 1 where one did not, 2 where there is nothing to examine."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_exam", description="what only a GPU can show")
    parser.add_argument("--out", required=True, metavar="DIR", help="where exam.json and README.md go")
    parser.add_argument("--minutes", type=float, default=8.0, metavar="N", help="in all (default: 8)")
    parser.add_argument("--rehearse", action="store_true", help="on the CPU: small shapes, Triton's interpreter")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help="some parts")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    out = Path(options.out)
    if options.part:
        return _run(options.part, options.rehearse, out)
    if not options.rehearse and hardware()["gpu"] == "unknown":
        print("error: nvidia-smi finds no GPU here; add --rehearse to go through it on the CPU", file=sys.stderr)
        return 2
    out.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + 60 * options.minutes
    exam: dict[str, Any] = {"rehearsal": options.rehearse, **hardware(), "parts": {}}
    for name in options.only:
        left = deadline - time.monotonic()
        if left < _LEAST:
            exam["parts"][name] = {"status": "no time left", "seconds": 0.0, "found": {}}
        else:
            print(f"{name} ... ", end="", flush=True)
            most = PARTS[name].seconds * (_PATIENCE if options.rehearse else 1)
            exam["parts"][name] = _part(name, options.rehearse, out, min(most, left))
            print("{status}, {seconds:.0f} s".format(**exam["parts"][name]), flush=True)
        (out / "exam.json").write_text(json.dumps(exam, indent=1) + "\n", encoding="utf-8")
        (out / "README.md").write_text(page(exam), encoding="utf-8")
    print(f"page: {out / 'README.md'}")
    return 0 if all(part["status"] == "done" for part in exam["parts"].values()) else 1


def _part(name: str, rehearsal: bool, out: Path, seconds: float) -> dict[str, Any]:
    """Run one part in a process of its own: how it ended, its time, and all that it has found."""
    found, log = out / f".{name}.jsonl", out / f".{name}.log"
    found.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.gpu_exam", "--out", str(out), "--part", name]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])}
    if rehearsal:
        command.append("--rehearse")
        environment |= {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    started = time.monotonic()
    with log.open("w", encoding="utf-8") as output:
        child = subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            status = "done" if child.wait(seconds) == 0 else f"failed (exit status {child.returncode})"
        except subprocess.TimeoutExpired:
            status = f"stopped after {seconds:.0f} s"
        finally:
            _end(child)
    lines = found.read_text(encoding="utf-8").splitlines() if found.exists() else []
    part = {"status": status, "seconds": time.monotonic() - started, "found": dict(map(json.loads, lines))}
    if status.startswith("failed"):
        part["error"] = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-12:]
    for left in (found, log):
        left.unlink(missing_ok=True)
    return part


def _end(child: "subprocess.Popen[bytes]") -> None:
    """End a part with everything that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _run(name: str, rehearsal: bool, out: Path) -> int:
    """The part itself, in its own process."""
    with (out / f".{name}.jsonl").open("a", encoding="utf-8") as file:

        def record(finding: str, value: Any) -> None:
            file.write(json.dumps([finding, value]) + "\n")
            file.flush()

        try:
            PARTS[name].run(rehearsal, record)
        except Exception:
            traceback.print_exc()
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
