"""What MLflow is to show is a function of the log, and every page of it carries the study's own id."""

import json
from typing import Any

from study.mlflow_export.pages import LONGEST_TAG, Key, Pages, Workload
from tests.study.recorded_study import ORIGIN
from trainers.config import TrialConfig

CELL = "Digits-MLP-bop"
CONFIG = TrialConfig("Digits", "MLP", "bop", epochs=3).to_dict()
SWEEP, RUN = Key("sweep", CELL), Key("trial", "a")


def pages(*events: dict[str, Any]) -> Pages:
    """Pages after these events, one second apart."""
    made = Pages("fresh", "i" * 32)
    for at, event in enumerate(events):
        made.add({"at": float(at), **event})
    return made


def start(**changes: Any) -> dict[str, Any]:
    fields = {"cell": CELL, "phase": "search", "method": "bop", "config": CONFIG, "tags": {"rank": "1"}, "attempt": 1}
    return {"event": "start", "trial_id": "a", **fields, **changes}


def epoch(number: int, **metrics: float) -> dict[str, Any]:
    return {"event": "epoch", "trial_id": "a", "epoch": number, "metrics": metrics, "device_seconds": 1.5 * number}


def end(outcome: str = "completed", **metrics: float) -> dict[str, Any]:
    fields = {"outcome": outcome, "metrics": metrics, "reason": "", "rung": None, "device_seconds": 4.5}
    return {"event": "end", "trial_id": "a", **fields}


SESSION = {"event": "session", **ORIGIN}
OPENED = {"event": "sweep", "cell": CELL, "tags": {"method": "bop"}, "params": {"lr": 1, "depth": None, "trials": 12}}


def test_a_run_is_shown_with_what_it_reads_what_it_used_and_where_it_comes_from() -> None:
    page = pages(SESSION, OPENED, start(), epoch(1, train_loss=1.0), end(test_accuracy=0.5)).page(RUN)
    assert page.tags["study_id"] == "i" * 32 and page.tags["trial_id"] == "a" and page.tags["run_kind"] == "trial"
    assert page.tags["rank"] == page.tags["attempts"] == page.tags["epochs_used"] == "1"
    assert page.tags["device_seconds"] == "4.5" and page.tags["git_commit"] == ORIGIN["git_commit"]
    assert (page.parent, page.status, page.began, page.ended, page.epoch) == (CELL, "FINISHED", 2.0, 4.0, 1)
    assert page.final == {"train_loss": 1.0, "test_accuracy": 0.5, "device_seconds": 4.5}


def test_a_parameter_is_one_that_the_runs_method_or_model_reads_and_has_a_value() -> None:
    params = pages(start()).page(RUN).params
    assert params["method"] == "bop"
    assert {"dataset", "model", "seed", "lr", "bop_threshold", "hid_dim"} <= params.keys()
    assert not {"mask_type", "temperature", "inertia_bits", "optimizer", "freeze_num"} & params.keys()
    assert params["lr"] == str(CONFIG["lr"])
    nothing = {name for name, value in CONFIG.items() if value is None}
    assert nothing and not nothing & params.keys()
    assert not {"none", "None"} & {params[name] for name in params if isinstance(CONFIG.get(name), (int, float))}


def test_a_sweep_is_shown_as_it_was_opened_last_and_ended_last() -> None:
    made = pages(SESSION, OPENED, {"event": "sweep_end", "cell": CELL, "tags": {"range_edges": "e"}}, OPENED)
    page = made.page(SWEEP)
    assert page.params == {"lr": "1", "trials": "12"}
    assert (page.status, page.ended, page.tags["range_edges"]) == ("RUNNING", None, "e")
    made.add({"at": 9.0, "event": "sweep_end", "cell": CELL, "tags": {"status": "interrupted"}})
    assert (made.page(SWEEP).status, made.page(SWEEP).ended) == ("KILLED", 9.0)
    assert list(made.keys()) == [SWEEP]


def test_a_run_that_stopped_says_why_and_runs_again_when_it_is_started_again() -> None:
    stopped = {"event": "attempt_end", "trial_id": "a", "how": "died", "reason": "so", "device_seconds": None}
    made = pages(SESSION, start(cell=None), stopped)
    page = made.page(RUN)
    assert (page.parent, page.status, page.tags["status"], page.tags["reason"]) == (
        None, "KILLED", "interrupted", "died: so",
    )  # fmt: skip
    made.add({"at": 5.0, **start(attempt=2)})
    again = made.page(RUN)
    assert (again.status, again.ended, again.tags["reason"], again.tags["attempts"]) == ("RUNNING", None, "", "2")


