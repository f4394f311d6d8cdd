"""What a lab does with a cluster, on two nodes that are namespaces of this machine; `test_try_nodes` starts it there.

Own data, a plug-in and a study file go from the laptop to the cluster by `study submit`, trials land on both nodes, and
a run has a worker on each. Then, by `ray submit` and with an S3 server on the laptop in place of a disk in common: a
node with a worker of a run is killed, and the run goes on when it is back; the driver is killed, in a tmux that nobody
looks at, and the same command goes on; a node is killed in the middle of a trial, which goes on elsewhere from its last
epoch; and `ray job submit`, through the tunnel to the dashboard, finds that study done.
"""

import importlib.util
import json
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import yaml
from moto.server import ThreadedMotoServer
from PIL import Image
from pyarrow import fs
from sklearn.datasets import load_digits

from trainers.config import TrialConfig
from trainers.host import run_local

REPOSITORY = Path(__file__).resolve().parents[2]
RULE = REPOSITORY / "examples" / "own_rule.py"
BUCKET, S3_PORT = "binsfo", 9000
# A worker tells the test where it is by a file of its node's name, on the disk that all nodes share.
TELL = """
import pathlib, socket
_seen = pathlib.Path.home() / "shared" / "seen"
_seen.mkdir(parents=True, exist_ok=True)
"""


