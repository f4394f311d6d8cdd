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

`cells` lists blocks, each the product of its data sets, models and methods; a block's `fixed` goes before the study's.
A block's `ablate: {mask_type: [EWM, RAND], scheduler_type: [const, gaussian]}` makes each combination a method of its
own, with the same budget; `ablate: {inertia_bits: [0, 4]}` one of each number of bits.
What else may stand in a file are the fields of the classes in `study.define.settings`.
"""

import os
import re
from itertools import product
from pathlib import Path
from typing import Any

from study.define.cells import StudyConfig, make_cell
from study.define.settings import (
    ABLATED,
    AshaConfig,
    ConfirmConfig,
    ResourcesConfig,
    SearchConfig,
    check_confirm,
    check_resources,
    check_search,
    fixed_settings,
)
from study.define.yaml_reader import read_yaml, section
from trainers.errors import UserError

PRESETS = Path(__file__).parents[1] / "presets"


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
        UserError: what is wrong, and where in the file.
    """
    content = read_yaml(study_file(source))
    top = section(content, "study", StudyConfig, {"cells": list, "fixed": dict, "name": str, "tracking_uri": str})
    for name in ("name", "cells"):
        if not top.get(name):
            raise UserError(f"the study file says no {name}; it needs at least name and cells")
    searching = section(top.get("search", {}), "search", SearchConfig, {"asha": (dict, bool)})
    if "objectives" in searching:
        searching["objectives"] = tuple(searching["objectives"])
    # Early stopping is the default where there is one objective alone.
    pruner = searching.pop("asha", len(searching.get("objectives", [""])) == 1)
    if trials is not None:
        searching["trials"] = trials
    search = SearchConfig(**searching, asha=_asha(pruner) if asha else None)
    check_search(search)
    taking = section(top.get("resources", {}), "resources", ResourcesConfig)
    resources = ResourcesConfig(**taking if at_once is None else {**taking, "at_once": at_once})
    check_resources(resources)
    confirming = section(top.get("confirm", {}), "confirm", ConfirmConfig)
    confirm = ConfirmConfig(
        **{**confirming, **({"seeds": tuple(confirming["seeds"])} if "seeds" in confirming else {})}
    )
    check_confirm(confirm)
    common = fixed_settings(top.get("fixed", {}), "fixed")
    cells = []
    for number, block in enumerate(top["cells"], start=1):
        where = f"cells, entry {number}"
        parts = {"datasets": list, "models": list, "methods": list, "fixed": dict, "ablate": dict}
        given = section(block, where, None, parts)
        variants = _variants(given.get("ablate", {}), f"{where}: ablate")
        own = {**common, **fixed_settings(given.get("fixed", {}), f"{where}: fixed")}
        for axis in ("datasets", "models", "methods"):
            names = given.get(axis)
            if not names or not all(isinstance(name, str) for name in names):
                raise UserError(f"{where}: {axis} is {names!r}; list at least one name")
        for dataset in given["datasets"]:
            for model in given["models"]:
                cells += [
                    make_cell(
                        dataset,
                        model,
                        method,
                        fixed=own,
                        search=search,
                        resources=resources,
                        data_root=data_root,
                        prepared_root=prepared_root,
                        ablated=variant,
                    )
                    for method in given["methods"]
                    for variant in variants
                ]
    return StudyConfig(top["name"], tuple(cells), search, confirm, resources, tracking_uri or top.get("tracking_uri"))


def study_file(source: str) -> Path:
    """The file of a preset's name, or of a path; `UserError` names the presets where it is neither."""
    preset = PRESETS / f"{source}.yaml"
    if re.fullmatch(r"[A-Za-z0-9_-]+", source) and preset.is_file():
        return preset
    if os.path.isfile(source):  # unlike Path's, it takes a name that is too long for no file's
        return Path(source)
    names = ", ".join(sorted(path.stem for path in PRESETS.glob("*.yaml")))
    raise UserError(f"no study {source!r}: it is neither a file nor one of the presets {names}; give one of them")


def _variants(given: dict[str, Any], where: str) -> list[dict[str, str | int]]:
    """Every combination of what is ablated; one of nothing where nothing is."""
    for name, values in given.items():
        if name not in ABLATED:
            raise UserError(f"{where}: {name!r} is unknown; use {', '.join(ABLATED)}")
        if not isinstance(values, list) or not values or not all(type(value) in (str, int) for value in values):
            raise UserError(f"{where}: {name} is {values!r}; list at least one value")
    names = [name for name in ABLATED if name in given]
    return [dict(zip(names, combination, strict=True)) for combination in product(*(given[name] for name in names))]


def _asha(value: Any) -> AshaConfig | None:
    if isinstance(value, bool):
        return AshaConfig() if value else None
    return AshaConfig(**section(value, "search: asha", AshaConfig))
