"""Says when a node of a joined cluster is gone and when one joins; Ray goes on without a word.

What ran on a node that is gone goes on elsewhere, once a minute or so has shown that it does not answer; a run whose
workers the other nodes cannot hold waits until one joins.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import ray
from ray.tune import Callback
from ray.tune.experiment import Trial

from study.drive.nodes import living_nodes
from study.record.terminal import say

# Seconds between looks. One look is a question to the cluster's server, which answers within milliseconds.
INTERVAL = 5.0


def _words(node: Mapping[str, Any]) -> str:
    return f"{node['NodeManagerHostname']} at {node['NodeManagerAddress']}, {node['Resources']['CPU']:g} CPUs"


def _living() -> dict[str, str]:
    """The nodes that may run trials, by Ray's id of each, in words."""
    return {node["NodeID"]: _words(node) for node in living_nodes()}


class NodeWatch(Callback):
    """Looks at the nodes in between the steps of a study.

    Args:
        look: gives the nodes that live, by id, in words.
        now: the time in seconds.
    """

    def __init__(
        self, look: Callable[[], Mapping[str, str]] = _living, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._look, self._now = look, now
        self._known = dict(look())
        self._next_look = now() + INTERVAL

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        if self._now() < self._next_look:
            return
        living = self._known
        with suppress(RuntimeError, OSError, ray.exceptions.RayError):  # no answer: `study.drive.ray_watch` sees to it
            living = dict(self._look())
        for node, words in self._known.items():
            if node not in living:
                say(
                    f"node {words}, is gone: what ran there goes on elsewhere from its last epoch, or waits for a node "
                    "with room",
                    important=True,
                )
        for node, words in living.items():
            if node not in self._known:
                say(f"node {words}, has joined", important=True)
        self._known, self._next_look = living, self._now() + INTERVAL
