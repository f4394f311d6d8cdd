"""The nodes of a joined cluster, each asked before the first trial whether trials can run there.

A trial reads the code, the data and the pretrained file of its own node, and writes its checkpoints into the study's
folder: on a node that sees another disk it would seem to end well, and its results would be gone. So every node that
may run trials proves that it

* finds a file that this command has just written into the study's folder, and may write there; of a study in shared
  storage (`study.drive.shared`), finds one there, writes one that this machine finds, and can make the runs' folders,
* finds the data and pretrained files that the study names, of the sizes that this machine sees; storage brings them,
* has the same code (SHA-256 of the packages' sources), Python and releases,
* has room in /dev/shm for Ray's and torch's workers to talk through,
* has a clock that agrees with this machine's, by which logs and locks are read.

Whoever does not is named with the remedy, all nodes at once.
"""

import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from study.drive.expected_nodes import absent_workers
from study.drive.node_answer import DECIDING, PROBE, SHARE, Node, question, this_machine
from trainers.config import TrialConfig
from trainers.data.store import MANIFEST
from trainers.errors import UserError
from trainers.run_data import prepared_folder
from trainers.storage import Storage

SECONDS = 60
"""In which a node must answer; its first worker may have to be started."""
SHARED_MEMORY = 64 * 2**20
"""Bytes that must be free in /dev/shm: torch's and gloo's own pieces; images and results do not go through it."""
CLOCK_SECONDS = 5.0
"""By which a node's clock may differ, beyond what the answer's way took."""


def require_nodes(
    folder: Path, configs: Iterable[TrialConfig], say: Callable[[str], None], storage: Storage | None = None
) -> None:
    """Refuse a cluster of several nodes where one of them cannot run the study's trials.

    Args:
        folder: the study's.
        configs: what trials run, for the data and pretrained files that they read.
        say: takes a line of what is done.
        storage: the study's shared storage, where it has some.

    Raises:
        UserError: names every node that cannot, with what it lacks and what to do.
    """
    for line in absent_workers(_joined()):
        say(line)
    if not _elsewhere():  # or all are still to come, when trials wait for them
        return
    nodes, here = look_at_nodes(folder, () if storage else inputs_of(configs), storage), this_machine()
    found = [f"{node.host}: {problem}" for node in nodes for problem in problems(node, here)]
    if found:
        listed = "\n  ".join(found)
        raise UserError(
            f"the cluster cannot run this study's trials on all of its nodes:\n  {listed}\n"
            "mend these nodes or take them out of the cluster; `python -m study doctor --cluster` looks again"
        )
    say(f"{len(nodes)} nodes answer: same code and releases, and all reach {storage.uri if storage else folder}")


def inputs_of(configs: Iterable[TrialConfig]) -> list[Path]:
    """The files that runs read, each once: the manifest of their prepared data, their pretrained file."""
    found: dict[Path, None] = {}
    for config in configs:
        if (folder := prepared_folder(config)) is not None:
            found[folder / MANIFEST] = None
        if config.pretrained is not None:
            found[Path(config.pretrained)] = None
    return list(found)


def cluster_report(folder: Path | None, show: Callable[[str], None], storage: Storage | None = None) -> int:
    """Say of every node of the joined cluster what it is and what keeps trials off it; 1 where something does.

    Args:
        folder: a study's, whose disk the nodes must share; None to leave storage out.
        show: takes each line.
        storage: shared storage that the nodes must reach.
    """
    here, bad = this_machine(), 0
    for node in look_at_nodes(folder, storage=storage):
        against = problems(node, here)
        bad += bool(against)
        releases = ", ".join(f"{name} {release}" for name, release in node.versions.items())
        said = "; ".join(against) or "fit for trials"
        show(f"{node.host}: {said}" + (f" ({releases})" if releases else ""))
    for line in absent_workers(_joined()):
        bad += 1
        show(line)
    show(f"{bad} {'node needs' if bad == 1 else 'nodes need'} mending" if bad else "all nodes can run trials")
    return 1 if bad else 0


