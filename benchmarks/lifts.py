"""What fine-tuning by each method of a study gains, as tables: accuracy, lift over `frozen`, memory, bits a weight.

    python -m benchmarks.lifts STUDY        STUDY: a folder in which `python -m study compare` has left its verdicts

A data set whose methods are not all confirmed has the rows of those that are. A lift is a difference of mean test
accuracies; the difference from the baseline, with its interval and verdict, is the one that the study's protocol gives.
Below stands, of several data sets, what methods differ by on average (study/PROTOCOL.md §6.5).
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from study.compare.contrasts import BASELINE, CONTROL, LIFT, turned_kind
from study.record.file_names import VERDICTS_FILE

MIB = 2**20


def lines(verdicts: Mapping[str, Any]) -> Iterator[str]:
    """The table, in Markdown; best accuracy first within a data set."""
    yield "| data set | method | bits a weight | test accuracy, % | lift | minus baseline | peak, MiB | ratio |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for workload in verdicts["workloads"]:
        confirmed = [method for method in workload["methods"] if method["phase"] == "confirm"]
        control = [method for method in confirmed if method["method"] == CONTROL]
        confirmed.sort(key=lambda method: -method["test_accuracy"]["mean"])
        for method in confirmed:
            yield _row(workload["dataset"], method, control[0] if control else None)


def _row(dataset: str, method: Mapping[str, Any], control: Mapping[str, Any] | None) -> str:
    accuracy, difference, ratio = method["test_accuracy"], method["difference_points"], method["memory_ratio"]
    lift = (
        ""
        if control is None or method is control
        else f"{100 * (accuracy['mean'] - control['test_accuracy']['mean']):+.1f}"
    )
    against = "baseline" if difference is None else f"{_interval(difference, '+.1f')} {method['kind']}"
    cells = [
        dataset,
        f"`{method['label']}`",
        f"{fmean(method['by_seed']['state_bits_per_weight'].values()):.3g}",
        _interval({name: _percent(accuracy[name]) for name in ("mean", "low", "high")}, ".1f"),
        lift,
        against,
        f"{method['peak_memory_bytes']['mean'] / MIB:.1f}",
        "" if ratio is None else f"{ratio['mean']:.2f}",
    ]
    return "| " + " | ".join(cells) + " |"


def mean_lines(overall: Mapping[str, Any]) -> Iterator[str]:
    """The means over data sets, in Markdown: a table for the data sets that the same methods have."""
    by_sets: dict[tuple[str, ...], dict[str, dict[str, Mapping[str, Any]]]] = {}
    for one in overall["means"]:
        if one["sort"] in (BASELINE, LIFT):
            methods = by_sets.setdefault((one["model"], *one["by_dataset_points"]), {})
            methods.setdefault(one["method"], {})[one["sort"]] = one
            if one["sort"] == BASELINE and one["method"] == CONTROL:
                methods.setdefault(one["against"], {})[LIFT] = _turned_round(one)
    for (model, *datasets), methods in by_sets.items():
        yield ""
        yield f"| {model}, {', '.join(datasets)} | minus baseline | lift | ratio |"
        yield "| --- | ---: | ---: | ---: |"
        for method, own in methods.items():
            cells = [
                f"{_interval(own[sort]['difference_points'], '+.1f')} {own[sort]['kind']}" if sort in own else ""
                for sort in (BASELINE, LIFT)
            ]
            ratio = own.get(BASELINE, {}).get("memory_ratio")
            yield f"| `{method}` | {' | '.join(cells)} | {'' if ratio is None else f'{ratio:.2f}'} |"


def _turned_round(one: Mapping[str, Any]) -> Mapping[str, Any]:
    points = one["difference_points"]
    turned = {"mean": -points["mean"], "low": -points["high"], "high": -points["low"]}
    return {"difference_points": turned, "kind": turned_kind(one["kind"])}


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _interval(value: Mapping[str, float | None], form: str) -> str:
    """Mean and interval, as far as there are any: one seed gives none."""
    if value["mean"] is None:
        return "–"
    if value["low"] is None or value["high"] is None:
        return f"{value['mean']:{form}} [–]"
    return f"{value['mean']:{form}} [{value['low']:.1f}, {value['high']:.1f}]"


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 1:
        print("usage: python -m benchmarks.lifts STUDY", file=sys.stderr)
        return 2
    verdicts = json.loads((Path(arguments[0]) / VERDICTS_FILE).read_text())
    print("\n".join([*lines(verdicts), *mean_lines(verdicts["overall"] or {"means": []})]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
