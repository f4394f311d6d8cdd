"""What each subcommand does. Everything that can be checked is checked before Ray is started."""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from study.cli.arguments import config_values, refuse_foreign
from study.cli.checks import check_equal, check_study, prepare_for
from study.define.cells import (
    ConfirmConfig,
    ResourcesConfig,
    SearchConfig,
    StudyConfig,
    dataset_label,
    make_cell,
)
from study.define.offer import offers_of
from study.define.refusals import checked
from study.define.settings import RUN_RESOURCES
from study.define.study_file import load_study, study_text
from study.define.workload import workloads_of
from study.drive.ray_address import check_address
from study.record.folder import StudyFolder
from study.record.inputs import other_lengths, refuse_replaced
from study.record.terminal import Progress, say
from trainers.config import TrialConfig
from trainers.errors import DivergedError, UserError
from trainers.registry import method_named

JSON_KEYS = ("val_accuracy", "test_accuracy", "peak_memory_bytes", "flip_rate", "train_seconds", "trial_id")


def run(options: argparse.Namespace) -> int:
    """A whole study: data prepared, every cell searched and confirmed, all of it compared."""
    check_address()
    study = load_study(
        options.study,
        trials=options.trials,
        asha=options.asha,
        at_once=options.at_once,
        tracking_uri=options.tracking_uri,
        data_root=options.data_root,
        prepared_root=options.prepared_root,
    )
    check_equal(study, options.allow_unequal)
    if options.device_memory is not None and options.simulate is None:
        raise UserError("--device-memory belongs to --simulate; give both, or see `python -m study plan`")
    if options.simulate is not None:
        return _simulated(options, study)
    from study.drive.shared import share, shared_folder

    folder = shared_folder(
        options.output or Path("studies") / study.name,
        options.storage,
        name=study.name,
        tracking_uri=study.tracking_uri,
    )
    if switched := {name: True for name in ("check", "skip_damaged") if getattr(options, name)}:
        cells = (dataclasses.replace(cell, base=cell.base.replace(**switched)) for cell in study.cells)
        study = dataclasses.replace(study, cells=tuple(cells))
    prepare_for(
        [*(cell.base for cell in study.cells), *study.pretrainings.values()],
        download=options.download,
        skip_damaged=options.skip_damaged,
    )
    study, needs = check_study(study)
    if study.pretrainings:
        from study.drive.pretrain import pretrain_cells

        study = pretrain_cells(study, folder.path)
    workloads = workloads_of(study.cells)
    share(folder, [cell.base for cell in study.cells])
    from study.drive.session import open_session
    from study.drive.study import run_study

    def claim() -> None:
        folder.claim(study.identity(), offers_of(study, study.confirm), workloads)

    with open_session(folder, claim=claim, study_file=study_text(options.study)) as session:
        refuse_replaced(session.log.trials(), [cell.base for cell in study.cells])
        return run_study(
            study, folder, session, needs, allow_unequal=options.allow_unequal, reopen_test=options.reopen_test
        )


def _simulated(options: argparse.Namespace, study: StudyConfig) -> int:
    """The whole study on learning curves: no data, no training."""
    from study.define.memory_plan import Need, parse_bytes
    from study.drive.simulate import simulated_study, simulation_kind, write_simulation
    from trainers.memory.report import CATEGORIES, MemoryReport

    for name in ("download", "check", "storage"):
        if getattr(options, name):
            raise UserError(f"--{name} means nothing with --simulate, which reads no data and trains nothing")
    memory = None if options.device_memory is None else parse_bytes(options.device_memory)
    study = simulated_study(study)
    output = options.output or Path("studies") / f"{study.name}-simulated"
    kind = simulation_kind(options.simulate)
    folder = StudyFolder(output, name=study.name, tracking_uri=study.tracking_uri, simulated=kind)
    say(f"SIMULATED: no run of this study trains; its numbers are {kind} curves and say nothing about a method")
    from study.drive.session import open_session
    from study.drive.study import run_study

    nothing = MemoryReport(**dict.fromkeys(CATEGORIES, 0))
    needs = {cell.name: Need(cell.name, nothing, 1) for cell in study.cells}
    workloads = workloads_of(study.cells, simulated=True)

    def claim() -> None:
        write_simulation(folder.path, study, options.simulate, memory)
        folder.claim(study.identity(), offers_of(study, study.confirm), workloads)

    with open_session(folder, claim=claim, study_file=study_text(options.study)) as session:
        return run_study(study, folder, session, needs, allow_unequal=options.allow_unequal)