def try_nodes() -> Any:
    """The program that makes the nodes."""
    spec = importlib.util.spec_from_file_location("try_nodes", REPOSITORY / "cluster" / "try_nodes.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_inputs(laptop: Path) -> None:
    """Data, a plug-in and three study files of a user's own, named by relative paths."""
    digits = load_digits()
    for number, (image, label) in enumerate(zip(digits.images[:400], digits.target[:400], strict=True)):
        folder = laptop / "pictures" / f"digit{label}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image * 15).astype("uint8")).save(folder / f"{number}.png")
    text = RULE.read_text().replace("import torch\n", f"import torch\n{TELL}", 1)
    text = text.replace("        sigma =", "        (_seen / socket.gethostname()).touch()\n        sigma =", 1)
    (laptop / "my_rule.py").write_text(text)
    fixed = {"hid_dim": 64, "batch_size": 50}
    studies = {
        "mine": {
            "cells": [{"datasets": ["pictures"], "models": ["MLP"], "methods": ["largest"]}],
            "fixed": {**fixed, "epochs": 3},
            "search": {"trials": 4, "asha": False},
            "confirm": {"seeds": [11]},
        },
        "both": {
            "cells": [{"datasets": ["pictures"], "models": ["MLP"], "methods": ["largest"]}],
            "fixed": {**fixed, "epochs": 2},
            "search": {"trials": 1, "asha": False},
            "confirm": {"k": 0},
            "resources": {"workers": 2},
        },
        "long": {
            "cells": [{"datasets": ["Digits"], "models": ["MLP"], "methods": ["real-SGD"]}],
            "fixed": {**fixed, "epochs": 80},
            "search": {"trials": 2, "asha": False},
            "confirm": {"k": 0},
        },
        "pair": {
            "cells": [{"datasets": ["Digits"], "models": ["MLP"], "methods": ["real-SGD"]}],
            "fixed": {**fixed, "epochs": 12},
            "search": {"trials": 1, "asha": False},
            "confirm": {"k": 0},
            "resources": {"workers": 2},
        },
    }
    for name, content in studies.items():
        (laptop / f"{name}.yaml").write_text(yaml.safe_dump({"name": name, **content}))


def events(folder: Path) -> list[dict[str, Any]]:
    """What a study's log says so far."""
    try:
        return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    except (OSError, ValueError):  # not there yet, or a line is being written
        return []


def check_log(folder: Path, trials: int) -> list[dict[str, Any]]:
    """Hold that every run has ended well, with each of its epochs once."""
    told = events(folder)
    ended = {event["trial_id"]: event for event in told if event["event"] == "end"}
    assert len(ended) == trials and all(event["outcome"] == "completed" for event in ended.values()), ended
    epochs = Counter((event["trial_id"], event["epoch"]) for event in told if event["event"] == "epoch")
    assert set(epochs.values()) == {1}, epochs
    for trial_id in ended:
        (start,) = [event for event in told if event["event"] == "start" and event["trial_id"] == trial_id][:1]
        assert sum(trial == trial_id for trial, _ in epochs) == start["config"]["epochs"]
    return told


def same_bits(told: list[dict[str, Any]], trial_id: str, folder: Path, data: Path) -> None:
    """Train a run of the log once more, undisturbed, and hold that each epoch measures the same."""
    (start,) = [event for event in told if event["event"] == "start" and event["trial_id"] == trial_id][:1]
    config = TrialConfig.recorded({**start["config"], "data_root": str(data)})
    again: list[dict[str, Any]] = []
    run_local(config, folder, again.append)
    then = [event for event in told if event["event"] == "epoch" and event["trial_id"] == trial_id]
    assert measured(then) == [(metrics["val_accuracy"], metrics["train_loss"]) for metrics in again]


def measured(told: list[dict[str, Any]]) -> list[tuple[float, float]]:
    """What each epoch of a log came to."""
    epochs = [event["metrics"] for event in told if event["event"] == "epoch"]
    return [(metrics["val_accuracy"], metrics["train_loss"]) for metrics in epochs]


def bring_up(module: Any, scratch: Path) -> tuple[Any, str]:
    """Two nodes and the file of their cluster, which is up."""
    server = f"{module.LAPTOP}:{S3_PORT}"
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    variables = {"AWS_ENDPOINT_URL": f"http://{server}", "AWS_EC2_METADATA_DISABLED": "true", **keys}
    variables["TMUX_TMPDIR"] = "/run"  # each node's own: no terminal of whoever runs this
    nodes = module.Nodes(scratch, 2, variables=variables)
    write_inputs(scratch / "laptop")
    cluster, ray = str(nodes.start()), str(module.RAY)
    ThreadedMotoServer(ip_address=module.LAPTOP, port=S3_PORT, verbose=False).start()
    s3 = {"access_key": "test", "secret_key": "test", "scheme": "http", "allow_bucket_creation": True}
    fs.S3FileSystem(endpoint_override=server, **s3).create_dir(BUCKET)
    nodes.step("a token", [ray, "get-auth-token", "--generate"])
    nodes.step("ray up", [ray, "up", "-y", "--disable-usage-stats", cluster])
    said = module.wait_for_workers(nodes, cluster)
    assert said.count("fit for trials") == 2, said
    return nodes, cluster


def live(module: Any, nodes: Any, cluster: str) -> None:
    """All that a lab does with it; an assertion or a failed command ends it."""
    scratch, ray = nodes.scratch, str(module.RAY)
    laptop, shared = scratch / "laptop", scratch / "shared"

    def submit(name: str, *words: str) -> str:
        where = ["bash", "-c", 'cd "$HOME" && exec "$@"', "_"]
        study = [sys.executable, "-m", "study", "submit", cluster, f"{name}.yaml", *words]
        return str(nodes.step(f"study submit {name}", [*where, *study], PYTHONPATH=str(REPOSITORY)))

    said = submit("mine", "--plugin", "my_rule.py")
    check_log(laptop / "studies" / "mine", trials=5)
    assert {path.name for path in (shared / "seen").iterdir()} == {"node1", "node2"}, "trials land on both nodes"
    assert (laptop / "studies" / "mine" / "report.html").exists() and "results: studies/mine" in said
    assert not (laptop / "studies" / "mine" / "tune").exists()
    said = nodes.step("study status", [ray, "exec", cluster, "python -m study status ~/studies/mine"])
    assert "5 of 5 runs" in said, said

    for path in (shared / "seen").iterdir():
        path.unlink()
    submit("both", "--plugin", "my_rule.py")
    check_log(laptop / "studies" / "both", trials=1)
    assert {path.name for path in (shared / "seen").iterdir()} == {"node1", "node2"}, "a worker on each node"

    a_run_across_both(module, nodes, cluster)
    without_a_disk_in_common(module, nodes, cluster)
    nodes.step("ray down", [ray, "down", "-y", cluster])
    print("\nthe cluster works")


def a_run_across_both(module: Any, nodes: Any, cluster: str) -> None:
    """A run with a worker on each node loses one of them, waits until it is back, and goes on to the same bits."""
    ray, own, folder = str(module.RAY), nodes.scratch / "home" / "own", nodes.scratch / "node1" / "own"
    folder.mkdir()
    shutil.copy(nodes.scratch / "laptop" / "pair.yaml", folder)

    def submit(name: str) -> str:
        study = [str(own / "pair.yaml"), "--output", str(own / name), "--data-root", str(own / "data")]
        study += ["--storage", f"s3://{BUCKET}/{name}"]
        return str(nodes.step(f"ray submit {name}", [ray, "submit", cluster, "study/run.py", "--", *study]))

    submit("undisturbed")
    with once_past(folder / "disturbed", 4, 1, lambda: take_away_for_a_while(nodes, 2)):
        said = submit("disturbed")
    assert "node node2 at 10.77.0.12, 1 CPUs, is gone" in said and "1 CPUs, has joined" in said
    told = check_log(folder / "disturbed", trials=1)
    assert not any(event["event"] == "retrained" for event in told), "it goes on from its last epoch"
    assert measured(told) == measured(check_log(folder / "undisturbed", trials=1))


def without_a_disk_in_common(module: Any, nodes: Any, cluster: str) -> None:
    """A study whose folder and data lie on the head's own disk, by Ray's own commands; all else goes through S3."""
    ray, folder = str(module.RAY), nodes.scratch / "node1" / "own" / "long"
    shutil.copy(nodes.scratch / "laptop" / "long.yaml", folder.parent)
    own = nodes.scratch / "home" / "own"  # what the head calls it
    study = [str(own / "long.yaml"), "--output", str(own / "long"), "--data-root", str(own / "data")]
    study += ["--storage", f"s3://{BUCKET}/lab"]
    submit = [ray, "submit", cluster, "study/run.py", "--", *study]
    apart = ["--tmux"] if shutil.which("tmux") else []  # the command stays when the laptop is closed

    with once_past(folder, 5, 2, lambda: kill_driver(study[0]), patience=300 if apart else 1):
        nodes.step("ray submit", [ray, "submit", *apart, *submit[2:]], may_fail=not apart)
    assert not any(event["event"] == "end" for event in events(folder)), "it was killed before its end"
    with once_past(folder, 20, 2, lambda: lose_node(nodes, 2)):
        nodes.step("ray submit again", submit)
    told = check_log(folder, trials=2)
    ends = Counter(event["trial_id"] for event in told if event["event"] == "attempt_end")
    assert set(ends.values()) == {1, 2}, "the driver's death ends both trials' attempts, the node's that of one"
    assert (folder.parent / "data").exists() and not (nodes.scratch / "node2" / "own" / "data").exists()
    for number, trial_id in enumerate(ends):
        same_bits(told, trial_id, nodes.scratch / f"again-{number}", folder.parent / "data")
    with nodes.dashboard(cluster) as address:
        job = [ray, "job", "submit", "--address", address, "--", "python", "-m", "study", "run", *study]
        nodes.step("ray job submit", job, RAY_AUTH_MODE="token")
    again = check_log(folder, trials=2)
    assert [event for event in again if event["event"] == "start"] == [e for e in told if e["event"] == "start"]


@contextmanager
def once_past(folder: Path, epoch: int, trials: int, strike: Callable[[], None], patience: float = 1) -> Iterator[None]:
    """Strike, once, while the context is open: when so many trials of the study have logged so many epochs.

    It stays open for at most `patience` seconds after its body, which need not wait for the study.
    """

    def wait() -> None:
        while len({event["trial_id"] for event in events(folder) if event.get("epoch", 0) >= epoch}) < trials:
            time.sleep(0.2)
        strike()
        struck.set()

    struck = threading.Event()
    threading.Thread(target=wait, daemon=True).start()
    yield
    assert struck.wait(timeout=patience)


def kill_driver(study_file: str) -> None:
    """End the study's command on the head, and leave `ray submit`, which has the same words, and all else."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if study_file in words and words[1].endswith("run.py"):
            process.kill()
            print("\n-- the driver is dead", flush=True)


def lose_node(nodes: Any, number: int) -> None:
    """Cut a node off, then end all that runs on it."""
    nodes.cut_off(number)
    time.sleep(2)
    nodes.kill_node(number)
    print(f"\n-- node{number} is dead", flush=True)


def take_away_for_a_while(nodes: Any, number: int) -> None:
    """Lose a node, and start it again as one that has been set up and has nothing of what ran on it."""
    lose_node(nodes, number)
    disk = nodes.scratch / f"node{number}"
    for path in disk.iterdir():
        if path.name not in {"binsfo-study", "shared", ".bashrc", ".ray"}:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (disk / "t").mkdir()
    nodes.start_node(number)
    print(f"\n-- node{number} is back", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        program = try_nodes()
        live(program, *bring_up(program, Path(sys.argv[1])))
    else:
        sys.exit(try_nodes().in_namespaces(lambda scratch: [sys.executable, __file__, scratch]))