def problems(node: Node, here: Node) -> list[str]:
    """What keeps trials off a node, one line each, with the remedy.

    Args:
        node: what it answered.
        here: the same of the machine that this command runs on.
    """
    found = list(node.problems)
    if not node.code and not found:
        found.append("its workers find no project; install the same checkout there (cluster/setup_node.sh)")
    elif node.code and node.code != here.code:
        found.append("its project differs from this one; run `ray up` again, which copies this checkout to every node")
    for name in DECIDING:
        theirs, ours = node.versions.get(name, "none"), here.versions.get(name, "none")
        if node.code and theirs != ours:
            found.append(f"{name} {theirs}, here {ours}; install the releases of constraints.txt on both")
    if node.free_shared_memory is not None and node.free_shared_memory < SHARED_MEMORY:
        found.append(
            f"{node.free_shared_memory / 2**20:.0f} MiB free in /dev/shm, {SHARED_MEMORY / 2**20:.0f} are needed; give "
            "its container more (docker run --shm-size=1g), or delete what was left there"
        )
    if abs(node.clock) > CLOCK_SECONDS + node.clock_error:
        ahead = "ahead of" if node.clock > 0 else "behind"
        found.append(f"its clock is {abs(node.clock):.0f} s {ahead} this machine's; let both keep time (chrony, ntp)")
    return found


def look_at_nodes(folder: Path | None, files: Sequence[Path] = (), storage: Storage | None = None) -> list[Node]:
    """Ask every node that may run trials; one that does not answer in time has that as its problem.

    Args:
        folder: the study's, into which a file is written for the nodes to find; None to leave storage out.
        files: inputs that trials read.
        storage: shared storage, in which a file is written for the nodes to find instead, and one by each of them.
    """
    sizes = {str(path.absolute()): path.stat().st_size if path.is_file() else -1 for path in files if path.exists()}
    token = secrets.token_hex(16)
    if storage is not None:
        place = f"{PROBE}-{token}"
        try:
            storage.write(f"{place}/head", token.encode())
            nodes = _answers(None if folder is None else str(folder.absolute()), token, sizes, (storage.uri, place))
            return [_seen(node, storage, place) for node in nodes]
        finally:
            storage.delete_folder(place)
    if folder is None:
        return _answers(None, "", sizes)
    probe = folder / PROBE
    try:
        probe.write_text(token, encoding="utf-8")
        return _answers(str(folder.absolute()), token, sizes)
    finally:
        probe.unlink(missing_ok=True)


def _seen(node: Node, storage: Storage, place: str) -> Node:
    """The node's answer, with whether this machine finds what it wrote into storage."""
    if not node.wrote or storage.read(f"{place}/{node.wrote}") is not None:
        return node
    unseen = f"wrote a file into {storage.uri} that this machine does not find there; {SHARE}"
    return replace(node, problems=(*node.problems, unseen))


def _answers(
    folder: str | None, token: str, files: dict[str, int], storage: tuple[str, str] | None = None
) -> list[Node]:
    """What the nodes answer.

    Args:
        folder: the study's, absolute; None where only the nodes themselves are looked at.
        token: what the file `PROBE` in it holds.
        files: absolute paths of inputs, each with what this machine sees there: bytes, -1 for a folder.
        storage: shared storage, and the folder of the probes in it.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    started, sent = [], time.time()
    for node in living_nodes():
        only_there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        task = ray.remote(num_cpus=0, max_retries=0)(question()).options(scheduling_strategy=only_there)
        host = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
        started.append((host, task.remote(folder, token, files, storage)))
    found = []
    for host, answer in started:
        ready, _ = ray.wait([answer], timeout=max(1.0, sent + SECONDS - time.time()))
        if not ready:
            found.append(Node(host, problems=(f"does not answer within {SECONDS} s; look at `ray status` there",)))
            continue
        try:
            values: dict[str, Any] = ray.get(answer)
        except Exception as error:  # whatever a node does instead of answering
            found.append(Node(host, problems=(f"cannot run a task ({str(error).strip().splitlines()[-1][:200]})",)))
            continue
        took = time.time() - sent
        found.append(
            Node(
                host,
                values["versions"],
                values["code"],
                values["shm"],
                values["clock"] - (sent + took / 2),
                took / 2,
                tuple(values["problems"]),
                values["wrote"],
            )
        )
    return found


def living_nodes() -> list[dict[str, Any]]:
    """The living nodes that may run trials."""
    import ray

    return [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) > 0]


def _joined() -> set[str]:
    """The addresses of all living nodes."""
    import ray

    return {node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}


def _elsewhere() -> bool:
    """Whether trials may run on another node than the one of this process."""
    import ray

    here = ray.get_runtime_context().get_node_id()
    return any(node["NodeID"] != here for node in living_nodes())