def sweep(options: argparse.Namespace) -> int:
    """The search of one cell; options that were given are fixed, the others searched where the space has them."""
    check_address()
    values = config_values(options)
    dataset, model, algorithm = (values.pop(name) for name in ("dataset", "model", "algorithm"))
    variant = values.pop(method_named(algorithm, "algorithm").variant, None)
    refuse_foreign(values, algorithm, model)
    method = f"{algorithm}-{variant}" if variant else algorithm
    given = _given(options, "grace_period", "reduction_factor")
    if given and not options.asha:
        raise UserError(f"{', '.join(given)} means nothing with --no-asha; give only one of them")
    searching = {
        "trials": options.trials,
        "seed": values.pop("seed", 1),
        "asha": given if options.asha else None,
        "temperature_mode": options.temperature_mode,
        **{
            name: getattr(options, name) for name in ("sampler", "startup_trials") if getattr(options, name) is not None
        },
    }
    search = checked(SearchConfig, searching, "search")
    taken = {name: values.pop(name) for name in RUN_RESOURCES if name in values}
    resources = checked(ResourcesConfig, {**taken, "at_once": options.at_once}, "resources")
    cell = make_cell(
        dataset,
        model,
        method,
        search=search,
        resources=resources,
        data_root=values.pop("data_root", "data"),
        prepared_root=values.pop("prepared_root", None),
        fixed=values,
    )
    from study.drive.shared import share, shared_folder

    folder = shared_folder(options.output or "studies/sweep", options.storage, tracking_uri=options.tracking_uri)
    prepare_for([cell.base])
    study, needs = check_study(StudyConfig(folder.name, (cell,), search, ConfirmConfig(k=0)))
    (cell,) = study.cells
    workloads = workloads_of(study.cells)
    share(folder, [cell.base])
    from study.drive.course import run_cells
    from study.drive.session import open_session

    def claim() -> None:
        folder.claim(study.identity(), offers_of(study, None), workloads)

    with open_session(folder, claim=claim) as session:
        refuse_replaced(session.log.trials(), [cell.base])
        course = run_cells([cell], study.confirm, folder, session.log, needs)
    result = course.searches[cell.name]
    say("\n".join(result.lines()), important=True)
    say(f"compare the study: python -m study compare {folder.shown}")
    if options.json:
        best = result.best.to_dict() if result.best else None
        print(
            json.dumps(
                {
                    "cell": cell.name,
                    "best": best,
                    "val_accuracy": result.best_value,
                    "notes": [*result.edges, *result.notes],
                }
            )
        )
    return 0 if result.best else 1


def train(options: argparse.Namespace) -> int:
    """One configuration, under Ray Train, recorded with phase `train`."""
    check_address()
    values = config_values(options)
    refuse_foreign(values, values["algorithm"], values["model"])
    config = TrialConfig(**values)
    from study.drive.shared import share, shared_folder
    from trainers.preflight import preflight

    folder = shared_folder(options.output or "studies/train", options.storage, tracking_uri=options.tracking_uri)
    prepare_for([config])
    config = preflight(config, say)
    folder.claim_run(config)
    share(folder, [config])
    from study.define.memory_plan import need_of
    from study.drive.placement import check_room

    label = f"{dataset_label(config.dataset)}-{config.model}-{config.method}"
    need = need_of(config, label)
    check_room(config, need)
    from study.define.trial_spec import trial_spec
    from study.drive.cluster import connect
    from study.drive.nodes import require_nodes
    from study.drive.recorder import Place, Recorder
    from study.drive.session import open_session
    from trainers.attempt import Attempt
    from trainers.host import run_ray

    trial_id = f"{label}-train-{config.fingerprint()[:8]}-s{config.seed}"
    place = folder.place(trial_id)
    spec = trial_spec(trial_id, "train", config.method, config, folder.run_dir(trial_id), place=place)
    with open_session(folder) as session:
        refuse_replaced(session.log.trials(), [config])
        for line in other_lengths(session.log.trials(), trial_id, config):
            say(line)
        recorder = Recorder(session.log, Place(Progress(label, 1, every_epoch=True)))
        say("starting Ray ...")
        connect()
        require_nodes(folder.path, [config], say, folder.storage)
        check_room(config, need)
        recorder.start(spec)
        known, run_dir = session.log.trials()[trial_id].test_opened, Path(spec["run_dir"])
        attempt = Attempt(folder.stop_file, test_openings=known, reopen_test=options.reopen_test, place=place)
        try:
            final = run_ray(config, run_dir, lambda metrics: recorder.epoch(spec, metrics), attempt)
        except Exception as error:
            recorder.attempt_failed(spec, error, attempt.device_seconds(config.workers))
            if isinstance(error, DivergedError):
                raise UserError(f"the run diverged: {error}; use a smaller lr or temperature") from None
            raise
        recorder.end(spec, "completed", final)
    metrics = {**recorder.finals[trial_id], "trial_id": trial_id}
    if config.epochs:
        seconds = f"{metrics['train_seconds']:.1f} s of training"
        say(f"peak memory {metrics['peak_memory_bytes'] / 2**20:.1f} MiB, {seconds}", important=True)
    say(f"recorded as {trial_id} in {folder.shown}", important=True)
    if options.json:
        print(json.dumps({key: metrics.get(key) for key in JSON_KEYS}))
    return 0


