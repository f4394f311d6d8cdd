"""The console script does what `python -m study` does, also beside files that bear the packages' names."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import binsfo

REPOSITORY = Path(__file__).resolve().parent.parent
# What the script that pip makes of `[project.scripts]` does; that its own folder leads the path is all else there is.
SCRIPT = "import sys; import binsfo; sys.argv[0] = 'binsfo'; sys.exit(binsfo.main())"

STUDY = """
name: shadowed
cells:
  - {datasets: [Digits], models: [MLP], methods: [binary]}
fixed: {hid_dim: 16, depth: 2, epochs: 1, batch_size: 500}
search: {trials: 1, asha: false}
confirm: {k: 0}
resources: {workers: 2, at_once: 1}
"""


@pytest.fixture
def folder_of_shadows(tmp_path: Path) -> Path:
    """A working folder with a user's own files of the packages' names, none of which may be imported."""
    for package in binsfo.PACKAGES:
        (tmp_path / f"{package}.py").write_text("raise ImportError(f'the file {__file__} was taken for the package')\n")
    return tmp_path


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command in that folder, which an empty entry of PYTHONPATH puts on Python's path, and first."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment["PYTHONPATH"] = os.pathsep.join(["", str(REPOSITORY)])
    command = [sys.executable, "-P", "-c", SCRIPT, *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.integration
def test_a_study_is_run_beside_a_users_own_study_py_and_so_are_rays_workers(folder_of_shadows: Path) -> None:
    (folder_of_shadows / "shadowed.yaml").write_text(STUDY)
    done = run(folder_of_shadows, "run", "shadowed.yaml", "--output", "out")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder_of_shadows / "out" / "results.parquet").is_file()


@pytest.mark.integration
def test_it_is_called_by_its_own_name_in_its_help(folder_of_shadows: Path) -> None:
    done = run(folder_of_shadows, "--help")
    assert done.returncode == 0 and done.stdout.startswith("usage: binsfo "), done.stderr


def test_a_worker_of_ray_begins_with_this_code_and_its_node_s_address(monkeypatch: pytest.MonkeyPatch) -> None:
    from study.drive import cluster
    from trainers import collection, network

    called: list[str] = []
    monkeypatch.setattr(binsfo, "prefer_own_packages", lambda: called.append("code"))
    monkeypatch.setattr(collection, "collect_seldom", lambda: called.append("loads"))
    monkeypatch.setattr(network, "name_interface", lambda: called.append("address"))
    binsfo.begin_worker()
    assert called == ["code", "loads", "address"]
    assert '"binsfo.begin_worker"' in Path(cluster.__file__).read_text()


def test_other_modules_are_found_where_python_finds_them() -> None:
    assert binsfo.OwnPackages.find_spec("json") is None
    found = binsfo.OwnPackages.find_spec("study")
    assert found is not None and found.origin == str(REPOSITORY / "study" / "__init__.py")
