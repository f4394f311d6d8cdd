"""Optuna's tables in a PostgreSQL show what the journal says, whatever is there already."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from study.mlflow_export.store import open_store
from study.record.postgres import client_uri
from study.search.optuna_export import OptunaExporter, Owner, search_name
from tests.postgres_server import Postgres
from trainers.errors import UserError

pytestmark = pytest.mark.integration

CELL = "Digits-MLP-bop"


@pytest.fixture
def uri(postgres: Postgres, request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty database of the test's own."""
    engine = create_engine(client_uri(postgres.uri), isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text("DROP DATABASE IF EXISTS one_test WITH (FORCE)"))
        connection.execute(text("CREATE DATABASE one_test"))
    yield postgres.uri.replace("/studies", "/one_test")
    with engine.connect() as connection:
        connection.execute(text("DROP DATABASE one_test WITH (FORCE)"))


def searched(folder: Path) -> optuna.Study:
    """A search in a folder's journal, as its command has it open."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = JournalStorage(JournalFileBackend(str(folder / "optuna.journal")))
    return optuna.create_study(storage=storage, study_name=CELL, direction="maximize", load_if_exists=True)


def ask(study: optuna.Study, epochs: int = 3) -> optuna.Trial:
    """A trial that runs: it has its settings, its note and some epochs."""
    trial = study.ask()
    lr = trial.suggest_float("lr", 1e-5, 1.0, log=True)
    trial.suggest_categorical("mask_type", ["EWM", "MEM"])
    trial.set_user_attr("config", "{}")
    for epoch in range(1, epochs + 1):
        trial.report(lr / epoch, epoch)
    return trial


def facts(study: optuna.Study) -> list[Any]:
    return [
        (one.number, one.state, one.params, one.distributions, one.values, one.intermediate_values, one.user_attrs)
        for one in study.trials
    ]


def shown(uri: str, owner: Owner) -> optuna.Study:
    """What Optuna's own tools find."""
    return optuna.load_study(study_name=search_name(owner, CELL), storage=client_uri(uri, "optuna"))


def test_it_shows_what_the_journal_says_as_it_comes_about(tmp_path: Path, uri: str) -> None:
    owner, study = Owner("quickstart", "1" * 32), searched(tmp_path)
    exporter = OptunaExporter(tmp_path / "optuna.journal", uri, owner)
    first, second = ask(study, epochs=1), study.ask()
    assert exporter.update() == 2
    first.report(0.25, 2)
    second.suggest_float("lr", 1e-5, 1.0, log=True)
    assert exporter.update() == 2 and facts(shown(uri, owner)) == facts(study)
    study.tell(first, 0.5)
    study.tell(second, state=optuna.trial.TrialState.FAIL)
    study.set_user_attr("side_by_side", 2)
    third = ask(study)
    third.set_constraint("memory", 1.0)
    study.tell(third, state=optuna.trial.TrialState.PRUNED)
    exporter.update()
    assert facts(shown(uri, owner)) == facts(study)
    assert shown(uri, owner).trials[2].system_attrs == study.trials[2].system_attrs
    assert shown(uri, owner).user_attrs["side_by_side"] == 2 and shown(uri, owner).user_attrs["cell"] == CELL
    assert exporter.update() == 0
    assert OptunaExporter(tmp_path / "optuna.journal", uri, owner).update() == 0, "a second delivery has nothing to do"


def test_a_delivery_goes_on_where_a_killed_one_left_off(tmp_path: Path, uri: str) -> None:
    owner, study = Owner("quickstart", "2" * 32), searched(tmp_path)
    running = ask(study, epochs=1)
    OptunaExporter(tmp_path / "optuna.journal", uri, owner).update()
    running.report(0.5, 2)
    study.tell(running, 0.5)
    study.tell(ask(study), 0.25)
    assert OptunaExporter(tmp_path / "optuna.journal", uri, owner).update() == 2
    assert facts(shown(uri, owner)) == facts(study)


def test_a_search_that_went_on_from_an_older_copy_is_made_again(tmp_path: Path, uri: str) -> None:
    owner, study = Owner("quickstart", "3" * 32), searched(tmp_path)
    study.tell(ask(study), 0.5)
    shutil.copytree(tmp_path, tmp_path / "older")
    study.tell(ask(study), 0.6)
    OptunaExporter(tmp_path / "optuna.journal", uri, owner).update()
    other = searched(tmp_path / "older")
    other.tell(ask(other), 0.7)
    OptunaExporter(tmp_path / "older" / "optuna.journal", uri, owner).update()
    assert facts(shown(uri, owner)) == facts(other)


def test_eight_studies_that_make_and_fill_the_tables_at_once_are_all_there(tmp_path: Path, uri: str) -> None:
    """Each makes MLflow's tables and Optuna's where they are not there, and writes eight trials, all side by side."""
    owners = [Owner(f"study-{number}", str(number) * 32) for number in range(8)]

    def deliver(owner: Owner) -> list[Any]:
        folder = tmp_path / owner.study
        folder.mkdir()
        study = searched(folder)
        open_store(uri, make=True).create_experiment(owner.study)
        exporter = OptunaExporter(folder / "optuna.journal", uri, owner)
        running = []
        for _ in range(8):
            running.append(ask(study))
            exporter.update()
        for trial in running:
            study.tell(trial, 0.5)
        exporter.update()
        exporter.close()
        return facts(study)

    with ThreadPoolExecutor(8) as pool:
        own = list(pool.map(deliver, owners))
    assert [facts(shown(uri, owner)) for owner in owners] == own
    names = {experiment.name for experiment in open_store(uri, make=False).search_experiments()}
    assert {owner.study for owner in owners} <= names


def test_a_database_that_is_not_there_is_one_line(postgres: Postgres, tmp_path: Path) -> None:
    nowhere = postgres.uri.replace("/studies", "/nowhere")
    with pytest.raises(UserError, match=rf"the database {nowhere} cannot be used .*does not exist"):
        OptunaExporter(tmp_path / "optuna.journal", nowhere, Owner("s", "4" * 32))
    with pytest.raises(UserError, match=r"cannot be used .*does not exist"):
        open_store(nowhere, make=True)
