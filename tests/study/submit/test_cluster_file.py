"""A cluster's file is looked at before anything is contacted: values of the example, keys, tokens, the head."""

import socket
from pathlib import Path
from typing import Any

import pytest

from study.submit.cluster_file import ClusterFile, read_cluster_file, require_head
from tests.study.submit.played_cluster import cluster_file
from trainers.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[3]
EXAMPLES = ("cluster.yaml", "cluster/gcp.yaml", "cluster/local.yaml", "cluster/one-node.yaml")


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_is_refused_until_it_is_filled_in(name: str) -> None:
    with pytest.raises(UserError, match="does not describe a cluster of yours yet") as refusal:
        read_cluster_file(REPOSITORY / name)
    text = (REPOSITORY / name).read_text().splitlines()
    for line in str(refusal.value).splitlines()[1:]:
        if line.strip().startswith("line "):
            number, value = line.strip().removeprefix("line ").split(": ", 1)
            assert value.split()[0] in text[int(number) - 1] and "put in " in value


def test_an_example_in_a_comment_is_no_placeholder(tmp_path: Path) -> None:
    file = cluster_file(tmp_path)
    file.write_text(file.read_text() + "# head_ip: 192.0.2.10\nmax_workers: 0  # not 192.0.2.1\n")
    assert read_cluster_file(file).name == "lab"


def test_a_key_and_a_token_that_are_not_here_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    file = cluster_file(
        tmp_path, auth={"ssh_private_key": "~/.ssh/none"}, file_mounts={"~/.ray/auth_token": "~/.ray/auth_token"}
    )
    with pytest.raises(UserError) as refusal:
        read_cluster_file(file)
    assert "no ssh_private_key ~/.ssh/none" in str(refusal.value)
    assert "ray get-auth-token --generate" in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no file that `ray up` takes"),
        ("name: my-study\ncells: []\n", "the cluster's file first, then the study"),
        ("a: [", "is no YAML"),
        (None, "cannot be read"),
    ],
)
def test_another_kind_of_file_is_refused(tmp_path: Path, text: str | None, said: str) -> None:
    file = tmp_path / "cluster.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UserError, match=said):
        read_cluster_file(file)


def test_workers_over_ssh_are_started_by_the_autoscaler_that_can(tmp_path: Path) -> None:
    provider = {"type": "local", "head_ip": "10.1.2.3", "worker_ips": ["10.1.2.4"]}
    assert read_cluster_file(cluster_file(tmp_path, provider=provider)).advice.startswith(
        "RAY_UP_enable_autoscaler_v2=0"
    )
    assert read_cluster_file(cluster_file(tmp_path)).advice.startswith("ray up -y")


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({}, ("10.1.2.3", 22)),
        ({"auth": {"ssh_proxy_command": "ssh -W %h:%p gate"}}, None),
        ({"provider": {"type": "aws", "region": "us-west-2"}}, None),
    ],
)
def test_the_heads_address_is_known_where_the_file_says_it(
    tmp_path: Path, changes: dict[str, Any], place: tuple[str, int] | None
) -> None:
    assert read_cluster_file(cluster_file(tmp_path, **changes)).head == place


def test_a_head_that_does_not_answer_is_said_within_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        here = server.getsockname()
        monkeypatch.setattr(ClusterFile, "head", here)
        require_head(read_cluster_file(cluster_file(tmp_path)))
    with pytest.raises(UserError, match=r"the head node 127\.0\.0\.1 of .* cannot be reached .*refused.*head_ip"):
        require_head(read_cluster_file(cluster_file(tmp_path)))
