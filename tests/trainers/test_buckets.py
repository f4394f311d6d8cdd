"""Servers of buckets on loopback, S3's and Google's: killed runs go on without their folders, errors are a line."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.trainers.test_stored_inputs import flip, shards
from tests.trainers.test_worker import MakeConfig, results, weights
from trainers import run_data
from trainers.attempt import Attempt
from trainers.data.prepare import prepare
from trainers.errors import DataChangedError, UserError
from trainers.host import run_local
from trainers.progress import Metrics
from trainers.run_place import RunPlace
from trainers.storage import Storage
from trainers.stored_inputs import bring_inputs, cache_folder, share_inputs

pytestmark = pytest.mark.integration

# A run on a node: it dies after its second epoch, and nobody tells it.
RUN = """
import json, os, signal, sys
from pathlib import Path
from trainers.attempt import Attempt
from trainers.config import TrialConfig
from trainers.host import run_local
def die(metrics):
    if metrics["epoch"] == 2:
        os.kill(os.getpid(), signal.SIGKILL)
config, attempt, run_dir = json.loads(sys.argv[1]), json.loads(sys.argv[2]), Path(sys.argv[3])
run_local(TrialConfig.from_dict(config), run_dir, die, Attempt.from_dict(attempt))
"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Its address; it knows the bucket `binsfo`."""
    moto = pytest.importorskip("moto.server", reason="no moto here (pip install 'moto[s3]')")
    from pyarrow import fs

    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    keys = {"access_key": "test", "secret_key": "test"}
    made = fs.S3FileSystem(endpoint_override=f"{host}:{port}", scheme="http", allow_bucket_creation=True, **keys)
    made.create_dir("binsfo")
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture(scope="module")
def google() -> Iterator[str]:
    """The same of Google's kind."""
    emulator = pytest.importorskip("gcp_storage_emulator.server", reason="pip install gcp-storage-emulator")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    running = emulator.create_server("127.0.0.1", port, in_memory=True, default_bucket="binsfo")
    running.start()
    yield f"http://127.0.0.1:{port}"
    running.stop()


@pytest.fixture(params=["s3", "gs"])
def bucket(request: pytest.FixtureRequest) -> str:
    """A bucket's address, of either kind."""
    return f"{request.param}://binsfo"


@pytest.fixture(autouse=True)
def machine(server: str, google: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": server,
        "STORAGE_EMULATOR_HOST": google,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("trainers.verified.tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(run_data, "_data", {})


def test_a_killed_run_goes_on_without_its_folder_and_data_to_the_same_bits(
    bucket: str, digits: MakeConfig, tmp_path: Path
) -> None:
    prepare("Digits", tmp_path / "head")
    config = digits(epochs=4, test=True, data_root=str(tmp_path / "head"))
    expected: list[Metrics] = []
    final = run_local(config, tmp_path / "whole", expected.append)
    storage = Storage(f"{bucket}/here")
    storage.require()
    place = RunPlace(storage.uri, "studies/s", "id", "t", share_inputs(storage, [config]))
    shutil.rmtree(config.data_root)
    told = [json.dumps(values) for values in (config.to_dict(), Attempt(place=place, working_folder="").to_dict())]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    died = subprocess.run([sys.executable, "-c", RUN, *told, str(tmp_path / "node" / "runs" / "t")], env=environment)
    assert died.returncode == -signal.SIGKILL
    shutil.rmtree(tmp_path / "node")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "study.json").touch()  # the study's own folder: what ran there stays
    got: list[Metrics] = []
    again = run_local(config, tmp_path / "home" / "runs" / "t", got.append, Attempt(place=place))
    assert [metrics.get("replayed") for metrics in got] == [True, True, None, None]
    assert results(got) == results(expected) and results([again]) == results([final])
    first, second = weights(tmp_path / "whole"), weights(tmp_path / "home" / "runs" / "t")
    assert first.keys() == second.keys() and all((first[name] == second[name]).all() for name in first)


def test_a_flipped_byte_of_the_data_is_found(bucket: str, digits: MakeConfig, tmp_path: Path) -> None:
    prepare("Digits", tmp_path / "head")
    config, storage = digits(data_root=str(tmp_path / "head")), Storage(f"{bucket}/flipped")
    inputs = share_inputs(storage, [config])
    place = RunPlace(storage.uri, "studies/s", "id", "t", inputs)
    shutil.rmtree(config.data_root)
    bring_inputs(config, place)
    (shard,) = shards(cache_folder())
    content = shard.read_bytes()
    flip(shard)
    flipped = shard.read_bytes()
    bring_inputs(config, place)
    assert shard.read_bytes() == content
    shutil.rmtree(cache_folder())
    (manifest,) = inputs["data"].values()
    storage.write(f"data/{manifest}/{shard.name}", flipped)
    with pytest.raises(DataChangedError, match=f"{shard.name} in the storage {bucket}/flipped is not what was put"):
        bring_inputs(config, place)


def test_what_is_wrong_with_a_bucket_is_one_line(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="s3://no-bucket/a does not exist: no such bucket"):
        Storage("s3://no-bucket/a").require()

    def let_in(requests: Any) -> None:
        """Whether the server asks for keys that it knows, from the next request or (a number) some later one on."""
        address, text = f"{server}/moto-api/reset-auth", {"Content-Type": "text/plain"}
        urllib.request.urlopen(urllib.request.Request(address, str(requests).encode(), text, method="POST")).read()

    let_in(0)
    try:
        with pytest.raises(UserError, match=r"refuses this machine .*AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
            Storage("s3://binsfo/a").require()
    finally:
        let_in("inf")
    Storage("s3://binsfo/a").require()


def test_a_bucket_of_googles_that_is_not_there_or_lets_nobody_in_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="gs://no-bucket/a does not exist: no such bucket"):
        Storage("gs://no-bucket/a").require()
    # Without credentials, which every other server asks for.
    monkeypatch.setenv("CLOUDSDK_CONFIG", "/nowhere")
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    with pytest.raises(UserError, match=r"refuses this machine .*GOOGLE_APPLICATION_CREDENTIALS"):
        Storage("gs://binsfo/a").require()


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_a_server_that_does_not_answer_is_one_line(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainers.storage.FIRST_PATIENCE", 0.5)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    options = "?endpoint_override=127.0.0.1:9&scheme=http" if scheme == "s3" else ""
    with pytest.raises(UserError, match=rf"{scheme}://binsfo/a.* cannot be reached") as said:
        Storage(f"{scheme}://binsfo/a{options}").require()
    assert "\n" not in str(said.value)
