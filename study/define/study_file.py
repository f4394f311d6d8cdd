"""Reads a study from its one YAML file, or from a preset by name.

    name: my-study
    cells:
      - datasets: [MNIST]
        models: [MLP]
        methods: [binary, bop, frozen, real-SGD, real-Adam]
        fixed: {hid_dim: 512, depth: 3}
    fixed: {epochs: 20, batch_size: 96}
    search: {trials: 20, seed: 1, asha: {grace_period: 3, reduction_factor: 3}}
    confirm: {k: 1, seeds: [11, 12, 13]}
    resources: {workers: 1, threads: 1}

What may stand in a file are the fields of the classes here and in `study.define.settings`. Their JSON schema
(`python -m study schema`) lets an editor complete and check a file as it is written; its first line says where it is:

    # yaml-language-server: $schema=study.schema.json
"""

import json
import os
import re
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, StrictStr, ValidationError
from pydantic.json_schema import GenerateJsonSchema

from study.define.cells import Cell, StudyConfig, make_cell
from study.define.pretraining import DatasetName, Pretraining
from study.define.refusals import OneOf, checked, place, problems
from study.define.settings import (
    CONFIG,
    ConfirmConfig,
    FixedSettings,
    MethodName,
    ResourcesConfig,
    SearchConfig,
    Value,
    ablatable,
)
from study.define.yaml_reader import Trail, read_yaml
from trainers.errors import UserError
from trainers.registry import MODELS, OWN, foreign

PRESETS = Path(__file__).parents[1] / "presets"
SCHEMA = Path(__file__).parents[1] / "study.schema.json"
"""The schema of study files as it is published, beside the presets that name it."""


ModelName = Annotated[StrictStr, OneOf(lambda: MODELS.all(), OWN)]
AblatedName = Annotated[StrictStr, OneOf(ablatable)]


class Block(BaseModel):
    """The product of its data sets, models and methods: a cell for each combination."""

    model_config = CONFIG

    datasets: Annotated[list[DatasetName], Field(min_length=1)]
    """Names of the catalog, or paths of your own Parquet files or class folders."""
    models: Annotated[list[ModelName], Field(min_length=1)]
    """The networks."""
    methods: Annotated[list[MethodName], Field(min_length=1)]
    """How they are trained."""
    fixed: FixedSettings = Field(default_factory=dict)
    """Settings of every run of the block; they go before the study's."""
    ablate: dict[AblatedName, Annotated[list[Value], Field(min_length=1)]] = Field(default_factory=dict)
    """Values of a setting, e.g. `{inertia_bits: [0, 4]}`: each combination makes a method of its own, with the same
    budget."""

    def variants(self) -> list[dict[str, Any]]:
        """Every combination of what is ablated; one of nothing where nothing is."""
        names = [name for name in ablatable() if name in self.ablate]
        combinations = product(*(self.ablate[name] for name in names))
        return [dict(zip(names, combination, strict=True)) for combination in combinations]


class StudyFile(BaseModel):
    """A study: which cells it has, how each is searched and confirmed, what a run takes."""

    model_config = CONFIG

    name: Annotated[StrictStr, Field(min_length=1)]
    """The study's name: letters, digits, `-`, `_` and `.`; its folder is called so."""
    cells: Annotated[list[Block], Field(min_length=1)]
    """Blocks, each the product of its data sets, models and methods."""
    fixed: FixedSettings = Field(default_factory=dict)
    """Settings of every run of the study."""
    pretrain: Pretraining | None = None
    """What the networks are trained on before the cells start from them; from scratch where it is left out."""
    search: SearchConfig = Field(default_factory=SearchConfig)
    confirm: ConfirmConfig = Field(default_factory=ConfirmConfig)
    resources: ResourcesConfig = Field(default_factory=ResourcesConfig)
    contrasts: list[tuple[StrictStr, StrictStr]] = Field(default_factory=list)
    """Pairs of methods to compare beside each with the baseline and with the frozen control, as they are called in the
    table: `[[binary-4bit, bop], [binary-4bit, binary-0bit]]`."""
    tracking_uri: StrictStr | None = None
    """Where MLflow shows the study: an MLflow server, or a PostgreSQL, in which Optuna's tools find its searches too; a
    database in the study's folder where it is left out."""


