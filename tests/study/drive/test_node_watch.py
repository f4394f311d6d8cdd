"""A node that is lost, or joins, in the middle of a study is said once."""

import pytest

from study.drive.node_watch import INTERVAL, NodeWatch

HEAD, TWO = {"a": "head at 10.0.0.1, 4 CPUs"}, "two at 10.0.0.2, 8 CPUs"
WORKER, NEXT = {"b": TWO}, {"c": TWO}  # a machine that comes back is another node to Ray


def test_a_node_that_is_lost_and_one_that_joins_are_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    nodes, seconds = {**HEAD, **WORKER}, 0.0
    watch = NodeWatch(lambda: nodes, lambda: seconds)
    said = []
    for living in ({**HEAD, **WORKER}, HEAD, HEAD, {**HEAD, **NEXT}, {**HEAD, **NEXT}):
        nodes = living
        seconds += INTERVAL
        watch.on_step_begin(0, [])
        said.append(capsys.readouterr().out.strip())
    assert said[1].startswith(f"node {TWO}, is gone: what ran there goes on elsewhere")
    assert said[3] == f"node {TWO}, has joined"
    assert said[0] == said[2] == said[4] == ""


def test_it_looks_once_in_an_interval_and_a_look_without_an_answer_says_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    looks, seconds = 0, 0.0

    def look() -> dict[str, str]:
        nonlocal looks
        looks += 1
        if looks > 1:
            raise RuntimeError("the cluster's server does not answer")
        return HEAD

    watch = NodeWatch(look, lambda: seconds)
    for seconds in (0.1 * INTERVAL, 0.9 * INTERVAL, 1.1 * INTERVAL, 1.9 * INTERVAL, 2.2 * INTERVAL):  # noqa: B007
        watch.on_step_begin(0, [])
    assert looks == 3 and capsys.readouterr().out == ""
