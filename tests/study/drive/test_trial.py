"""A trial tells how it ended by one last report, and never raises."""

from pathlib import Path

from study.define.trial_spec import trial_spec
from study.define.workload import expected_data, workloads_of
from study.drive.trial import ended
from study.record.outcomes import ALL_ALIKE, ending
from tests.study.define.test_workload import digits


def test_a_trial_on_other_data_than_its_study_began_with_is_not_over_and_no_other_is_begun(tmp_path: Path) -> None:
    (cell, *_) = digits(tmp_path)
    known = {**expected_data(workloads_of([cell])[cell.name]), "data": "0" * 64}
    spec = trial_spec("t", "search", "binary", cell.base, tmp_path / "run", expected_data=known)
    reports: list[dict[str, object]] = []
    last = ended(spec, reports.append)
    assert last["outcome"] == "data_changed" and not reports and "are not those" in last["reason"]
    assert not ending(last).over and ending(last).outcome in ALL_ALIKE
