"""A tracking URI is checked before anything is stored, and no password in one is ever shown."""

import re
import sys
from pathlib import Path

import pytest

from study.record.tracking_uri import checked_uri, database_path, default_tracking_uri, without_secrets
from trainers.errors import UserError


@pytest.mark.parametrize("uri", ["http://127.0.0.1:5000", "https://mlflow.example.org/base", "sqlite:////a/b.db"])
def test_an_address_that_can_be_used_is_taken_as_it_is(uri: str) -> None:
    assert checked_uri(uri) == uri


def test_a_database_file_may_be_named_relative_to_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert checked_uri("sqlite:///pages.db") == f"sqlite:///{tmp_path}/pages.db"
    assert database_path(checked_uri("sqlite:///pages.db")) == tmp_path / "pages.db"


@pytest.mark.parametrize("uri", ["htp://127.0.0.1:5000", "127.0.0.1:5000", "http://", "http://h:port", "sqlite:///",
                                 "file:///tmp/mlruns", "", "oracle://h/d"])  # fmt: skip
def test_an_address_of_no_kind_that_mlflow_knows_is_refused_with_the_kinds(uri: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"the tracking URI {uri!r} is none") + ".*http://HOST:PORT"):
        checked_uri(uri)


@pytest.mark.parametrize(
    ("uri", "way"),
    [
        ("http://anna:s3cret@host:5000", "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"),
        ("https://anna:s3/c@ret@host", "MLFLOW_TRACKING_PASSWORD"),
        ("http://anna:s3\ncret@host", "MLFLOW_TRACKING_PASSWORD"),
        ("http://host/#anna:s3cret@host", "MLFLOW_TRACKING_PASSWORD"),
        ("https://s3cret@host", "MLFLOW_TRACKING_PASSWORD"),
        ("http://host/?token=s3cret", "MLFLOW_TRACKING_PASSWORD"),
        ("postgresql://anna:s3cret@host/db", "PGPASSWORD"),
        ("postgresql://host/db?user=anna&password=s3cret", "PGPASSFILE"),
        ("mysql+pymysql://anna:s3cret@host/db", "client find it"),
        ("htp://anna:s3cret@host", "http://HOST:PORT"),
        ("mssql+pyodbc:///?odbc_connect=PWD%3Ds3cret", "client find it"),
    ],
)
def test_a_password_is_refused_with_the_way_out_and_not_shown(uri: str, way: str) -> None:
    with pytest.raises(UserError, match=way) as caught:
        checked_uri(uri)
    assert "s3" not in str(caught.value)


def test_a_user_name_alone_is_refused_of_a_server_and_taken_of_a_database(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="MLFLOW_TRACKING_USERNAME"):
        checked_uri("http://anna@host")
    monkeypatch.setattr("study.record.tracking_uri._require_driver", lambda uri: None)
    assert checked_uri("postgresql://anna@host/db") == "postgresql://anna@host/db"


def test_a_database_without_its_driver_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="needs the Python package 'MySQLdb', which is not installed"):
        checked_uri("mysql://host/db")
    monkeypatch.setitem(sys.modules, "psycopg", None)  # as where it is not installed
    with pytest.raises(
        UserError, match=r"needs the Python package 'psycopg', .*pip install 'binsfo-study\[postgres\]'"
    ):
        checked_uri("postgresql+psycopg://host/db")
    with pytest.raises(UserError, match="cannot be read"):
        checked_uri("postgresql+nonsense://host/db")


def test_secrets_are_struck_out_wherever_they_stand() -> None:
    assert without_secrets("http://host:5000/a:b") == "http://host:5000/a:b"
    assert without_secrets("http://h/?a=1&api_key=xyz&b=2") == "http://h/?a=1&api_key=***&b=2"


@pytest.mark.parametrize("name", ["a?b", "50%"])
def test_a_studys_own_database_needs_a_path_that_a_uri_can_hold(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="choose a folder without"):
        default_tracking_uri(tmp_path / name)
