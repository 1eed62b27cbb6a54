"""Training: frames and a model in, a run's folder out. Lightning carries devices, processes and their launchers;
the step, and what is saved when, are written out here, so that a resumed run takes the very same steps."""

from __future__ import annotations

import logging
import math
import os
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import ase
import lightning.pytorch as lightning
import torch
from ase.data import atomic_numbers
from lightning.fabric.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from workbench.dataset import Batch, Batches, GraphDataset, check_pair
from workbench.jobs import Control
from workbench.losses import errors, loss, residuals, sums
from workbench.metrics import Report, memory_GB
from workbench.models.contract import Potential
from workbench.optimizers import Lamb, average
from workbench.predict import properties
from workbench.runs import Outcome, Run, TrainingConfig, fingerprint
from workbench.signals import signals_stop
from workbench.splits import Baseline
from workbench.stream import Stream

__all__ = ["Diverged", "Run", "TrainingConfig", "fit"]


# Where a training stands, besides weights and optimizer: kept under these names.
PLACE = ("step", "seconds", "best_loss", "best_step", "n_worse")
REASONS = {
    "finished": "all {epochs} epochs are done",
    "early": "{patience} validations in a row were no better",
    "out of time": "the {max_minutes} minutes are over",
    "stopped": "it was asked to stop",
}


class Diverged(RuntimeError):
    """The loss or its gradient is no longer a finite number."""


