"""Files are there beside the pages once, also after the folder was copied, and again where they changed."""

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from study.mlflow_export.attachments import FOLDER, export_of
from study.mlflow_export.delivery import deliver
from study.mlflow_export.exporter import MlflowExporter
from study.mlflow_export.shown import Identity
from study.record.folder import study_identity
from study.record.tracking_uri import default_tracking_uri
from tests.study.mlflow_export.test_findings import ROW, write

pytestmark = pytest.mark.integration


def exporter(folder: Path) -> MlflowExporter:
    known = study_identity(folder)
    return MlflowExporter(folder / "log.jsonl", known.tracking_uri, Identity(known.name, str(known.study_id)))


def runs(folder: Path, kind: str) -> list[Run]:
    client = MlflowClient(default_tracking_uri(folder))
    experiments = [one.experiment_id for one in client.search_experiments()]
    return list(client.search_runs(experiments, filter_string=f"tags.run_kind = '{kind}'"))


def files(folder: Path, run: Run) -> dict[str, bytes]:
    place = folder / FOLDER / str(run.info.artifact_uri).removeprefix("mlflow-artifacts:/").lstrip("/")
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def test_the_comparison_is_a_run_with_its_files_and_the_sweep_has_its_verdict(study: Path) -> None:
    exporter(study).update()
    (comparison,) = runs(study, "study")
    assert comparison.info.run_name == "fresh: the comparison" and comparison.info.status == "FINISHED"
    assert set(files(study, comparison)) == {"report.html", "verdicts.json", "figures/lift.svg"}
    assert "| bop |" in comparison.data.tags["mlflow.note.content"]
    (sweep,) = runs(study, "sweep")
    assert sweep.data.tags["mlflow.note.content"].startswith("**Undecided")
    client = MlflowClient(default_tracking_uri(study))
    (experiment,) = client.search_experiments(filter_string="name = 'fresh'")
    assert "| bop |" in experiment.tags["mlflow.note.content"]


def test_twice_is_as_good_as_once_and_what_changed_is_put_there_again(study: Path) -> None:
    first = exporter(study)
    first.update()
    assert exporter(study).update() == 0 == first.update()
    (study / "report.html").write_text("<p>the report, longer</p>")
    write(study, {**ROW, "text": "lower by 1.0 [0.5, 1.5] points"})
    first.update()
    (comparison,) = runs(study, "study")
    assert files(study, comparison)["report.html"] == b"<p>the report, longer</p>"
    (sweep,) = runs(study, "sweep")
    assert sweep.data.tags["mlflow.note.content"].startswith("**Lower by 1.0")


def test_an_exported_model_is_the_runs_logged_model(study: Path) -> None:
    exporter(study).update()
    exporter(study).update()
    client = MlflowClient(default_tracking_uri(study))
    (trial,) = runs(study, "trial")

    def models() -> list[str]:
        found = client.search_logged_models([trial.info.experiment_id])
        return [
            f"{one.name} {one.status} {one.source_run_id == trial.info.run_id} {one.params['epoch']}" for one in found
        ]

    assert models() == ["Bop · seed 11 LoggedModelStatus.READY True 2"] or models() == ["Bop · seed 11 READY True 2"]
    (model,) = client.search_logged_models([trial.info.experiment_id])
    place = study / FOLDER / str(model.artifact_location).removeprefix("mlflow-artifacts:/").lstrip("/")
    assert (place / "weights.safetensors").read_bytes() == b"bits"
    (study / "runs" / "a-confirm-0001-s11" / "export" / "weights.safetensors").write_bytes(b"other bits")
    exporter(study).update()
    assert len(models()) == 1, "a later export takes the earlier one's place"


def test_a_copied_studys_files_are_found_beside_its_database(study: Path, tmp_path: Path) -> None:
    exporter(study).update()
    copy = Path(shutil.copytree(study, tmp_path / "copy"))
    shutil.rmtree(study)
    (comparison,) = runs(copy, "study")
    assert files(copy, comparison)["report.html"] == b"<p>the report</p>"
    assert exporter(copy).update() == 0


def test_pages_are_delivered_where_files_cannot_be(study: Path) -> None:
    (study / FOLDER).write_text("no folder")
    said: list[str] = []
    deliver(study, show=said.append)
    assert len(runs(study, "trial")) == 1
    assert any("took no files" in line for line in said)


def test_a_folder_without_a_description_is_no_export(tmp_path: Path) -> None:
    assert export_of(tmp_path) is None
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "model.json").write_text("[")
    assert export_of(tmp_path) is None
