"""What every test may use, and the three tiers that tests are in.

A test is a *unit* test unless it is marked: it starts no process, opens no database and takes well under a second or
two, and `pytest` alone runs it. `integration` marks what needs Ray, MLflow or a child process (seconds), `slow` real
training, whole studies and campaigns of damage (minutes); `pytest -m integration` and `pytest -m slow` run those. A
unit test that starts a process or opens a database fails and says so, so that the first tier stays quick and small.
"""

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgres_server import Postgres, postgres_server
from trainers.collection import collect_as_usual, collect_seldom

REPOSITORY = Path(__file__).resolve().parent.parent

# Rooms whose every test has to do with MLflow's database.
INTEGRATION_FOLDERS = ("tests/study/mlflow_export/", "tests/study/repair/")

# Audit events (https://docs.python.org/3/library/audit_events.html) that no unit test may cause. `git` is let through:
# a run's origin is its commit, and asking takes milliseconds; so is `uname`, which importing MLflow asks for the
# processor.
HEAVY_EVENTS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "sqlite3.connect"}
LIGHT_PROGRAMS = {"git", "uname"}

# Bytes that this process may grow by before what was freed is looked for and given back. A network is freed by Python's
# collector alone (a layer and its weight store know each other), whose full rounds come rarely where so many modules
# are loaded; and glibc keeps what was freed in pieces below 32 MiB. Together they made 4 GiB of what takes 1.
MOST_GROWTH = 150 * 2**20

_libc = ctypes.CDLL(None)
_held = 0  # bytes, when that was last done
MOST_MODULES = 100  # that may be imported before they are forgotten in turn, at the end of a file of tests
_modules = 0
_breaches: list[str] | None = None  # of the unit test that runs; None while another test does, or none


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    """Refuse what a unit test may not do, and remember it: the code under test may catch even this."""
    if event not in HEAVY_EVENTS or _breaches is None:
        return
    if event == "subprocess.Popen" and Path(os.fsdecode(str(arguments[0]))).name in LIGHT_PROGRAMS:
        return
    what = f"{event}({str(arguments[1] if event == 'subprocess.Popen' else arguments)[:200]})"
    _breaches.append(what)
    # No `Exception`, so that nobody tries it again: MLflow would, for a minute, when its database cannot be opened.
    pytest.fail(f"a unit test asked for {what}; mark it: `@pytest.mark.integration`, or slow")


def pytest_configure() -> None:
    sys.addaudithook(_audit)
    collect_seldom()  # until all is imported


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        slow, integration = (item.get_closest_marker(tier) is not None for tier in ("slow", "integration"))
        if slow and integration:
            raise pytest.UsageError(f"{item.nodeid} is marked both integration and slow; slow says it already")
        heavy = "integration" in getattr(item, "fixturenames", ()) or item.nodeid.startswith(INTEGRATION_FOLDERS)
        if heavy and not slow and not integration:
            item.add_marker(pytest.mark.integration)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    global _breaches
    unit = not any(item.get_closest_marker(tier) for tier in ("slow", "integration"))
    _breaches = [] if unit else None
    try:
        return (yield)
    finally:
        _breaches = None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    result = yield
    assert not _breaches, f"a unit test asked for {_breaches}; mark it integration or slow"
    return result


def forget_imported() -> None:
    """Take what importing made out of the collector's sight: it is never freed, and each walk over it takes seconds.

    (Tests that look for a tensor that should be gone walk over all that there is, some after every step.)
    """
    global _held, _modules
    gc.collect()
    gc.freeze()
    _held, _modules = resident(), len(sys.modules)


def pytest_collection_finish() -> None:
    forget_imported()
    collect_as_usual()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Give back what the test has left in memory, where that is much; forget what it has imported, where that is."""
    global _held
    result = yield
    if (nextitem is None or nextitem.path != item.path) and len(sys.modules) > _modules + MOST_MODULES:
        forget_imported()
    if resident() > _held + MOST_GROWTH:
        gc.collect()
        if hasattr(_libc, "malloc_trim"):
            _libc.malloc_trim(0)
        _held = resident()
    return result


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(scope="session")
def integration() -> None:
    """Asked for by fixtures that start Ray or open a database: tests that use those are integration tests."""


@pytest.fixture(scope="session")
def one_ray(integration: None) -> Iterator[None]:
    """Ends the Ray of this process with the session."""
    yield
    import ray

    ray.shutdown()


@pytest.fixture
def running_ray(one_ray: None) -> None:
    """A Ray of this process, the same for all tests that do not test its start: starting one takes seconds."""
    from study.drive.cluster import connect

    connect(num_cpus=2)  # nothing where one is connected


@pytest.fixture(scope="session")
def one_postgres(integration: None) -> Iterator[Postgres]:
    """A PostgreSQL with an empty database `studies`, ended with the session."""
    with postgres_server() as server:
        yield server


@pytest.fixture
def postgres(one_postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> Postgres:
    """The session's PostgreSQL, whose password this process finds where libpq looks for it."""
    monkeypatch.setenv("PGPASSFILE", str(one_postgres.passfile))
    return one_postgres


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of `data/` (real image packs) and `reference/` (test vectors); without it the test is skipped."""
    folder = Path(os.environ.get("BINSFO_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "reference").is_dir():
        pytest.skip(f"no reference data at {folder}; set BINSFO_SHARED to its folder")
    return folder