def load_study(
    source: str,
    *,
    trials: int | None = None,
    asha: bool = True,
    at_once: int | None = None,
    tracking_uri: str | None = None,
    data_root: str = "data",
    prepared_root: str | None = None,
) -> StudyConfig:
    """A study from a preset's name or a YAML file's path.

    Args:
        source: `quickstart`, `six-datasets`, `paper`, or the path of a study file.
        trials: replaces the file's number of search trials.
        asha: False switches early stopping off whatever the file says.
        at_once: replaces the file's number of trials side by side.
        tracking_uri: replaces the file's.
        data_root, prepared_root: where data lie on this machine.

    Raises:
        UserError: what is wrong, and where in the file; all of it in one go.
    """
    document = read_yaml(study_file(source))
    try:
        file = StudyFile.model_validate(document.content)
    except ValidationError as error:
        found = problems(error, StudyFile)
        raise document.refusal(found) from None
    search, resources = file.search, file.resources
    if trials is not None:
        search = checked(SearchConfig, {**vars(search), "trials": trials}, "search")
    if not asha:
        search = checked(SearchConfig, {**vars(search), "asha": None}, "search")
    if at_once is not None:
        resources = checked(ResourcesConfig, {**vars(resources), "at_once": at_once}, "resources")
    cells: list[Cell] = []
    refused: list[tuple[Trail, str]] = []
    for number, block in enumerate(file.cells):
        for dataset, model, method, variant in product(block.datasets, block.models, block.methods, block.variants()):
            try:
                cell = make_cell(
                    dataset,
                    model,
                    method,
                    fixed={**file.fixed, **block.fixed},
                    search=search,
                    resources=resources,
                    data_root=data_root,
                    prepared_root=prepared_root,
                    ablated=variant,
                )
            except UserError as error:
                refused.append((("cells", number), f"cells, entry {number + 1}: {error}"))
            else:
                cells += cell.repeats()
    refused += _read_by_nobody(file)
    pretrainings = {}
    try:
        pretrainings = {cell.name: file.pretrain.config(cell) for cell in cells} if file.pretrain else {}
    except UserError as error:
        refused.append((("pretrain",), str(error)))
    if refused:
        raise document.refusal(refused)
    try:
        return StudyConfig(
            file.name,
            tuple(cells),
            search,
            file.confirm,
            resources,
            tracking_uri or file.tracking_uri,
            tuple(file.contrasts),
            pretrainings,
        )
    except UserError as error:
        raise UserError(f"{document.path}: {error}") from None


def study_text(source: str) -> str:
    """The text of a study file or preset as it may be recorded: no password in an address.

    Raises:
        UserError: there is no such file.
    """
    text = study_file(source).read_text(encoding="utf-8")
    return re.sub(r"(//[^/\s@:]*):[^/\s@]*@", r"\1:***@", text)


def _read_by_nobody(file: StudyFile) -> list[tuple[Trail, str]]:
    """Settings that none of the methods and models reads which they are given to, with the trail to each."""
    found: list[tuple[Trail, str]] = []

    def look(fixed: Iterable[str], blocks: list[Block], trail: Trail) -> None:
        pairs = [pair for block in blocks for pair in product(block.methods, block.models)]
        for name in fixed:
            told = [next(foreign([name], method.partition("-")[0], model), "") for method, model in pairs]
            if all(told):
                found.append(((*trail, "fixed", name), f"{place((*trail, 'fixed'))}: {told[0]}"))

    look(file.fixed, file.cells, ())
    for number, block in enumerate(file.cells):
        look(block.fixed, [block], ("cells", number))
    return found


def study_file(source: str) -> Path:
    """The file of a preset's name, or of a path; `UserError` names the presets where it is neither."""
    preset = PRESETS / f"{source}.yaml"
    if re.fullmatch(r"[A-Za-z0-9_-]+", source) and preset.is_file():
        return preset
    if os.path.isfile(source):  # unlike Path's, it takes a name that is too long for no file's
        return Path(source)
    names = ", ".join(sorted(path.stem for path in PRESETS.glob("*.yaml")))
    raise UserError(f"no study {source!r}: it is neither a file nor one of the presets {names}; give one of them")


class _Untitled(GenerateJsonSchema):
    """Without a title for each field that only says its name again."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def schema() -> str:
    """The JSON schema of study files, with the methods and models that are known here and now."""
    content = StudyFile.model_json_schema(schema_generator=_Untitled)
    about = {"$schema": GenerateJsonSchema.schema_dialect, "title": "A study of binsfo-study"}
    return json.dumps({**content, **about}, indent=2, ensure_ascii=False) + "\n"
