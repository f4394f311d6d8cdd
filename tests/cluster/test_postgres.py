"""`cluster/postgres.sh`: a PostgreSQL for this machine alone, whose password stands in one file and nowhere else."""

import subprocess

import psutil
import pytest

from study.record.postgres import making_tables
from tests.postgres_server import SCRIPT, Postgres
from trainers.errors import UserError

pytestmark = pytest.mark.integration


def test_it_listens_on_loopback_alone_and_prints_the_tunnel(postgres: Postgres) -> None:
    (pid,) = (int(line) for line in (postgres.folder / "data" / "postmaster.pid").read_text().splitlines()[:1])
    listening = [one.laddr for one in psutil.Process(pid).net_connections("inet") if one.status == psutil.CONN_LISTEN]
    assert [tuple(address) for address in listening] == [("127.0.0.1", postgres.port)]
    assert f"ssh -N -L {postgres.port}:127.0.0.1:{postgres.port} " in postgres.said
    assert f"--tracking-uri {postgres.uri} " in postgres.said


def test_its_password_is_in_its_users_file_alone(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    assert postgres.passfile.stat().st_mode & 0o077 == 0
    assert postgres.password not in postgres.said
    commands = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    assert not [command for command in commands if postgres.password in command]
    kept = [path for path in postgres.folder.rglob("*") if path.is_file()]
    assert kept and not [path for path in kept if postgres.password.encode() in path.read_bytes()]
    with making_tables(postgres.uri):
        pass
    monkeypatch.delenv("PGPASSFILE")
    monkeypatch.setenv("HOME", str(postgres.folder))
    with pytest.raises(UserError, match=r"no password supplied.*PGPASSFILE"), making_tables(postgres.uri):
        pass


def test_a_second_run_changes_nothing(postgres: Postgres) -> None:
    before = postgres.passfile.read_text(), (postgres.folder / "data" / "postmaster.pid").read_text().splitlines()[0]
    assert postgres.script() == postgres.said
    after = postgres.passfile.read_text(), (postgres.folder / "data" / "postmaster.pid").read_text().splitlines()[0]
    assert after == before


def test_root_is_refused_in_one_line(tmp_path: object) -> None:
    if psutil.Process().uids().effective != 0:
        pytest.skip("only root can try it")
    done = subprocess.run(["bash", str(SCRIPT), str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 1 and "does not run as root" in done.stderr and done.stderr.count("\n") == 1
