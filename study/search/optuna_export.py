"""Shows a study's searches in Optuna's own tables of a PostgreSQL, for Optuna's tools.

The search itself goes by the journal in the study's folder, and by nothing that stands here: the database may be away,
be lost or be somebody else's, and the search asks for the same configurations. What is shown is each search with its
settings, trials, epochs and outcomes, numbered as in the journal, while they run:

    optuna.load_study(study_name="quickstart/Digits-MLP-bop (<the study's id>)",
                      storage="postgresql+psycopg://USER@HOST/DATABASE?options=-csearch_path%3Doptuna")

What is there already is read first, and only the difference is written; so it does not matter whether a delivery was
killed. A search that is there otherwise than the journal has it (an older copy of the folder went on) is made again.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial

from study.record.postgres import OPTUNA, SECONDS, client_uri, making_tables, reason
from study.search.journal import SystemLock, lock_of
from trainers.errors import UserError


class Owner(NamedTuple):
    """Whose searches they are: the study's name and its own id."""

    study: str
    study_id: str


@dataclass
class _Trial:
    """What the database shows of a trial that may change."""

    trial_id: int
    over: bool
    params: set[str]
    steps: set[int]
    attributes: dict[tuple[str, str], str]

    @classmethod
    def of(cls, trial_id: int, trial: FrozenTrial) -> "_Trial":
        steps = set(trial.intermediate_values)
        return cls(trial_id, trial.state.is_finished(), set(trial.params), steps, _attributes(trial))


@dataclass
class _Search:
    """What the database shows of one search.

    Attributes:
        search_id: its number there.
        settled: trials, from the first on, that are shown to their ends.
        shown: those behind them that are there.
        attributes: of the search itself.
    """

    search_id: int
    settled: int = 0
    shown: dict[int, _Trial] = field(default_factory=dict)
    attributes: dict[tuple[str, str], str] = field(default_factory=dict)


def search_name(owner: Owner, cell: str) -> str:
    """What a cell's search is called in a database of several studies."""
    return f"{owner.study}/{cell} ({owner.study_id})"


