"""Nodes of a cluster are asked before the first trial; what keeps trials off one is named with the remedy."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from study.drive import node_answer, nodes
from study.drive.node_answer import Node, code_hash, this_machine
from study.drive.nodes import inputs_of, problems
from trainers.config import TrialConfig
from trainers.data.prepare import prepare
from trainers.errors import UserError
from trainers.storage import Storage

HERE = Node("here", {"python": "3.11", "torch": "2.13.0", "ray": "2.60.0"}, "a" * 64)
FIT = replace(HERE, host="there", free_shared_memory=2**30, clock=1.0, clock_error=0.5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"code": ""}, "find no project"),
        ({"code": "b" * 64}, "its project differs"),
        ({"versions": {**HERE.versions, "torch": "2.11.0"}}, "torch 2.11.0, here 2.13.0"),
        ({"versions": {"python": "3.12", "torch": "2.13.0", "ray": "2.60.0"}}, "python 3.12, here 3.11"),
        ({"free_shared_memory": 2**20}, "1 MiB free in /dev/shm"),
        ({"clock": -90.0}, "its clock is 90 s behind"),
        ({"clock": 90.0}, "its clock is 90 s ahead of"),
        ({"problems": ("sees another folder at /s",)}, "sees another folder"),
    ],
)
def test_what_keeps_trials_off_a_node_is_one_line(changes: dict[str, Any], said: str) -> None:
    (found,) = problems(replace(FIT, **changes), HERE)
    assert said in found


def test_a_slow_answer_is_no_wrong_clock() -> None:
    assert problems(FIT, HERE) == []
    assert problems(replace(FIT, clock=20.0, clock_error=30.0), HERE) == []


def test_a_build_for_another_device_is_the_same_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_answer, "versions", lambda: "python 3.11.7, torch 2.13.0+cu130, mlflow 3.17.2")
    assert this_machine().versions["torch"] == "2.13.0" and "mlflow" not in this_machine().versions


def test_code_is_known_by_its_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    before = code_hash()
    assert before == code_hash() and len(before) == 64
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + (b"\n" if path.name == "worker.py" else b""))
    assert code_hash() != before


def test_a_machine_that_never_joined_needs_mending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "look_at_nodes", lambda folder, storage: [replace(this_machine(), host="node1")])
    monkeypatch.setattr(nodes, "_joined", lambda: {"10.1.2.3"})
    monkeypatch.setattr(nodes, "absent_workers", lambda joined: [f"10.1.2.5: has not joined, beside {joined}"])
    told: list[str] = []
    assert nodes.cluster_report(None, told.append) == 1
    assert told[0].startswith("node1: fit for trials")
    assert told[1:] == ["10.1.2.5: has not joined, beside {'10.1.2.3'}", "1 node needs mending"]


def test_inputs_are_the_manifests_and_pretrained_files(tmp_path: Path) -> None:
    folder = prepare("Digits", tmp_path)
    weights = tmp_path / "weights.safetensors"
    config = TrialConfig("Digits", "MLP", "binary", data_root=str(tmp_path), pretrained=str(weights))
    assert inputs_of([config, config.replace(seed=2)]) == [folder / "manifest.json", weights]


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[Any]:
    import ray
    from ray.cluster_utils import Cluster

    root = str(Path(__file__).parents[3])
    os.environ["PYTHONPATH"] = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    ray.shutdown()  # of other tests' one
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.integration
def test_nodes_that_share_a_disk_and_the_code_are_fit(two_nodes: Any, tmp_path: Path) -> None:
    told: list[str] = []
    nodes.require_nodes(tmp_path, [], told.append)
    assert told == [f"2 nodes answer: same code and releases, and all reach {tmp_path}"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.integration
def test_a_node_without_the_studys_files_is_refused_by_name(
    two_nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "PROBE", "elsewhere")  # where no node looks: as on a disk of this machine's own
    with pytest.raises(UserError) as refusal:
        nodes.require_nodes(tmp_path, [], print)
    assert str(refusal.value).count("cannot use the study's folder") == 2
    assert "it must lie on a shared disk" in str(refusal.value) and "doctor --cluster" in str(refusal.value)


@pytest.mark.integration
def test_nodes_that_reach_the_storage_need_no_disk_in_common(
    two_nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "PROBE", "elsewhere")  # where no node looks: as on a disk of this machine's own
    (tmp_path / "storage").mkdir()
    told: list[str] = []
    weights = TrialConfig("Digits", "MLP", "binary", data_root=str(tmp_path), pretrained=str(tmp_path / "weights"))
    (tmp_path / "weights").touch()
    monkeypatch.setattr(nodes, "inputs_of", lambda configs: pytest.fail("storage brings them"))
    storage = Storage(str(tmp_path / "storage"))
    nodes.require_nodes(tmp_path, [weights], told.append, storage)
    assert told == [f"2 nodes answer: same code and releases, and all reach {storage.uri}"]
    assert list((tmp_path / "storage").iterdir()) == []


@pytest.mark.integration
@pytest.mark.parametrize(
    ("call", "said"), [("write", "does not find in {} what this machine wrote"), ("read", "that this machine does not")]
)
def test_storage_that_only_one_side_sees_is_refused_by_name(
    call: str, said: str, two_nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "storage").mkdir()
    monkeypatch.setattr(Storage, call, lambda *given: None)  # in this process: as on a disk of its own
    storage = Storage(str(tmp_path / "storage"))
    with pytest.raises(UserError) as refusal:
        nodes.require_nodes(tmp_path, [], print, storage)
    assert str(refusal.value).count(said.format(storage.uri)) == 2 and "mounts alike" in str(refusal.value)


@pytest.mark.integration
def test_the_report_has_a_line_a_node(two_nodes: Any, tmp_path: Path) -> None:
    told: list[str] = []
    assert nodes.cluster_report(None, told.append) == 0
    assert len(told) == 3 and all("fit for trials" in line for line in told[:2])
    assert told[-1] == "all nodes can run trials"
