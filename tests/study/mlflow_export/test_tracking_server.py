"""A study on somebody's tracking server: its files travel there, and the printed links lead to them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts

from study.cli.ui import addresses
from study.mlflow_export.delivery import deliver
from study.record.folder import study_identity
from tests.faults.mlflow_server import MlflowServer

pytestmark = pytest.mark.integration


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MlflowServer]:
    made = MlflowServer(tmp_path / "server")
    made.start()
    try:
        made.wait()
        yield made
    finally:
        made.kill()


def test_files_and_models_of_a_study_come_to_a_server_that_keeps_them(
    study: Path, server: MlflowServer, tmp_path: Path
) -> None:
    said: list[str] = []
    deliver(study, server.uri, said.append)
    assert said == [f"MLflow at {server.uri} shows all of fresh; 2 runs were brought up to date"]
    client = MlflowClient(server.uri)
    (experiment,) = client.search_experiments(filter_string="name = 'fresh'")
    (comparison,) = client.search_runs([experiment.experiment_id], filter_string="tags.run_kind = 'study'")
    assert str(comparison.info.artifact_uri).startswith("mlflow-artifacts:/")
    (tmp_path / "downloaded").mkdir()
    files = Path(client.download_artifacts(comparison.info.run_id, "", str(tmp_path / "downloaded")))
    found = {str(path.relative_to(files)) for path in files.rglob("*") if path.is_file()}
    assert found == {"report.html", "verdicts.json", "figures/lift.svg"}
    assert (files / "report.html").read_bytes() == (study / "report.html").read_bytes()
    (model,) = client.search_logged_models([experiment.experiment_id])
    weights = download_artifacts(f"{model.artifact_location}/weights.safetensors", tracking_uri=server.uri)
    assert Path(weights).read_bytes() == b"bits"
    report = next(
        line for line in addresses(study, study_identity(study).tracking_uri) if line.startswith("the report")
    )
    assert f"{server.uri}/#/experiments/{experiment.experiment_id}/runs/{comparison.info.run_id}/artifacts/" in report
    assert deliver(study, show=said.append) == 0 and "0 runs were brought up to date" in said[-1]
    assert not (study / "mlartifacts").exists(), "nothing of it is kept here"
