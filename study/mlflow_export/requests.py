"""A run's epochs, settings, tags and data as MLflow's client takes them, in as few requests as its limits allow."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

from study.mlflow_export import metrics as named
from study.mlflow_export.pages import Data, finite
from study.mlflow_export.shown import REACHED

# MLflow takes so many entries in one request; an epoch's metrics are never split over two.
MOST_METRICS, MOST_PARAMS, MOST_TAGS = 800, 100, 99  # and the tag that says up to where a run is delivered


class Epoch(NamedTuple):
    """An epoch's metrics, and when they were logged in Unix seconds."""

    at: float
    number: int
    metrics: Mapping[str, float]


def epoch_of(event: Mapping[str, Any]) -> Epoch:
    return Epoch(float(event["at"]), int(event["epoch"]), event["metrics"])


def points_of(epoch: Epoch) -> list[Metric]:
    at = int(epoch.at * 1000)
    return [Metric(name, value, at, epoch.number) for name, value in named.shown(epoch.metrics) if finite(value)]


def input_of(data: Data) -> DatasetInput:
    """A data set as MLflow takes it; where it lies says nothing on another machine, so its source is its name."""
    source = json.dumps({"dataset": data.name})
    dataset = Dataset(data.name, data.digest, "local", source, profile=json.dumps(data.profile))
    return DatasetInput(dataset, [InputTag("mlflow.data.context", data.use)])


def requests(
    points: Sequence[Metric], params: Sequence[Param], tags: Sequence[RunTag], before: int, reached: int
) -> Iterator[dict[str, Any]]:
    """As few requests as MLflow's limits allow; each that holds epochs says up to where they are there by then.

    A store writes a request's tags after its metrics, and takes a point that it has already.
    """
    waiting = (_chunks(params, MOST_PARAMS), _chunks(tags, MOST_TAGS), list(_by_epoch(points)))
    number = max(*(len(some) for some in waiting), int(reached > before))
    for place in range(number):
        some: dict[str, Sequence[Any]] = {
            name: parts[place] if place < len(parts) else []
            for name, parts in zip(("params", "tags", "metrics"), waiting, strict=True)
        }
        last = reached if place == number - 1 else some["metrics"][-1].step if some["metrics"] else before
        if last > before:
            some["tags"], before = [*some["tags"], RunTag(REACHED, str(last))], last
        yield some


def _chunks(entries: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [entries[begin : begin + size] for begin in range(0, len(entries), size)]


def _by_epoch(points: Iterable[Metric]) -> Iterator[Sequence[Metric]]:
    """Points in portions that hold whole epochs; none where there are no points."""
    portion: list[Metric] = []
    epoch: list[Metric] = []
    for point in points:
        if epoch and point.step != epoch[-1].step:
            if len(portion) + len(epoch) > MOST_METRICS:
                yield portion
                portion = []
            portion, epoch = portion + epoch, []
        epoch.append(point)
    if len(portion) + len(epoch) > MOST_METRICS:
        yield portion
        portion = []
    if portion or epoch:
        yield portion + epoch
