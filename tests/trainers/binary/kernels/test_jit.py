"""Compiling never fails for want of a place to keep what is compiled, and never uses more threads than it may."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from trainers.binary import kernels
from trainers.binary.bits import pack_bits
from trainers.binary.kernels import Geometry, jit

PRODUCT = """
import torch
from trainers.binary import kernels
from trainers.binary.bits import pack_bits
x = torch.ones(2, 64)
assert int(kernels.sign_product(x, pack_bits(torch.ones(3, 64) > 0), kernels.Geometry()).sum()) == 2 * 3 * 64
print(kernels.compiled() is not None)
"""


def product_in_a_process(**environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PRODUCT],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def outcome(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out.strip()


@pytest.mark.integration
def test_several_processes_compile_at_once_into_one_empty_folder(tmp_path: Path) -> None:
    running = [product_in_a_process(NUMBA_CACHE_DIR=str(tmp_path)) for _ in range(3)]
    assert [outcome(process) for process in running] == ["True"] * 3
    assert list(tmp_path.rglob("*.nbi"))


@pytest.mark.integration
def test_a_damaged_cache_is_no_error(tmp_path: Path) -> None:
    assert outcome(product_in_a_process(NUMBA_CACHE_DIR=str(tmp_path))) == "True"
    for path in tmp_path.rglob("*.nb*"):
        path.write_bytes(path.read_bytes()[:20])
    assert outcome(product_in_a_process(NUMBA_CACHE_DIR=str(tmp_path))) == "True"


def test_no_folder_to_write_to_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(*arguments: Any, **options: Any) -> Any:
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return original(*arguments, **options)

    original = jit.numba.njit
    monkeypatch.setattr(jit.numba, "njit", nowhere)
    doubled = jit.Compiled(_double)
    values = torch.ones(4, dtype=torch.int32)
    doubled.split(4, values.numpy())
    assert values.tolist() == [2, 2, 2, 2]


def test_a_cache_that_cannot_be_used_is_left_aside() -> None:
    doubled = jit.Compiled(_double)

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    doubled._run = full
    values = torch.ones(4, dtype=torch.int32)
    doubled.split(4, values.numpy())
    assert values.tolist() == [2, 2, 2, 2]


def _double(start: int, stop: int, values: Any) -> None:
    for index in range(start, stop):
        values[index] *= 2


def test_work_is_split_over_torchs_number_of_threads_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int, int]] = []

    class Noted(jit.Compiled):
        def __call__(self, *arguments: Any) -> None:
            seen.append((*arguments[:2], threading.get_ident()))

    noted = Noted(_double)
    for threads, parts in ((1, [(0, 10)]), (3, [(0, 3), (3, 6), (6, 10)])):
        seen.clear()
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        noted.split(10)
        assert sorted(part[:2] for part in seen) == parts
        assert (0, parts[0][1], threading.get_ident()) in seen
    seen.clear()
    noted.split(10, least=8)
    assert len(seen) == 1


@pytest.mark.integration
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_has_threads_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    x, bits = torch.ones(200, 64), pack_bits(torch.ones(3, 64) > 0)
    assert kernels.sign_product(x, bits, Geometry()) is not None
    child = os.fork()
    if child == 0:
        try:
            total = int(kernels.sign_product(x, bits, Geometry()).sum())
            os._exit(0 if total == 200 * 3 * 64 else 1)
        except BaseException:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0


def test_without_numba_products_run_on_floats_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError("No module named 'numba'")

    kernels.compiled.cache_clear()
    monkeypatch.setattr(kernels.importlib, "import_module", missing)
    try:
        with pytest.warns(UserWarning, match="run as float products, which are slower: .*numba"):
            assert not kernels.usable(torch.ones(2), "auto")
    finally:
        kernels.compiled.cache_clear()
