"""How busy a study of many cells keeps its machine: simulated trials of varied lengths, on more places than CPUs.

    python -m benchmarks.busy

The study is real but for its trials, which train nothing and take no CPU: each waits for a time of its own, of the mean
that is asked for and drawn from an exponential distribution by the trial's configuration, then reports a synthetic
curve. Ray is told of `--places` CPUs, so that as many run at once. The *busy share* is

    (time that trials ran, summed)  /  (places x time)

from when all places were first taken to the start of the last search trial, so that something waits all the while. Left
out are the ramp-up and the tail, in which a cell's confirmation waits for its own search, whose last trial may be a
long one; the share up to the last start of all is said beside it.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from typing import Any

DATASETS = ("Digits", "MNIST", "CIFAR10", "CIFAR100", "Caltech101", "Caltech256", "OxfordFlowers", "OxfordPets")
MODELS = ("MLP", "RealHeadMLP")

# The method of the trials, as the plug-in that it is: what asks for its learning curve waits meanwhile.
PACED = """
import random, time
from trainers.method import SimulatedCurve
from trainers.methods import LayerRule, Look, Method, Range, Setting

class Kept(LayerRule):
    def update(self, rows, positive, grad):
        return positive

def waits(config):
    drawn = random.Random(config.fingerprint()).expovariate(1 / config.mean_seconds)
    time.sleep(min(drawn, 5 * config.mean_seconds))
    return [(config.rate, 0.03)]

METHOD = Method(
    name="paced", help="waits instead of training", layer_rule=Kept,
    settings=(
        Setting("rate", float, "searched", 0.03, "nuisance", above=0),
        Setting("mean_seconds", float, "of a trial", 4.0, "workload", above=0),
    ),
    space={"rate": Range(0.001, 1.0)}, simulated=SimulatedCurve({"paced": 0.9}, waits),
    looks={"paced": Look("#777777", "o")},
)
"""


@dataclass(frozen=True)
class Busy:
    """How a study used its places.

    Attributes:
        places: how many there were.
        runs: trials and confirmations.
        seconds: from the first start to the last end.
        window: the seconds from when all places were first taken to the start of the last search trial.
        share: of the places' time in the window, that in which a run had it.
        to_last_start: the same up to the last start of all, a confirmation's.
        idle_before_confirm: seconds between the end of a cell's search and the start of its confirmation, the mean.
    """

    places: int
    runs: int
    seconds: float
    window: float
    share: float
    to_last_start: float
    idle_before_confirm: float


def busy(events: Iterable[Mapping[str, Any]], places: int) -> Busy:
    """What a study's log says of its places; it must have filled them once."""
    began: dict[str, float] = {}
    spans: list[tuple[float, float, str]] = []
    for event in events:
        if event["event"] == "start":
            began[event["trial_id"]] = float(event["at"])
        elif event["event"] in ("end", "attempt_end"):
            spans.append((began[event["trial_id"]], float(event["at"]), event["trial_id"]))
    full = _first_full([(start, end) for start, end, _ in spans], places)

    def share(until: float) -> float:
        taken = sum(max(0.0, min(end, until) - max(start, full)) for start, end, _ in spans)
        return taken / (places * (until - full))

    last_search = max(start for start, _, name in spans if "-search-" in name)
    waited = []
    for cell in {name.partition("-confirm-")[0] for _, _, name in spans if "-confirm-" in name}:
        searched = max(end for _, end, name in spans if name.startswith(f"{cell}-search-"))
        waited.append(min(start for start, _, name in spans if name.startswith(f"{cell}-confirm-")) - searched)
    whole = max(end for _, end, _ in spans) - min(start for start, _, _ in spans)
    mean_wait = sum(waited) / len(waited) if waited else 0.0
    last = max(start for start, _, _ in spans)
    return Busy(places, len(spans), whole, last_search - full, share(last_search), share(last), mean_wait)


def _first_full(spans: Sequence[tuple[float, float]], places: int) -> float:
    """When as many runs as there are places first ran at once.

    Raises:
        ValueError: they never did.
    """
    changes = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    running = 0
    for at, change in changes:
        running += change
        if running >= places:
            return at
    raise ValueError(f"the study never ran {places} runs at once; give it more trials or fewer places")


def measure(places: int, cells: int, trials: int, mean_seconds: float, folder: Path) -> Busy:
    """Run one simulated study in `folder`, and read from its log how busy it kept its places."""
    import study
    from study.drive.cluster import connect

    plugin = folder / "paced.py"
    plugin.write_text(PACED)
    chosen = islice(product(MODELS, DATASETS), cells)
    content = {
        "name": "busy",
        "cells": [{"datasets": [data], "models": [model], "methods": ["paced"]} for model, data in chosen],
        "fixed": {"hid_dim": 16, "depth": 2, "epochs": 2, "mean_seconds": mean_seconds},
        "search": {"trials": trials, "asha": False},
        "confirm": {"k": 1, "seeds": [11, 12]},
    }
    connect(num_cpus=places)
    study.run(content, simulate=True, plugins=[plugin], output=folder / "study", quiet=True)
    lines = (folder / "study" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return busy(map(json.loads, lines), places)


def main(arguments: list[str] | None = None) -> int:
    """Measure one study and print what it comes to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.busy", description=__doc__.splitlines()[0])
    parser.add_argument("--places", type=int, default=8, metavar="N", help="trials at once (default: 8)")
    parser.add_argument("--cells", type=int, default=12, metavar="N", help=f"at most {len(DATASETS) * len(MODELS)}")
    parser.add_argument("--trials", type=int, default=8, metavar="N", help="of each cell's search (default: 8)")
    parser.add_argument("--seconds", type=float, default=4.0, metavar="S", help="of a trial, the mean (default: 4)")
    options = parser.parse_args(arguments)
    if not 1 <= options.cells <= len(DATASETS) * len(MODELS):
        parser.error(f"--cells must be 1 to {len(DATASETS) * len(MODELS)}")
    with tempfile.TemporaryDirectory(prefix="busy-") as folder:
        found = measure(options.places, options.cells, options.trials, options.seconds, Path(folder))
    print(
        f"{found.runs} runs of {options.cells} cells on {found.places} places in {found.seconds:.1f} s: "
        f"{100 * found.share:.1f} % busy over the {found.window:.1f} s in which trials waited, "
        f"{100 * found.to_last_start:.1f} % up to the last start; a confirmation began "
        f"{found.idle_before_confirm:.1f} s after its search"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