def fit(
    model: Potential,
    train: Sequence[ase.Atoms],
    validation: Sequence[ase.Atoms],
    config: TrainingConfig = TrainingConfig(),  # noqa: B008, it is frozen
    *,
    folder: str | Path,
    stream: Stream | None = None,
    control: Control | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Run:
    """Train `model` on labelled frames; afterwards it holds the weights with the lowest validation loss.

    train, validation   frames whose ASE calculator holds the labels; the model's baseline and its known elements
                        come from `train`
    config              how to train
    folder              of the run; everything is kept there while it goes on
    stream              gets a row at every step and every validation (names and units as in metrics.csv)
    control             pause and stop, from another thread; Ctrl-C stops too, after the current step
    resume              continue the run in `folder` from its last saved state, to the digit; begin it if none is there
    progress            one line with the errors and the time left

    Works unchanged under torchrun and srun: every process takes its share of each batch. Run it in the background
    with `jobs.start(fit, model, train, validation, config, folder=...)`.

    Raises, before anything is written: ValueError for frames without the wanted labels, that the model cannot treat,
    or that are not those of the run to resume; FileExistsError when `folder` holds a run and resume is False. Later:
    Diverged when the loss is not finite, OSError when saving fails; what was saved before stays.
    """
    environment, devices, nodes = _launcher()
    rank, world = environment.global_rank(), devices * nodes
    quantities = tuple(config.weights)
    training = GraphDataset(train, model.cutoff, quantities, "the training data")
    held_out = GraphDataset(validation, model.cutoff, quantities, "the validation data")
    check_pair(training, held_out, model.periodic, config.batch_size, world)
    data = {"train": fingerprint(train), "validation": fingerprint(validation)}
    run = Run.begin(folder, model, config, data, resume) if rank == 0 else Run(Path(folder))
    state = run.state() if resume else None
    device = model.device
    _set_baseline(model, train, config)
    model.to(getattr(torch, config.precision)).train()
    fitting = _Fitting(model, training, held_out, run, config, control or Control(), rank, world)
    if state is not None:
        fitting.restore(state)
    if fitting.ended:
        fitting.conclude()
    else:
        with signals_stop(fitting.control), _quiet():
            trainer = _trainer(config, environment, devices, nodes)
            if rank == 0:
                path, stream = run.folder / "metrics.csv", Stream() if stream is None else stream
                fitting.report = Report(path, config.weights, fitting.step, fitting.n_steps, stream, progress)
            fitting.go(trainer)
    model.to(device).load_state_dict(run.model("best").state_dict())
    model.eval()
    return run


def _set_baseline(model: Potential, train: Sequence[ase.Atoms], config: TrainingConfig) -> None:
    """Write into the model the elements that `train` has and their energies that fit it best."""
    model.known.zero_()
    model.known[sorted({int(z) for frame in train for z in frame.numbers})] = True
    model.baseline.zero_()
    if "energy" in config.weights:
        for symbol, energy in Baseline.fit(train).energies.items():
            model.baseline[atomic_numbers[symbol]] = energy


class _Fitting(lightning.LightningModule):
    """A training under way.

    step       optimizer steps taken, over all epochs; the frames and the learning rate of a step follow from it
    average    exponential average of the weights, if asked for: what is validated and kept
    ended      how it ended ("" while it goes on), one of Outcome's states
    """

    def __init__(
        self,
        model: Potential,
        training: GraphDataset,
        validation: GraphDataset,
        run: Run,
        config: TrainingConfig,
        control: Control,
        rank: int,
        world: int,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self.average = average(model, config.ema_decay) if config.ema_decay else None
        self.run, self.config, self.control, self.rank, self.world = run, config, control, rank, world
        self.training_data = training
        self.held_out = Batches(validation, config.batch_size, rank=rank, world=world)
        self.steps_per_epoch = Batches(training, config.batch_size).steps_per_epoch
        self.n_steps = config.epochs * self.steps_per_epoch
        self.report: Report | None = None
        self.step, self.seconds, self.ended = 0, 0.0, ""
        self.best_loss, self.best_step, self.n_worse = math.inf, 0, 0
        self._optimizer_state: dict[str, Any] | None = None

    def go(self, trainer: lightning.Trainer) -> None:
        """Train to the end, whichever it is, and write down how it was."""
        self._began = (self.step, self.seconds)
        self._mark = self._saved_at = time.monotonic()
        config = self.config
        batches = Batches(
            self.training_data,
            config.batch_size,
            seed=config.seed,
            start=self.step,
            stop=self.n_steps,
            rank=self.rank,
            world=self.world,
        )
        reason = ""
        try:
            trainer.fit(self, _loader(batches))
        except Diverged as error:
            self.ended, reason = "diverged", str(error)
            raise
        except SIGTERMException:  # between two steps
            self.ended, reason = "stopped", "the system asked it to end (SIGTERM)"
            self.save()
            raise
        except SystemExit as error:  # what Lightning makes of a KeyboardInterrupt
            raise KeyboardInterrupt from error
        finally:
            if self.report is not None:
                self.report.close()
            self.conclude(reason)

    # What Lightning calls

    def configure_optimizers(self) -> torch.optim.Optimizer:
        weights = self.model.parameters()
        self.optimizer = (
            torch.optim.Adam(weights, fused=True) if self.config.optimizer == "adam" else Lamb(weights)
        )
        if self._optimizer_state is not None:
            self.optimizer.load_state_dict(self._optimizer_state)
        return self.optimizer

    def training_step(self, batch: Batch, index: int) -> None:
        """One step of the optimizer."""
        asked_at = time.monotonic()
        self.control.wait_and_see_stop()
        self._mark += time.monotonic() - asked_at  # a pause does not count as time of training
        self._learning_rate = self.config.learning_rate_at(self.epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate
        difference = _residuals(self.model, batch, create_graph=True)
        objective = loss(difference, self.config.weights, batch.counts)
        self.optimizer.zero_grad()
        # The loss is the sum over devices of their shares; the gradient they agree on is the mean.
        self.manual_backward(objective * self.world)
        norm = get_total_norm([p.grad for p in self.model.parameters() if p.grad is not None])
        if self.config.gradient_clip:
            clip_grads_with_norm_(self.model.parameters(), self.config.gradient_clip, norm)
        self._agree(objective.detach(), norm, sums(difference))
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.model)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Tell, validate, save and stop, where it is time to."""
        now = time.monotonic()
        self.step += 1
        self._tell_step(batch, now - self._mark)
        if self.step == self.n_steps or self.step % (self.config.validate_every * self.steps_per_epoch) == 0:
            self._validate()
        self.ended = self._end() or ("stopped" if self._stop else "out of time" if self._late else "")
        if self.ended and math.isinf(self.best_loss):
            self._validate()  # whoever stops early still gets a model
        self.seconds += time.monotonic() - self._mark
        self._mark = time.monotonic()
        if self.ended or self._due:
            self.save()
        self.trainer.should_stop = bool(self.ended)

    def on_train_end(self) -> None:
        self.trainer.strategy.barrier()  # other processes read the files when all are written

    # What a step is made of

    @property
    def epoch(self) -> float:
        """Passes over the training frames so far, whole or not."""
        return self.step / self.steps_per_epoch

    def _agree(self, objective: Tensor, norm: Tensor, sums: Tensor) -> None:
        """Add up the numbers and wishes of all devices, and look at them before the weights change."""
        first, now = self.rank == 0, time.monotonic()  # clocks differ, so one device's counts
        seconds = self.seconds + now - self._mark
        late = first and 0 < 60 * self.config.max_minutes <= seconds
        due = first and now - self._saved_at >= 60 * self.config.save_every_minutes
        wishes = torch.tensor([self.control.stopping, late, due], dtype=torch.float64, device=sums.device)
        numbers = torch.stack([objective.double(), norm.double() / self.world])
        everything = self._over_devices(torch.cat([numbers, wishes, sums.flatten()])).cpu()
        self._loss, self._norm, *asked = everything[:5].tolist()
        self._stop, self._late, self._due = (wish > 0 for wish in asked)
        self._sums = everything[5:].reshape(-1, 3)
        if not (math.isfinite(self._loss) and math.isfinite(self._norm)):
            raise Diverged(
                f"at step {self.step + 1} (epoch {self.epoch:.2f}) the loss is {self._loss} and the length of its "
                f"gradient {self._norm}; {self._advice}"
            )

    def _over_devices(self, tensor: Tensor) -> Tensor:
        return self.trainer.strategy.reduce(tensor, reduce_op="sum") if self.world > 1 else tensor

    def _tell_step(self, batch: Batch, duration: float) -> None:
        if self.report is None:
            return
        seconds = self.seconds + duration
        first_step, first_seconds = self._began
        row = {
            "step": self.step,
            "epoch": self.epoch,
            "minutes": seconds / 60,
            "loss": self._loss,
            **errors(self._sums, tuple(batch.labels)),
            "learning_rate": self._learning_rate,
            "gradient_norm": self._norm,
            "structures_per_s": batch.counts["energy"] / duration,
            "memory_GB": memory_GB(self.device),
            "seconds_left": (seconds - first_seconds) / (self.step - first_step) * (self.n_steps - self.step),
        }
        self.report.step(row)

    def _validate(self) -> None:
        """Errors on the validation frames; the model is kept when its loss is the lowest so far."""
        weights, model = self.config.weights, self._kept
        model.eval()
        total = torch.zeros(len(weights), 3, dtype=torch.float64, device=self.device)
        for batch in self.held_out:
            total += sums(_residuals(model, batch.to(self.device)))
        self.model.train()
        total = self._over_devices(total).cpu()
        means = (total[:, 2] / total[:, 0]).tolist()
        value = sum(weight * mean for weight, mean in zip(weights.values(), means, strict=True))
        if not math.isfinite(value):
            raise Diverged(
                f"at step {self.step} (epoch {self.epoch:.2f}) the validation loss is {value}; " + self._advice
            )
        better = value < self.best_loss
        self.n_worse = 0 if better else self.n_worse + 1
        if better:
            self.best_loss, self.best_step = value, self.step
            if self.rank == 0:
                self.run.save_model("best", model)
        if self.report is not None:
            named = {"loss": value, **errors(total, tuple(weights))}
            row = {f"validation_{name}": number for name, number in named.items()}
            self.report.validation({"step": self.step, "epoch": self.epoch, **row, "best": float(better)})

    @property
    def _advice(self) -> str:
        return (
            f"what was saved before is intact in {self.run.folder}. Lower learning_rate (it is "
            f"{self.config.learning_rate}), set gradient_clip, or look for wrong labels"
        )

    @property
    def _kept(self) -> Potential:
        """The weights that are validated and kept."""
        return self.model if self.average is None else cast(Potential, self.average.module)

    # Its state, from which it goes on

    def save(self) -> None:
        """Write the newest model and all that resuming needs."""
        self._saved_at = time.monotonic()
        if self.rank != 0:
            return
        self.run.save_model("last", self._kept)
        self.run.save_state(
            {name: getattr(self, name) for name in PLACE}
            | {
                "model": self.model.state_dict(),
                "average": None if self.average is None else self.average.state_dict(),
                "optimizer": self.optimizer.state_dict(),
            }
        )

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to where `save` was called."""
        for name in PLACE:
            setattr(self, name, state[name])
        self.model.load_state_dict(state["model"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self._optimizer_state = state["optimizer"]
        self.ended = self._end()

    def _end(self) -> str:
        """How the training has ended by what it was asked for; "" when it goes on."""
        config = self.config
        if self.step >= self.n_steps:
            return "finished"
        if config.patience and self.n_worse >= config.patience:
            return "early"
        return "out of time" if 0 < 60 * config.max_minutes <= self.seconds else ""

    def conclude(self, reason: str = "") -> None:
        """Write down how it ended."""
        if self.rank != 0 or not self.ended:
            return
        validated = self.best_step > 0
        outcome = Outcome(
            state=self.ended,
            reason=reason or REASONS[self.ended].format(**asdict(self.config)),
            step=self.step,
            epoch=self.epoch,
            minutes=self.seconds / 60,
            best_loss=self.best_loss if validated else None,
            best_epoch=self.best_step / self.steps_per_epoch if validated else None,
        )
        self.run.end(outcome)


def _residuals(model: Potential, batch: Batch, create_graph: bool = False) -> dict[str, Tensor]:
    predicted = properties(
        model,
        batch.graph,
        forces="forces" in batch.labels,
        stress="stress" in batch.labels,
        create_graph=create_graph,
    )
    return residuals(predicted, batch.labels, batch.graph.sizes)


def _launcher() -> tuple[ClusterEnvironment, int, int]:
    """Who started this process, devices per node, and nodes. Without torchrun or srun it is one device: a notebook
    on a machine with eight GPUs trains on one of them."""
    if TorchElasticEnvironment.detect():
        local = int(os.environ["LOCAL_WORLD_SIZE"])
        return TorchElasticEnvironment(), local, int(os.environ["WORLD_SIZE"]) // local
    # Inside an allocation only what srun started counts: a notebook or a script there is one process.
    if int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        nodes = int(os.environ["SLURM_NNODES"])
        return SLURMEnvironment(auto_requeue=False), int(os.environ["SLURM_NTASKS"]) // nodes, nodes
    return LightningEnvironment(), 1, 1


def _trainer(
    config: TrainingConfig, environment: ClusterEnvironment, devices: int, nodes: int
) -> lightning.Trainer:
    """Lightning's Trainer with everything off that the run's folder does."""
    on_gpu = config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available())
    # A weight that one device's share of the frames does not reach has no gradient there.
    strategy = DDPStrategy(find_unused_parameters=True) if devices * nodes > 1 else "auto"
    return lightning.Trainer(
        accelerator="gpu" if on_gpu else "cpu",
        devices=devices,
        num_nodes=nodes,
        strategy=strategy,
        plugins=[environment],
        max_epochs=1,  # all steps are one epoch of Lightning's, so that it has nothing to resume
        barebones=True,
        use_distributed_sampler=False,
    )


def _loader(batches: Batches) -> CombinedLoader:
    """What Lightning wraps batches in, made here because Lightning 2.6 makes it in a way that torch 2.13 warns of."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
        return CombinedLoader(batches, "max_size_cycle")


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning's banners off, its warnings on."""
    log = logging.getLogger("lightning.pytorch")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(level)
