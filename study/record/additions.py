"""What was added to a study after test accuracies had been seen (PROTOCOL §4.7).

More seeds, trials or methods are welcome, and whoever adds them because of what came out chooses by the test set. So
each addition is disclosed with its date and with how much was known by then.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Additions:
    """Reads a log's events in order, and notes what was offered after a workload's test set had been opened.

    Attributes:
        found: by cell, each addition as plain values: `at` (seconds since 1970), `what`, and `known`, how many test
            accuracies of the workload had been seen.
    """

    found: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    _offered: dict[str, dict[str, Any]] = field(default_factory=dict)
    _workload_of: dict[str, tuple[str, str]] = field(default_factory=dict)
    _opened: dict[tuple[str, str], int] = field(default_factory=dict)
    _runs: dict[str, str] = field(default_factory=dict)

    def read(self, event: Mapping[str, Any]) -> None:
        """Take one event."""
        if event["event"] == "start" and event["cell"] is not None:
            self._runs[event["trial_id"]] = event["cell"]
        elif event["event"] == "test_opened":
            workload = self._workload_of.get(self._runs.get(event["trial_id"], ""))
            if workload is not None:
                self._opened[workload] = self._opened.get(workload, 0) + 1
        elif event["event"] == "sweep":
            self._read_sweep(event)

    def _read_sweep(self, event: Mapping[str, Any]) -> None:
        cell, tags = event["cell"], event["tags"]
        workload = (tags.get("dataset", ""), tags.get("model", ""))
        self._workload_of[cell] = workload
        try:
            now = json.loads(tags.get("offered") or "{}")
        except ValueError:
            now = {}
        before, self._offered[cell] = self._offered.get(cell), now
        known = self._opened.get(workload, 0)
        if not known:
            return
        new = f"search repeat {tags['repeat']}" if "repeat" in tags else "the method"
        for what in [new] if before is None else _grown(before, now):
            self.found.setdefault(cell, []).append({"at": event["at"], "what": what, "known": known})


def _grown(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, words in (("trials", "search trials"), ("k", "configurations confirmed")):
        if now.get(name, 0) > before.get(name, 0):
            lines.append(f"{words}: {now[name]} instead of {before.get(name, 0)}")
    if more := sorted(set(now.get("seeds", ())).difference(before.get("seeds", ()))):
        lines.append(f"confirmation seeds {', '.join(map(str, more))}")
    return lines
