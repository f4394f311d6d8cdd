"""A study file's scalars are what people read in them; what two readers would take differently is refused."""

import math
from pathlib import Path
from typing import Any

import pytest

from study.define.study_file import load_study
from study.define.yaml_reader import read_yaml
from trainers.errors import UserError
from trainers.settings import LARGEST_WHOLE

STUDY = """\
name: numbers
cells:
  - {datasets: [Digits], models: [MLP], methods: [bop]}
fixed: {epochs: 6, hid_dim: 64, batch_size: 96, lr: LR}
search: {trials: 2, seed: SEED}
confirm: {seeds: [SEEDS]}
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "study.yaml"
    file.write_text(text)
    return file


def study_text(lr: str = "0.1", seed: str = "1", seeds: str = "11, 12") -> str:
    return STUDY.replace("SEEDS", seeds).replace("SEED", seed).replace("LR", lr)


def value(folder: Path, text: str) -> Any:
    return read_yaml(written(folder, f"a: {text}\n")).content["a"]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        *[("1e-3", 1e-3), ("1E5", 1e5), (".5", 0.5), ("2.", 2.0), ("+1.5e-3", 1.5e-3), ("-.5e+2", -50.0), ("1e3", 1e3)],
        *[("7", 7), ("-7", -7), ("+7", 7), ("0", 0), ("0.5", 0.5), ("-0.0", 0.0), (".inf", math.inf)],
        *[("true", True), ("False", False), ("null", None), ("~", None), ("", None)],
        *[("MLP", "MLP"), ("1.5.2", "1.5.2"), ("2x", "2x"), ("'011'", "011"), ('"no"', "no"), ("e5", "e5")],
    ],
)
def test_a_scalar_is_what_people_read_in_it(tmp_path: Path, text: str, meant: Any) -> None:
    got = value(tmp_path, text)
    assert got == meant
    assert type(got) is type(meant)


@pytest.mark.parametrize("number", ["1e-3", "1E-3", ".001", "0.001", "1.e-3", "+1e-3"])
def test_a_number_of_a_study_file_is_the_number_of_the_command_line(tmp_path: Path, number: str) -> None:
    (cell,) = load_study(str(written(tmp_path, study_text(lr=number)))).cells
    assert cell.base.lr == float(number)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        *[("011", "write 11, or '011' if"), ("-011", "write -11, or"), ("0_1", "write 1, or"), ("00", "write 0, or")],
        *[("09", "write 9, or"), ("1_0", "write 10, or"), ("01.5", "write 1.5, or"), ("1_0.5e3", "write 10.5e3, or")],
        *[("1:30", "write '1:30' if it is text"), ("190:20:30.15", "write '190:20:30.15' if")],
        *[("0x1F", "write 31, or"), ("0o17", "write 15, or"), ("0b11", "write 3, or"), ("-0x1F", "write -31, or")],
        *[
            ("no", "write false, or 'no' if"),
            ("Off", "write false, or"),
            ("yes", "write true, or"),
            ("ON", "write true"),
        ],
        *[
            ("2026-01-31", "write '2026-01-31' if"),
            ("2001-12-14t21:59:43.10-05:00", "write '2001-12"),
            ("=", "write '='"),
        ],
    ],
)
def test_what_two_readers_take_differently_is_refused_with_the_line_to_write(
    tmp_path: Path, text: str, remedy: str
) -> None:
    with pytest.raises(UserError, match=r"study\.yaml, line 1: .* can be read in more than one way; ") as refusal:
        value(tmp_path, text)
    assert remedy in str(refusal.value)


def test_a_seed_of_leading_zeros_is_not_read_as_octal(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has 2 problems:\n  line 6: 011 .* write 11.*\n  line 6: 012 .* write 12"):
        load_study(str(written(tmp_path, study_text(seeds="011, 012"))))


@pytest.mark.parametrize("tag", ["!!int 011", "!!float 1_0", "!!bool no", "!!int 1:30"])
def test_a_tag_brings_no_other_reading_back(tmp_path: Path, tag: str) -> None:
    with pytest.raises(UserError, match="not a YAML file that can be read"):
        value(tmp_path, tag)


@pytest.mark.parametrize("seed", [LARGEST_WHOLE + 1, 2**64 - 1, 10**400])
def test_a_seed_beyond_64_bits_is_refused_with_the_largest_allowed(tmp_path: Path, seed: int) -> None:
    for text in (study_text(seed=str(seed)), study_text(seeds=f"11, {seed}")):
        with pytest.raises(UserError, match=f"give at most {LARGEST_WHOLE}"):
            load_study(str(written(tmp_path, text)))
    allowed = load_study(str(written(tmp_path, study_text(seed=str(LARGEST_WHOLE)))))
    assert allowed.search.seed == LARGEST_WHOLE


def test_a_name_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="line 7: 'name' is given on line 1 too; leave one of them out"):
        load_study(str(written(tmp_path, study_text() + "name: again\n")))


def test_what_a_merge_brings_may_be_replaced(tmp_path: Path) -> None:
    content = read_yaml(written(tmp_path, "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n")).content
    assert content["b"] == {"x": 1, "y": 3}


def test_all_that_is_wrong_with_a_file_is_said_at_once_with_its_lines(tmp_path: Path) -> None:
    text = study_text(lr="fast").replace("trials: 2", "trails: 2, temperature_mode: both").replace("[MLP]", "[MPL]")
    with pytest.raises(UserError) as refusal:
        load_study(str(written(tmp_path, text)))
    first, *lines = str(refusal.value).splitlines()
    assert first.endswith("study.yaml has 4 problems:")
    wanted = {
        3: "(did you mean MLP?)",
        4: "lr is 'fast'; give a number",
        5: "'both' is unknown; use decoupled or",
    }
    for number, words in wanted.items():
        assert any(line.startswith(f"  line {number}: ") and words in line for line in lines)
    assert "  line 5: search: 'trails' is unknown; use trials" in str(refusal.value)
