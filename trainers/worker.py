"""The loop that every worker runs, whichever host runs it: epochs, evaluation, report, checkpoint, resume.

The order of images in an epoch is a function of (seed, epoch), masks of (seed, layer, step): a resumed run is
bit-identical to an uninterrupted one. Validation follows every epoch; the test set is opened once, after the last,
and only if asked for (`trainers.gate`).
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from trainers import checkpoint, notice
from trainers.activity import Activity
from trainers.atomic import clear_partials, write_json
from trainers.attempt import Attempt
from trainers.batch_norm import reestimate_statistics
from trainers.collection import collect_as_usual
from trainers.config import TrialConfig
from trainers.data.loader import PreparedData, Split
from trainers.data.prefetch import gathered
from trainers.epochs import epoch_batches, measured_step_number
from trainers.errors import ReplicaError, StoppedError, UserError
from trainers.evaluation import Evaluation, evaluate
from trainers.exhaustion import exhausted
from trainers.gate import measured_before, measured_once
from trainers.inputs import inputs_of
from trainers.learner import Learner, finite
from trainers.memory.invariants import Bystanders, check_invariants
from trainers.memory.measure import measured_step
from trainers.memory.state import state_bits_per_weight
from trainers.node_data import check_data
from trainers.predictions import Predictions, read_predictions, write_predictions
from trainers.progress import EpochSums, Metrics
from trainers.replicas import Replicas
from trainers.result import write_result
from trainers.run_data import data_of, split_of
from trainers.starting_bits import bits_of, flips_so_far, keep_start, shares_by_layer
from trainers.stop import asked_to_end, told
from trainers.stored_inputs import bring_inputs
from trainers.stored_run import StoredRun

Report = Callable[[Metrics], None]

STATISTICS_BATCHES = 20
"""Batches that reestimated statistics are the mean of; a running mean of momentum 0.1 looks back about as far."""
_INPUTS = "inputs.json"


def train(
    config: TrialConfig,
    run_dir: Path,
    replicas: Replicas,
    device: torch.device,
    report: Report,
    attempt: Attempt | None = None,
    replay: bool = True,
) -> Metrics:
    """Train to the last epoch, from the run's last checkpoint if there is one; returns the final metrics.

    A run of 0 epochs evaluates the network as it starts.

    Args:
        config: the run, as `preflight` resolved it.
        run_dir: the run's own folder; checkpoints and `result.json` go there.
        replicas: this worker's place among the run's workers.
        device: where this worker computes.
        report: takes each epoch's metrics (`trainers.progress.Metrics`) as the epoch ends, on every worker.
        attempt: what this attempt is told beside the configuration.
        replay: whether to report the epochs that the run has from earlier attempts, first, with `replayed` set.

    Raises:
        DivergedError: the loss became NaN or infinite (on a GPU: found at the epoch's end); nothing of it is saved.
        StoppedError: the attempt's stop file is there, or (PreemptedError) the machine is being taken away; the run is
            saved as it was after the step.
        OutOfMemoryError: memory does not hold the run.
        DiskFullError: a checkpoint or result could not be written; the last whole one is there.
        StorageError: shared storage cannot be reached; this machine keeps what it could not take.
        InvariantError: `config.check` is set, and memory holds what it should not.
        ReplicaError: workers hold different weights after an epoch, or start from different checkpoints.
        DataChangedError: this node's data are not those that the attempt expects, or that were put into storage.
        UserError: the folder holds another run, all of its checkpoints are damaged, or the test set would be opened
            again without force.
    """
    collect_as_usual()
    attempt = attempt or Attempt()
    stored = StoredRun(attempt.place, run_dir, config.fingerprint())
    try:
        bring_inputs(config, attempt.place)
        check_data(config, attempt.expected_data)
        data = data_of(config)
        run = _Run(config, data, run_dir, replicas, device, attempt, stored)
        if replay:
            for metrics in run.progress.history:
                report(run.told({**metrics, "replayed": True}))
        for epoch in range(run.progress.epochs_done, config.epochs):
            with notice.heeded():  # while it reports, all is saved
                ended = run.epoch(epoch)
            report(run.told(ended))
        with notice.heeded():
            if config.epochs == 0:
                run.untrained()
            return run.finish()
    except Exception as error:
        if (found := exhausted(error, run_dir)) is None or found is error:
            raise
        raise found from error
    finally:
        if replicas.rank == 0:
            Activity(run_dir).over()
            stored.close()


class _Run:
    """One worker's view of one run."""

    def __init__(
        self,
        config: TrialConfig,
        data: PreparedData,
        run_dir: Path,
        replicas: Replicas,
        device: torch.device,
        attempt: Attempt,
        stored: StoredRun,
    ) -> None:
        torch.set_num_threads(config.threads)
        if device.type == "cuda":
            torch.backends.cudnn.deterministic = True
            torch.backends.cudnn.benchmark = False
        self.config, self.data, self.run_dir, self.replicas, self.device = config, data, run_dir, replicas, device
        self.bystanders = Bystanders() if config.check else None
        self.learner = Learner(config, data, replicas, device)
        self.training = split_of(data, config, "train")
        self.learner.rule.total_steps = config.epochs * len(epoch_batches(len(self.training), config, 0))
        self.measured_step = measured_step_number(len(self.training), config)  # whose memory the run reports
        self.validation = split_of(data, config, "validation") if config.val_fraction else None
        self.attempt, self.stored = attempt, stored
        self.start: Metrics = {}  # of a run without epochs
        start = bits_of(self.learner.model)
        self.activity = Activity(run_dir if replicas.rank == 0 else None)
        amiss = stored.fetch()
        self.progress, damaged = checkpoint.restore(run_dir, self.learner)
        steps = set(replicas.gather_numbers(self.progress.steps_done))
        if len(steps) > 1:
            raise ReplicaError(
                f"workers start from checkpoints of {sorted(steps)} steps; all must read the same {run_dir}"
            )
        lost = self.progress.go_on_with(replicas.size, config.workers)
        self.note = "; ".join(part for part in (amiss, damaged, lost) if part)
        if replicas.rank == 0:
            run_dir.mkdir(parents=True, exist_ok=True)
            clear_partials(run_dir)
            clear_partials(run_dir / "checkpoints")
            if damaged:
                checkpoint.replace_last(run_dir)
            write_json(run_dir / _INPUTS, inputs_of(config, data, self.learner))
            keep_start(run_dir, config.fingerprint(), start)
            stored.push()
            stored.watch_for_stop(attempt.stop_file)
        self.activity("first step, compiling")

    def told(self, metrics: Metrics) -> Metrics:
        """An epoch's metrics as they are reported: with what is this attempt's own."""
        note, self.note = self.note, ""
        # All of its workers, also while some are away.
        own = {"device_seconds": self.attempt.device_seconds(self.config.workers)}
        return {**metrics, **own, **({"note": note} if note else {})}

    def epoch(self, epoch: int) -> Metrics:
        """Train one epoch, or the rest of it, validate, save; returns its metrics."""
        self._stop_here()
        self.learner.start_epoch(epoch)
        sums = self.progress.sums or EpochSums()
        binary_weights = self.learner.rule.binary_weights
        started = time.perf_counter()
        batches = epoch_batches(len(self.training), self.config, epoch)[sums.steps :]
        steps = sums.steps + len(batches)
        shares = [batch[self.replicas.share(len(batch))] for batch in batches]
        with closing(gathered(self.training, shares, self.device)) as ahead:
            for batch, (images, labels) in zip(batches, ahead, strict=True):
                step = partial(self._step, images, labels, len(batch), epoch)
                if self.progress.steps_done == self.measured_step:
                    paused = time.perf_counter()
                    loss = self._measured(step)
                    started += time.perf_counter() - paused
                else:
                    loss = step()
                if self.bystanders is not None:
                    check_invariants(self.learner, self.bystanders)
                sums.add(loss, self.learner.rule.flips / binary_weights, self.learner.rule.temperature())
                self.activity(f"epoch {epoch + 1}, step", sums.steps, steps)
                if (why := asked_to_end(self.attempt.stop_file, self.replicas)) is not None:
                    self._add_seconds(started)
                    self._stop(self._settled(sums, epoch), why)
        self._add_seconds(started)
        self.progress.sums = None
        if self.config.norm_statistics == "reestimated":
            reestimate_statistics(self.learner.model, self._last_inputs(epoch))
        self.replicas.require_equal(self.learner.model, self.learner.rule_state(), epoch + 1)
        metrics: Metrics = {
            "epoch": epoch + 1,
            **self._settled(sums, epoch).means(),
            "lr": self.learner.rule.lr,
            **self.progress.memory,
            **self.progress.workers(),
        }
        metrics["train_seconds"] = self.progress.train_seconds
        metrics["state_bits_per_weight"] = state_bits_per_weight(self.learner)
        metrics |= flips_so_far(self.run_dir, self.learner.model, self.progress.history, float(sums.flip_rate))
        if self.validation is not None:
            metrics |= self._evaluated(self.validation).metrics("val")
        self._end_epoch(metrics)
        return metrics

    def _settled(self, sums: EpochSums, epoch: int) -> EpochSums:
        """What the epoch's steps have added up, read from a GPU, before anything of them is saved."""
        settled = sums.settled()
        finite(float(settled.loss), f"in epoch {epoch + 1}")
        return settled

    def untrained(self) -> None:
        """Validate and save the network as it starts, in place of any epoch."""
        metrics: Metrics = {"epoch": 0, "train_seconds": 0.0, "lr": self.config.lr}
        metrics["state_bits_per_weight"] = state_bits_per_weight(self.learner)
        if self.validation is not None:
            metrics |= self._evaluated(self.validation).metrics("val")
        self.start = metrics
        self._save(best=True)

    def _last_inputs(self, epoch: int) -> Iterator[Tensor]:
        """This worker's share of the epoch's last batches, as the network sees them."""
        batches = epoch_batches(len(self.training), self.config, epoch)[-STATISTICS_BATCHES:]
        shares = [batch[self.replicas.share(len(batch))] for batch in batches]
        with closing(gathered(self.training, shares, self.device)) as ahead:
            for images, _ in ahead:
                yield self.learner.inputs(images)

    def _add_seconds(self, started: float) -> None:
        self.progress.train_seconds += time.perf_counter() - started

    def _stop_here(self) -> None:
        """Stop between two epochs, where nothing has been done that is not on disk."""
        if (why := asked_to_end(self.attempt.stop_file, self.replicas)) is not None:
            raise told(why, self.progress.epochs_done)

    def _stop(self, sums: EpochSums, why: type[StoppedError]) -> None:
        """Save in the middle of an epoch, then stop."""
        self.progress.sums = sums
        self._save(best=False)
        raise told(why, self.progress.epochs_done, sums.steps)

    def _step(self, images: Tensor, labels: Tensor, step_batch: int, epoch: int) -> float | Tensor:
        loss = self.learner.train_step(images, labels, self.progress.steps_done, step_batch, epoch)
        self.progress.steps_done += 1
        return loss

    def _measured(self, step: Callable[[], float | Tensor]) -> float | Tensor:
        loss, local = measured_step(step, self.learner)
        # The categories must add up, so all are of the worker whose total is the largest.
        ranks = self.replicas.size
        largest = self.replicas.maximum(local.total * ranks + self.replicas.rank) % ranks
        mine = self.replicas.rank == largest
        self.progress.memory = {
            name: self.replicas.maximum(value if mine else 0) for name, value in local.metrics().items()
        }
        return loss

    def _evaluated(self, split: Split, *, answers: bool = False) -> Evaluation:
        classes, batch_size = self.data.num_classes, self.config.batch_size
        said = partial(self.activity, "test images" if answers else "validation images")
        return evaluate(self.learner, split, self.replicas, classes, batch_size, answers=answers, progress=said)

    def _end_epoch(self, metrics: Metrics) -> None:
        self.progress.epochs_done += 1
        self.progress.history.append(metrics)
        accuracy, best = metrics.get("val_accuracy"), self.progress.best_accuracy
        improved = accuracy is None or best is None or accuracy > best
        if improved:
            self.progress.best_accuracy = accuracy
        self._save(best=improved)

    def _save(self, best: bool) -> None:
        if self.replicas.rank == 0:
            checkpoint.save(self.run_dir, self.learner, self.progress, best=best)
            self.stored.push()
        self.replicas.barrier()  # nobody reports an epoch that is not on disk yet

    def finish(self) -> Metrics:
        """The last epoch's metrics, and the test set's figures if they are asked for or known."""
        self._stop_here()
        if self.config.test:
            tested = measured_once(self.run_dir, self.replicas, self.attempt, self._test_figures, self.stored.push)
        else:
            tested = measured_before(self.run_dir, self.attempt)
        if tested:
            tested |= self._tested_on()
        metrics = {
            **self.start,
            **self.progress.latest,
            **tested,
            **shares_by_layer(self.run_dir, self.learner.model),
            "status": "completed",
        }
        if self.replicas.rank == 0:
            kept = {key: value for key, value in metrics.items() if key != "test_forced"}
            self.note = "; ".join(part for part in (self.note, write_result(self.run_dir, kept)) if part)
            self.stored.push()
        return self.told(metrics)

    def _test_figures(self) -> Metrics:
        """Open the test set: its figures, and each answer in a file of the run's folder."""
        split = split_of(self.data, self.config, "test")
        found = self._evaluated(split, answers=True)
        if self.replicas.rank == 0:
            assert found.answers is not None
            correct = found.answers == split.labels
            write_predictions(
                self.run_dir, Predictions(self.data.test_set, self.config.fingerprint(), found.answers, correct)
            )
        return found.metrics("test")

    def _tested_on(self) -> Metrics:
        """Which test set the run's answers are of, and how many images it has; nothing where they are not there."""
        try:
            found = read_predictions(self.run_dir)
        except UserError as error:
            self.note = "; ".join(part for part in (self.note, str(error)) if part)
            return {}
        return {} if found is None else {"test_set": found.test_set, "test_images": found.images}
