"""Ready-made views: what MLflow's runs page opens with when a printed link is followed.

MLflow keeps a page's state, which is shared by a link, in the experiment's tag `mlflow.sharedViewState.<key>`, and the
link names the key as `viewStateShareKey`. What holds in MLflow 3.17 (its front end's `useSharedExperimentViewState` and
`savedViewEnvelope`), and `tests/study/cli/test_pages_in_a_browser.py` sees in a browser:

- the tag's value is JSON: `name`, `createdAt` and `updatedAt` (milliseconds), and `state`, which is the state's JSON,
  plain or as `deflate;` and zlib's output in base64; with a name the page's menu of saved views lists it;
- a link that names the filter or the order itself is not given the state, so both stand in the state alone; whether the
  table or the charts are shown (`compareRunsMode=TABLE` or `CHART`) is the link's to say;
- `groupsExpanded` is taken; which runs are shown (`runsVisibilityMap`), pinned or unfolded is not: `runsHiddenMode` is;
- `columnOrder` names columns from the left, behind the run's name; others, as `Created`, follow them;
- a metric without a chart of its own is given one, in the section of its folder (`study.mlflow_export.metrics`);
- a chart's title is its metrics' names, whatever `displayName` says;
- a group's colour is a hash of what it is grouped by and its value. By the parameter `method` the project's own methods
  get colours that can be told apart; by the tag of that name real-Adam and BinSFO would get the same.
"""

import base64
import json
import re
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from study.mlflow_export.metrics import (
    DEVICE_SECONDS,
    FLIP_RATE,
    LEARNING_RATE,
    PEAK_MEMORY,
    STATE_BITS,
    TEMPERATURE,
    TEST_ACCURACY,
    TRAIN_LOSS,
    VALIDATION_ACCURACY,
)
from study.mlflow_export.pages import REPRESENTS, Workload

TAG = "mlflow.sharedViewState."
ANSWER, LEARNING, REST = "Accuracy and memory", "Learning", ("memory", "details", "Model metrics", "System metrics")
"""The sections of the chart page; the last ones hold what has no chart here, folded."""


class View(NamedTuple):
    """A view of one workload.

    Attributes:
        key: names it in tags and links.
        workload: of what.
        name: how MLflow's menu of saved views calls it.
        state: the page's, as MLflow keeps it.
    """

    key: str
    workload: Workload
    name: str
    state: Mapping[str, Any]

    def tag(self, began: float) -> tuple[str, str]:
        """The experiment's tag that holds it, and its value; `began` is the study's first second, and so stays."""
        at = int(began * 1000)
        packed = base64.b64encode(zlib.compress(json.dumps(self.state, separators=(",", ":")).encode(), 9)).decode()
        content = {"name": self.name, "createdAt": at, "updatedAt": at, "state": f"deflate;{packed}"}
        return TAG + self.key, json.dumps(content, separators=(",", ":"))


def views(workloads: Iterable[Workload]) -> list[View]:
    """One view of each workload: of its confirmed runs, or of its completed trials while nothing is confirmed."""
    return [view_of(workload) for workload in workloads]


def view_of(workload: Workload) -> View:
    """The view of one workload: runs grouped by method, the best first; charts show methods, of a search its runs."""
    where, phase = f"{workload.dataset}, {workload.model}", "confirmed runs" if workload.confirmed else "trials"
    # By validation while the test set is closed.
    best = TEST_ACCURACY if workload.confirmed else VALIDATION_ACCURACY
    widths = {_param("method"): 100, _param("seed"): 60, **{_metric(name): width for name, width in _COLUMNS.items()}}
    columns = list(widths)
    state = {
        "searchFilter": _filter(workload),
        "orderByKey": _metric(best),
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": columns,
        "columnOrder": columns,
        "columnWidths": widths,
        "runsHiddenMode": "SHOW_ALL",
        "groupBy": {"aggregateFunction": "average", "groupByKeys": [{"mode": "param", "groupByData": "method"}]},
        "groupsExpanded": {f"param.method.{method}": True for method in workload.methods},
        # Means over the seeds of one configuration; a mean over a search's trials would say nothing.
        "useGroupedValuesInCharts": workload.confirmed,
        "hideEmptyCharts": True,
        "isAccordionReordered": True,
        "compareRunSections": _sections(),
        "compareRunCharts": _charts(best),
    }
    return View(view_key(workload), workload, f"{where}: accuracy and memory of {phase}", state)