class OptunaExporter:
    """Shows one study's searches. Where a call raises, this object is done with: a new one reads anew what is there.

    Args:
        journal: the study's; there may be none yet.
        uri: the tracking URI of a PostgreSQL.
        owner: whose searches.

    Raises:
        UserError: the database cannot be used, or its tables are of another release of Optuna.
    """

    def __init__(self, journal: Path, uri: str, owner: Owner) -> None:
        self._journal, self._uri, self._owner = journal, uri, owner
        self._own: JournalStorage | None = None
        self._searches: dict[str, _Search] = {}
        self._there = _open_tables(uri)
        self.refused = ""
        """Nothing ever is: there are no files."""
        self.written = 0
        """How many trials were brought up to date, each counted as often as that was done."""

    def update(self) -> int:
        """Bring every search to what the journal says now; how many trials were written.

        Raises:
            UserError: the journal is damaged, or the database does not answer.
        """
        from sqlalchemy.exc import SQLAlchemyError

        before = self.written
        for search, trials in self._journaled():
            try:
                self._bring(search, trials)
            except (SQLAlchemyError, StorageInternalError) as error:
                raise UserError(f"the database {self._uri} does not answer: {reason(error)}") from error
        return self.written - before

    def close(self) -> None:
        """Let go of the connections."""
        self._there.engine.dispose()

    def _journaled(self) -> list[tuple[FrozenStudy, list[FrozenTrial]]]:
        """Every search of the journal as it is now, with its trials; none where there is no journal yet."""
        if self._own is None and not self._journal.exists():
            return []
        try:
            if self._own is None:
                backend = JournalFileBackend(str(self._journal), lock_obj=SystemLock(lock_of(self._journal)))
                self._own = JournalStorage(backend)
            searches = self._own.get_all_studies()
            return [(search, self._own.get_all_trials(search._study_id, deepcopy=False)) for search in searches]
        except (ValueError, KeyError, AssertionError, TypeError) as error:
            raise UserError(f"the search's journal {self._journal} is damaged ({type(error).__name__})") from error

    def _bring(self, search: FrozenStudy, trials: list[FrozenTrial]) -> None:
        name = search_name(self._owner, search.study_name)
        there = self._searches.get(name)
        if there is None:
            there = self._searches[name] = self._found(name, trials) or self._made(name, search)
        own = {"study": self._owner.study, "cell": search.study_name, "study_id": self._owner.study_id}
        wanted = _texts("user", {**search.user_attrs, **own}) | _texts("system", search.system_attrs)
        for (kind, key), value in _lacking(wanted, there.attributes):
            put = self._there.set_study_user_attr if kind == "user" else self._there.set_study_system_attr
            put(there.search_id, key, json.loads(value))
        there.attributes = wanted
        for trial in trials[there.settled :]:
            self._show(there, trial)
        while there.settled < len(trials) and trials[there.settled].state.is_finished():
            there.shown.pop(there.settled)
            there.settled += 1

    def _show(self, there: _Search, trial: FrozenTrial) -> None:
        shown = there.shown.get(trial.number)
        if shown is None:
            trial_id = self._there.create_new_trial(there.search_id, trial)
            there.shown[trial.number] = _Trial.of(trial_id, trial)
            self.written += 1
            return
        if shown.over:
            return
        changed = trial.state.is_finished()
        for name in trial.params.keys() - shown.params:
            space = trial.distributions[name]
            self._there.set_trial_param(shown.trial_id, name, space.to_internal_repr(trial.params[name]), space)
            changed = True
        for (kind, key), value in _lacking(_attributes(trial), shown.attributes):
            put = self._there.set_trial_user_attr if kind == "user" else self._there.set_trial_system_attr
            put(shown.trial_id, key, json.loads(value))
            changed = True
        for step in sorted(trial.intermediate_values.keys() - shown.steps):
            self._there.set_trial_intermediate_value(shown.trial_id, step, trial.intermediate_values[step])
            changed = True
        if trial.state.is_finished():
            self._there.set_trial_state_values(shown.trial_id, trial.state, trial.values)
        there.shown[trial.number] = _Trial.of(shown.trial_id, trial)
        self.written += changed

    def _found(self, name: str, trials: list[FrozenTrial]) -> _Search | None:
        """What is there of a search; None where nothing is, or what is there was not this journal's and is removed."""
        try:
            search_id = self._there.get_study_id_from_name(name)
        except KeyError:
            return None
        known = self._there.get_all_trials(search_id, deepcopy=False)
        if len(known) > len(trials) or not all(map(_fits, known, trials)):
            self._there.delete_study(search_id)
            return None
        there = _Search(search_id)
        there.shown = {trial.number: _Trial.of(trial._trial_id, trial) for trial in known}
        there.attributes = _texts("user", self._there.get_study_user_attrs(search_id))
        there.attributes |= _texts("system", self._there.get_study_system_attrs(search_id))
        return there

    def _made(self, name: str, search: FrozenStudy) -> _Search:
        return _Search(self._there.create_new_study(search.directions, name))


def _open_tables(uri: str) -> RDBStorage:
    """Optuna's tables in their schema, made where they are not there."""
    from sqlalchemy import text

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    arguments = {"connect_args": {"connect_timeout": SECONDS}, "pool_pre_ping": True, "pool_size": 1}
    with making_tables(uri) as connection:
        try:
            connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {OPTUNA}"))
            return RDBStorage(client_uri(uri, OPTUNA), engine_kwargs=arguments)
        except RuntimeError as error:  # Optuna's word for tables of another release
            raise UserError(
                f"Optuna's tables in {uri} are of another release ({str(error).splitlines()[0][:120]}); "
                f"`optuna storage upgrade --storage '{client_uri(uri, OPTUNA)}'` brings older ones up to date"
            ) from error
        except Exception as error:
            raise UserError(f"Optuna's tables cannot be made in {uri} ({reason(error)})") from error


def _fits(there: FrozenTrial, own: FrozenTrial) -> bool:
    """Whether what the database shows of a trial is a part of what the journal says, or all of it."""
    if there.state.is_finished() and (there.state, there.values) != (own.state, own.values):
        return False
    parts = ((there.params, own.params), (there.intermediate_values, own.intermediate_values))
    return all(_within(shown, said) for shown, said in parts)


def _within(part: Mapping[Any, Any], whole: Mapping[Any, Any]) -> bool:
    return all(key in whole and whole[key] == value for key, value in part.items())


def _attributes(trial: FrozenTrial) -> dict[tuple[str, str], str]:
    return _texts("user", trial.user_attrs) | _texts("system", trial.system_attrs)


def _texts(kind: str, attributes: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    return {(kind, key): json.dumps(value, sort_keys=True) for key, value in attributes.items()}


def _lacking(
    wanted: Mapping[tuple[str, str], str], there: Mapping[tuple[str, str], str]
) -> list[tuple[tuple[str, str], str]]:
    return [(key, value) for key, value in wanted.items() if there.get(key) != value]
