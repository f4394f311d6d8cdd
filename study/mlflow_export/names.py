"""What MLflow's pages call runs, for people: the method first, since lists cut long names off at their end."""

import re
from collections.abc import Mapping
from typing import Any

from study.record.study_log import TrialRecord
from study.record.terminal import describe_recorded
from trainers.registry import METHODS

_SEARCHED = re.compile(r"-search-(\d+)$")
_CONFIRMED = re.compile(r"-confirm-(\d+)-s\d+$")


def run_name(trial: TrialRecord) -> str:
    """A run's name: what it tries and its trial's number in a search, otherwise its seed.

    A confirmation that is not of the search's best configuration has that trial's number too.
    """
    method = method_title(trial.method, trial.config)
    if found := _SEARCHED.search(trial.trial_id):
        return f"{' '.join([method, *_settings(trial.config)])} · trial {int(found[1])}"
    found = _CONFIRMED.search(trial.trial_id)
    if found and trial.tags.get("rank", "1") != "1":
        method += f" #{int(found[1])}"
    return f"{method} · seed {trial.config.get('seed')}"


def sweep_name(tags: Mapping[str, Any], cell: str) -> str:
    """A sweep's name: its method, and on what."""
    if not {"method", "dataset", "model"} <= tags.keys():
        return cell
    return f"{method_title(str(tags['method']), tags)} · {tags['dataset']} · {tags['model']}"


def method_title(label: str, settings: Mapping[str, Any]) -> str:
    """A method's label, or its variant's, with the algorithm called as people call it."""
    algorithm = str(settings.get("algorithm"))
    known = METHODS.all().get(algorithm)
    if known is None or not known.title or not re.match(rf"{re.escape(algorithm)}(-|$)", label):
        return label
    return known.title + label.removeprefix(algorithm)


def _settings(config: Mapping[str, Any]) -> list[str]:
    """The words that tell a trial from others of its search; none of a method that is not known here."""
    words = describe_recorded(config)
    if not words:
        return []
    variant = METHODS.named(str(config["algorithm"])).variant  # which stands in the method's own name already
    return [words.removeprefix(f"{config.get(variant)} ") if variant else words]
