"""Machines that a cluster's file names and that have not joined are named, each with what to look at."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from study.drive.expected_nodes import BOOTSTRAP, absent_workers

LOCAL = {"provider": {"type": "local", "worker_ips": ["10.1.2.4", "10.1.2.5"]}, "auth": {"ssh_user": "lab"}}


def test_a_machine_that_has_not_joined_is_named_with_how_to_reach_it(tmp_path: Path) -> None:
    (tmp_path / BOOTSTRAP).write_text(yaml.safe_dump(LOCAL))
    (line,) = absent_workers({"10.1.2.3", "10.1.2.4"}, tmp_path)
    assert line.startswith("10.1.2.5: has not joined the cluster;") and "lab@10.1.2.5" in line and "\n" not in line
    assert absent_workers({"10.1.2.4", "10.1.2.5"}, tmp_path) == []


@pytest.mark.parametrize(
    "content",
    [
        None,
        "[",
        "[]",
        {**LOCAL, "provider": {"type": "aws"}},
        {**LOCAL, "provider": {"type": "local", "worker_ips": None}},
    ],
)
def test_off_a_head_node_and_in_a_cloud_nobody_is_missed(tmp_path: Path, content: Any) -> None:
    if content is not None:
        (tmp_path / BOOTSTRAP).write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    assert absent_workers(set(), tmp_path) == []
