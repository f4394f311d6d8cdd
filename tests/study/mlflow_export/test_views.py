"""A view is a tag that MLflow's front end reads: its runs, its order, its columns and its charts."""

import base64
import json
import zlib
from typing import Any

import pytest

from study.mlflow_export.metrics import DEVICE_SECONDS, SHOWN
from study.mlflow_export.pages import Workload
from study.mlflow_export.views import TAG, view_key, view_of, views

LONGEST_EXPERIMENT_TAG = 5000  # of MLflow's before 3.9; by now it is 20000
CONFIRMED = Workload("Digits", "MLP", ("binary", "real-Adam"), confirmed=True)


def opened(value: str) -> dict[str, Any]:
    """A tag's state, read as MLflow's front end reads it."""
    packed = json.loads(value)["state"]
    assert packed.startswith("deflate;")
    state: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(packed.removeprefix("deflate;"))))
    return state


def test_a_view_travels_whole_in_a_tag_that_mlflow_takes() -> None:
    view = view_of(CONFIRMED)
    name, value = view.tag(12.5)
    assert name == TAG + view_key(CONFIRMED) == "mlflow.sharedViewState.Digits-MLP"
    assert opened(value) == view.state
    assert {key: json.loads(value)[key] for key in ("createdAt", "updatedAt")} == {
        "createdAt": 12500,
        "updatedAt": 12500,
    }
    assert len(value) < LONGEST_EXPERIMENT_TAG
    assert view.tag(12.5) == (name, value), "the same study has the same view, whenever it is delivered"


def test_confirmed_runs_are_ordered_by_test_accuracy_and_trials_by_validation_accuracy() -> None:
    searched = view_of(CONFIRMED._replace(confirmed=False))
    assert view_of(CONFIRMED).state["orderByKey"] == "metrics.`test_accuracy`"
    assert searched.state["orderByKey"] == "metrics.`val_accuracy`"
    assert 'tags.phase = "confirm"' in view_of(CONFIRMED).state["searchFilter"]
    assert 'tags.phase = "search"' in searched.state["searchFilter"]
    assert 'tags.represents_method = "true"' in view_of(CONFIRMED).state["searchFilter"]
    assert "test_accuracy" not in json.dumps(searched.state["compareRunCharts"])
    assert not searched.state["useGroupedValuesInCharts"], "no mean over the trials of a search"


def test_the_table_shows_what_decides_in_order() -> None:
    state = view_of(CONFIRMED).state
    names = [column.split("`")[1] for column in state["columnOrder"]]
    assert names == [
        "method", "seed", "val_accuracy", "test_accuracy", "peak_memory_MiB", "state_bits_per_weight", "device_seconds",
    ]  # fmt: skip
    assert state["selectedColumns"] == state["columnOrder"]
    assert state["groupBy"]["groupByKeys"] == [{"mode": "param", "groupByData": "method"}]
    assert state["groupsExpanded"] == {"param.method.binary": True, "param.method.real-Adam": True}


def test_every_chart_is_of_a_metric_that_runs_have_and_in_a_section() -> None:
    state = view_of(CONFIRMED).state
    known = {entry.name for entry in SHOWN.values()} | {DEVICE_SECONDS}
    sections = {section["uuid"] for section in state["compareRunSections"]}
    kinds = []
    for chart in state["compareRunCharts"]:
        assert chart["metricSectionId"] in sections
        keys = (
            [chart[axis]["key"] for axis in ("xaxis", "yaxis")]
            if "xaxis" in chart and chart["type"] == "SCATTER"
            else [chart["metricKey"]]
        )
        assert set(keys) <= known
        kinds.append((chart["type"], *keys))
    assert kinds[0] == ("SCATTER", "peak_memory_MiB", "test_accuracy")
    assert {("BAR", "test_accuracy"), ("LINE", "val_accuracy"), ("LINE", "flip_rate"), ("LINE", "temperature")} <= set(
        kinds
    )
    assert len({chart["uuid"] for chart in state["compareRunCharts"]}) == len(kinds)


def test_metrics_in_folders_find_a_section_that_is_folded() -> None:
    folded = {section["name"] for section in view_of(CONFIRMED).state["compareRunSections"] if not section["display"]}
    assert {entry.name.partition("/")[0] for entry in SHOWN.values() if "/" in entry.name} <= folded


@pytest.mark.parametrize(
    ("dataset", "found"), [("it's", 'tags.dataset = "it\'s"'), ('say "x"', "tags.dataset = 'say \"x\"'")]
)
def test_a_name_with_quotation_marks_is_searched_for(dataset: str, found: str) -> None:
    assert found in view_of(CONFIRMED._replace(dataset=dataset)).state["searchFilter"]


def test_each_workload_has_a_view_of_its_own() -> None:
    made = views([CONFIRMED, CONFIRMED._replace(dataset="MNIST")])
    assert [view.key for view in made] == ["Digits-MLP", "MNIST-MLP"]
