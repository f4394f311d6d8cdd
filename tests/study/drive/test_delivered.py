"""A study shown in a PostgreSQL by its tracking URI: trials side by side, and the database lost in the middle."""

import os
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from study.drive.delivered import deliver_all
from study.mlflow_export.store import open_store
from study.record.folder import study_identity
from study.record.postgres import client_uri
from study.search.journal_trials import read_searches
from study.search.optuna_export import Owner, search_name
from tests.postgres_server import Postgres

REPOSITORY = Path(__file__).resolve().parents[3]
CELL = "Digits-MLP-bop"
STUDY = """\
name: shared
cells: [{datasets: [Digits], models: [MLP], methods: [bop]}]
fixed: {hid_dim: 16, depth: 2, batch_size: 32, epochs: 3}
search: {trials: 8, asha: false}
confirm: {k: 0}
"""
# A Ray of so many CPUs, whatever this machine has: simulated trials need none of their own.
PROGRAM = """\
import sys
from study.drive.cluster import connect
connect(num_cpus=int(sys.argv[1]))
from study.cli.command_line import main
sys.exit(main(sys.argv[2:]))
"""


def start(folder: Path, postgres: Postgres, trials: int, at_once: int) -> "subprocess.Popen[str]":
    (folder / "shared.yaml").write_text(STUDY)
    words = ["run", "shared.yaml", "--simulate", "--output", "out", "--trials", str(trials)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(at_once), *words, "--tracking-uri", postgres.uri],
        cwd=folder,
        env={**environment, "PGPASSFILE": str(postgres.passfile)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def require_shown(folder: Path, uri: str, trials: int) -> None:
    """MLflow and Optuna's own tools find in the database what the study's folder says."""
    known = study_identity(folder)
    there = optuna.load_study(
        study_name=search_name(Owner(known.name, str(known.study_id)), CELL), storage=client_uri(uri, "optuna")
    )
    own = read_searches(folder / "optuna.journal")[CELL]
    assert [(one.number, one.state, one.params, one.values, one.intermediate_values) for one in there.trials] == [
        (one.number, one.state, one.params, one.values, one.intermediate_values) for one in own
    ]
    client = open_store(uri, make=False)
    (experiment,) = client.search_experiments(filter_string=f"tags.study_id = '{known.study_id}'")
    runs = client.search_runs([experiment.experiment_id], "tags.run_kind = 'trial'")
    assert len(runs) == len(own) == trials and {run.info.status for run in runs} == {"FINISHED"}
    assert all(len(client.get_metric_history(run.info.run_id, "val_accuracy")) == 3 for run in runs)


@pytest.mark.slow
def test_eight_trials_at_once_are_shown_and_a_lost_database_takes_nothing(postgres: Postgres, tmp_path: Path) -> None:
    with start(tmp_path, postgres, trials=8, at_once=8) as command:
        said, _ = command.communicate(timeout=300)
    assert command.returncode == 0, said
    out = tmp_path / "out"
    require_shown(out, postgres.uri, trials=8)
    stored = optuna.load_study(study_name=CELL, storage=_journal(out))
    assert stored.user_attrs["side_by_side"] == 8, "all eight ran side by side"
    # The same study, extended, while the database dies in the middle of it.
    with start(tmp_path, postgres, trials=14, at_once=2) as command:
        assert command.stdout is not None
        lines = []
        for line in command.stdout:
            lines.append(line)
            if line.startswith(f"[{CELL} 10/14]"):
                postgres.stop()
    said = "".join(lines)
    assert command.returncode == 0, said
    for name in ("MLflow", "Optuna's database"):
        assert f"{name} has not been told of" in said
    assert said.count(f"`python -m study mlflow {out}` delivers them") == 2
    postgres.script()
    assert deliver_all(out)[0] > 0
    require_shown(out, postgres.uri, trials=14)
    # The password is in no file of the study, and no command showed it.
    files = [path for path in out.rglob("*") if path.is_file()]
    assert not [path for path in files if postgres.password.encode() in path.read_bytes()]
    assert postgres.password not in said


def _journal(folder: Path) -> optuna.storages.JournalStorage:
    from optuna.storages.journal import JournalFileBackend

    return optuna.storages.JournalStorage(JournalFileBackend(str(folder / "optuna.journal")))