def plan(options: argparse.Namespace) -> int:
    """The predicted memory of every cell of a study, and how many runs fit side by side; nothing is trained."""
    from study.define.memory_plan import parse_bytes
    from study.define.memory_plan import plan as planned

    memory = None if options.device_memory is None else parse_bytes(options.device_memory)
    study = load_study(options.study, data_root=options.data_root, prepared_root=options.prepared_root)
    for line in planned(study, memory):
        say(line)
    if options.time:
        from study.define.time_plan import time_plan

        for line in time_plan(study):
            say(line)
    from study.compare.pilot import assumed_power, power_of_plan

    for line in assumed_power(study) if options.pilot is None else power_of_plan(study, options.pilot):
        say(line)
    return 0


def compare(options: argparse.Namespace) -> int:
    """Table, figures, results.parquet and verdicts.json, from recorded runs alone."""
    from study.drive.study import show_comparison

    show_comparison(options.directory, allow_unequal=options.allow_unequal, margin=options.margin)
    return 0


def report(options: argparse.Namespace) -> int:
    """A study's report as HTML and Markdown, or several studies side by side."""
    from study.cli.report import write

    return write(options)


def export(options: argparse.Namespace) -> int:
    """One trained run, as a folder that predicts on its own."""
    from study.cli.export import export_run

    export_run(
        options.run,
        study=options.study,
        output=options.output,
        which=options.which,
        replace=options.force,
        patch=options.patch,
        base=options.base,
        data_root=options.data_root,
        prepared_root=options.prepared_root,
    )
    return 0


def mlflow(options: argparse.Namespace) -> int:
    """A study's pages in MLflow and its searches in a PostgreSQL, brought to what its records say."""
    from study.drive.delivered import deliver_all

    deliver_all(options.directory, options.tracking_uri)
    return 0


def doctor(options: argparse.Namespace) -> int:
    """What a study's records disagree on, or what keeps trials off a cluster's nodes; 1 where there is something."""
    if options.cluster:
        return _examine_cluster(options)
    if options.storage is not None:
        raise UserError("--storage belongs to --cluster, of which it is looked at too; give both")
    if options.directory is None:
        raise UserError("doctor is given no study; use `doctor DIR`, or `doctor --cluster`")
    from study.repair.doctor import doctor as examined

    return examined(options.directory, repair=options.repair)


def _examine_cluster(options: argparse.Namespace) -> int:
    from study.drive.cluster import connect
    from study.drive.nodes import cluster_report
    from study.drive.ray_address import cluster_address
    from trainers.storage import Storage

    if options.repair:
        raise UserError("--repair mends a study's records, nothing of a cluster; leave it out or give a study alone")
    if cluster_address() is None:
        raise UserError("RAY_ADDRESS names no cluster; run this on its head node, with RAY_ADDRESS=auto")
    folder = None if options.directory is None else Path(options.directory)
    if folder is not None and not folder.is_dir():
        raise UserError(f"{folder} is no folder; give one on the disk that the nodes share")
    storage = None if options.storage is None else Storage(options.storage)
    if storage is not None:
        storage.require()
    connect()
    return cluster_report(folder, say, storage)


def schema(options: argparse.Namespace) -> int:
    """The JSON schema of study files, on the terminal."""
    from study.define.study_file import schema as of_study_files

    print(of_study_files(), end="")
    return 0


def ui(options: argparse.Namespace) -> int:
    """MLflow's pages on a study's records, until Ctrl-C."""
    from study.cli.ui import serve

    serve(options.directory, port=options.port, say=say)
    return 0


def _given(options: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Those of the options that the command line gives."""
    return {name: getattr(options, name) for name in names if getattr(options, name) is not None}