def test_what_no_database_holds_is_left_out_and_said() -> None:
    page = pages(start(cell=None), epoch(1, train_loss=float("nan"), lr=0.1)).page(RUN)
    assert page.final == {"learning_rate": 0.1}
    assert page.tags["non_finite"] == "train_loss at step 1"


def test_a_text_that_mlflow_would_refuse_is_cut() -> None:
    page = pages(start(cell=None, tags={"long": "x" * 10000})).page(RUN)
    assert len(page.tags["long"]) == LONGEST_TAG


def test_an_event_of_a_run_or_sweep_whose_beginning_is_lost_is_passed_over() -> None:
    made = pages(SESSION, epoch(1), end(), {"event": "sweep_end", "cell": CELL, "tags": {}}, start())
    assert list(made.keys()) == [RUN]
    assert made.page(RUN).parent is None


def test_a_run_names_the_data_that_it_read_by_their_fingerprints() -> None:
    workload = {"data": "f" * 64, "test_set": "e" * 16, "train_images": 10, "test_images": 3}
    opened = {**OPENED, "tags": {"method": "bop", "dataset": "Digits", "workload": json.dumps(workload)}}
    tested = {"event": "test_opened", "trial_id": "a", "forced": False, "accuracy": 0.5}
    made = pages(SESSION, opened, start())
    (training,) = made.page(RUN).data
    assert (training.name, training.digest, training.use) == ("Digits", "f" * 12, "training")
    assert training.profile == {"fingerprint": "f" * 64, "train_images": 10}
    assert made.page(SWEEP).data == (training,)
    made.add({"at": 9.0, **tested})
    assert [(one.name, one.use, one.profile["test_images"]) for one in made.page(RUN).data[1:]] == [
        ("Digits test", "test", 3)
    ]
    assert pages(SESSION, OPENED, start()).page(RUN).data == (), "a study of before hashes were recorded"


def test_a_workload_is_confirmed_once_a_confirmation_of_it_completed() -> None:
    other = start(trial_id="b", config={**CONFIG, "dataset": "MNIST"}, cell=None)
    assert pages(start(), other).workloads() == [
        Workload("Digits", "MLP", ("bop",), False),
        Workload("MNIST", "MLP", ("bop",), False),
    ]
    assert [one.confirmed for one in pages(start(phase="confirm"), end("failed"), other).workloads()] == [False, False]
    assert [one.confirmed for one in pages(start(phase="confirm"), end(), other).workloads()] == [True, False]


def test_the_configuration_that_stands_for_its_method_is_marked_whichever_was_confirmed_first() -> None:
    def confirmed(number: int, seed: int, accuracy: float) -> list[dict[str, Any]]:
        name = f"{CELL}-confirm-{number:04d}-s{seed}"
        began = start(trial_id=name, phase="confirm", config={**CONFIG, "seed": seed})
        measured = {**epoch(1, val_accuracy=accuracy), "trial_id": name}
        return [began, measured, {**end(), "trial_id": name}]

    made = pages(SESSION, OPENED, *confirmed(1, 11, 0.8), *confirmed(1, 12, 0.8))

    def marks() -> dict[str, str]:
        found = {key.name: made.page(key).tags["represents_method"] for key in made.keys() if key.kind == "trial"}  # noqa: SIM118 (not a dict)
        return {name.partition("-confirm-")[2]: mark for name, mark in found.items()}

    assert marks() == {"0001-s11": "true", "0001-s12": "true"}
    for event in confirmed(2, 11, 0.9):
        changed = made.add({"at": 20.0, **event})
    assert marks() == {"0001-s11": "true", "0001-s12": "true", "0002-s11": "false"}, "it has fewer seeds"
    for event in confirmed(2, 12, 0.9):
        changed = made.add({"at": 21.0, **event})
    assert marks() == {"0001-s11": "false", "0001-s12": "false", "0002-s11": "true", "0002-s12": "true"}
    assert len(changed) == 4, "all of them are shown anew"