def view_key(workload: Workload) -> str:
    """The key of a workload's view, which stays when its runs are confirmed.

    >>> view_key(Workload("CIFAR-10", "VGG small", (), True))
    'CIFAR-10-VGG-small'
    """
    return re.sub(r"[^A-Za-z0-9_.]+", "-", f"{workload.dataset}-{workload.model}").strip("-")


_COLUMNS = {VALIDATION_ACCURACY: 110, TEST_ACCURACY: 130, PEAK_MEMORY: 130, STATE_BITS: 155, DEVICE_SECONDS: 120}
"""The metrics of the table, and how many pixels each takes."""


def _filter(workload: Workload) -> str:
    """MLflow's search for the runs of a workload that are compared."""
    equal = {"dataset": workload.dataset, "model": workload.model}
    equal["phase"] = "confirm" if workload.confirmed else "search"
    if workload.confirmed:
        equal[REPRESENTS] = "true"
    terms = [f"tags.{name} = {_quoted(value)}" for name, value in equal.items()]
    return " and ".join([*terms, 'attributes.status = "FINISHED"'])


def _quoted(text: str) -> str:
    """A text in a search, in the quotation marks that it does not hold: MLflow knows no way to write those within."""
    return f"'{text}'" if '"' in text else f'"{text}"'


def _param(name: str) -> str:
    return f"params.`{name}`"


def _metric(name: str) -> str:
    return f"metrics.`{name}`"


def _sections() -> list[dict[str, Any]]:
    shown = [(ANSWER, True), (LEARNING, True), *((name, False) for name in REST)]
    return [
        {"uuid": name, "name": name, "display": display, "isReordered": True, "deleted": False, "isGenerated": False}
        for name, display in shown
    ]


def _charts(best: str) -> list[dict[str, Any]]:
    """The charts in their order; `best` is the accuracy that methods are compared by."""
    return [
        _scatter(PEAK_MEMORY, best),
        _bar(best),
        _bar(PEAK_MEMORY),
        _scatter(STATE_BITS, best),
        _bar(DEVICE_SECONDS),
        *map(_line, (VALIDATION_ACCURACY, TRAIN_LOSS, FLIP_RATE, TEMPERATURE, LEARNING_RATE)),
    ]


def _card(kind: str, uuid: str, section: str, **more: Any) -> dict[str, Any]:
    known = {"type": kind, "uuid": uuid, "metricSectionId": section, "runsCountToCompare": 100}
    return {**known, "deleted": False, "isGenerated": False, **more}


def _scatter(x: str, y: str) -> dict[str, Any]:
    axes = {axis: {"key": key, "type": "METRIC", "dataAccessKey": key} for axis, key in (("xaxis", x), ("yaxis", y))}
    return _card("SCATTER", f"{y} against {x}", ANSWER, **axes)


def _bar(metric: str) -> dict[str, Any]:
    return _card("BAR", f"{metric} by method", ANSWER, metricKey=metric, dataAccessKey=metric)


def _line(metric: str) -> dict[str, Any]:
    what = {"metricKey": metric, "selectedMetricKeys": [metric], "yAxisKey": "metric", "yAxisExpressions": []}
    axes = {"xAxisKey": "step", "selectedXAxisMetricKey": "", "xAxisScaleType": "linear", "scaleType": "linear"}
    common = {"useGlobalXaxisKey": True, "useGlobalLineSmoothing": True, "lineSmoothness": 0}
    return _card("LINE", f"{metric} over epochs", LEARNING, range={}, ignoreOutliers=False, **what, **axes, **common)
