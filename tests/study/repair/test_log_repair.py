"""What the log has lost of a search trial is taken from the search's journal, and nothing else is logged."""

from pathlib import Path

from study.record.study_log import StudyLog
from study.repair.log_repair import log_ends
from study.search.journal_trials import SearchTrial
from trainers.config import TrialConfig

CONFIG = TrialConfig("Digits", "MLP", "bop").to_dict()
KNOWN = {
    "c-search-0000": SearchTrial("completed", {"val_accuracy": 0.5}, CONFIG),
    "c-search-0001": SearchTrial("pruned", {}, CONFIG),
    "c-search-0002": SearchTrial("running", {}, CONFIG),
    "c-search-0003": SearchTrial("failed", {}, None),
}


def test_ends_that_the_log_lacks_are_logged_once(tmp_path: Path) -> None:
    log = StudyLog(tmp_path / "log.jsonl")
    done = log_ends(log, KNOWN, tmp_path / "runs", {"c": {"method": "bop"}})
    assert done == ["c-search-0000", "c-search-0001"]
    trials = log.trials()
    assert {name: trial.outcome for name, trial in trials.items()} == {done[0]: "completed", done[1]: "pruned"}
    assert (trials[done[0]].metrics, trials[done[0]].method) == ({"val_accuracy": 0.5}, "bop")
    assert log_ends(log, KNOWN, tmp_path / "runs", {}) == []


def test_a_run_whose_end_is_logged_is_left_as_it_is(tmp_path: Path) -> None:
    log = StudyLog(tmp_path / "log.jsonl")
    origin = {"cell": "c", "phase": "search", "method": "bop", "config": CONFIG, "tags": {}}
    log.append("start", trial_id="c-search-0000", attempt=1, **origin)
    fields = {"metrics": {}, "reason": "", "rung": None, "device_seconds": None}
    log.append("end", trial_id="c-search-0000", outcome="diverged", **fields)
    assert log_ends(log, {"c-search-0000": KNOWN["c-search-0000"]}, tmp_path, {}) == []
