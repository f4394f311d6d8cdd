"""`cluster/tell_runs.sh`: runs are told that their machine is taken away, and are waited for."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent.parent / "cluster" / "tell_runs.sh"


@pytest.mark.integration
def test_runs_are_told_and_waited_for_and_agents_are_left_alone() -> None:
    """In a process namespace of its own: the script tells whatever of its user's has such a name."""
    private = ["unshare", "-r", "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*private, "true"], capture_output=True).returncode:
        pytest.skip("needs a process namespace of its own")
    program = f"""
import subprocess, sys, time
def start(title, code):
    return subprocess.Popen([title, "-c", code], executable=sys.executable, stdout=subprocess.PIPE, text=True)
saves = '''
import signal, time
def save(*_):
    time.sleep(1); print("saved", flush=True); raise SystemExit
signal.signal(signal.SIGTERM, save); print("at work", flush=True); time.sleep(60)
'''
deaf = saves.replace("save)", "signal.SIG_IGN)")
run, agent = start("ray::ImplicitFunc.train", saves), start("ray::DashboardAgent", saves)
for one in (run, agent):
    one.stdout.readline()
done = subprocess.run(["bash", {str(SCRIPT)!r}, "20"])
assert done.returncode == 0 and run.poll() is not None and run.stdout.read() == "saved\\n" and agent.poll() is None
stuck = start("ray::RayTrainWorker", deaf)
stuck.stdout.readline()
for seconds in ("0", "1"):
    done = subprocess.run(["bash", {str(SCRIPT)!r}, seconds], capture_output=True, text=True)
    assert done.returncode == 1 and f"these have not ended within {{seconds}} s: {{stuck.pid}}" in done.stderr, done
"""
    done = subprocess.run([*private, sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
