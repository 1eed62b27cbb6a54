"""Training: frames and a model in, a run's folder out. Lightning carries devices, processes and their launchers;
the step, and what is saved when, are written out here, so that a resumed run takes the very same steps."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import ase
import lightning.pytorch as lightning
import numpy as np
import torch
from ase.data import atomic_numbers
from lightning.fabric.plugins import environments
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from workbench.dataset import Batch, Batches, GraphDataset, ahead, check_pair, for_lightning
from workbench.jobs import Control
from workbench.lock import sole_writer
from workbench.losses import errors, loss, mean_loss, residuals, sums
from workbench.metrics import Report, memory_GB
from workbench.models.contract import Potential
from workbench.optimizers import Lamb, adam, average
from workbench.overlap import Changed
from workbench.predict import properties
from workbench.runs import Run, Standing, TrainingConfig, fingerprint
from workbench.signals import signals_stop
from workbench.splits import Baseline
from workbench.stream import Stream
from workbench.threads import threads_for

__all__ = ["Diverged", "Run", "TrainingConfig", "fit"]


_lightning = logging.getLogger("lightning.pytorch")


def _quieten() -> int:
    level = _lightning.level
    _lightning.setLevel(logging.WARNING)
    return level


_quiet = Changed(_quieten, _lightning.setLevel)  # Lightning's banners off, its warnings on


class Diverged(RuntimeError):
    """The loss or its gradient is no longer a finite number."""

    def __init__(self, what: str, config: TrainingConfig, folder: Path) -> None:
        super().__init__(
            f"{what}; what was saved before is intact in {folder}. Lower learning_rate (it is "
            f"{config.learning_rate}), set gradient_clip, or look for wrong labels"
        )


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
    workers: int = 0,
) -> Run:
    """Train `model` on labelled frames; afterwards it holds the weights with the lowest validation loss.

    train, validation   labelled frames, in memory or on disk; baseline and known elements come from `train`
    config              how to train
    folder              of the run; everything is kept there while it goes on
    stream              gets a row at every step and every validation (names and units as in metrics.csv)
    control             pause and stop, from another thread; Ctrl-C stops too, after the current step
    resume              continue the run in `folder` from its last saved state, to the digit; begin it if none is there
    progress            one line with the errors and the time left
    workers             processes that prepare batches ahead, for frames on disk; no number depends on it

    Two stages, where the model can give forces directly: first those, which are cheap to train, then a model of the
    same weights whose forces are the gradient of its energy. The second gets a smaller learning rate.

    >>> direct = build("allscaip", "tiny", direct_forces=True)    # doctest: +SKIP
    >>> first = fit(direct, train, validation, config, folder="runs/direct")    # doctest: +SKIP
    >>> model = build_from(first.folder / "best.safetensors", direct_forces=False)    # doctest: +SKIP
    >>> fit(model, train, validation, gentler, folder="runs/conservative")    # doctest: +SKIP

    Works unchanged under torchrun and srun: each process takes its share. `jobs.start(fit, ...)`: in the background.

    Raises, before anything is written: ValueError for frames without the wanted labels, that the model cannot treat, or
    that are not those of the run to resume; FileExistsError when `folder` holds a run and resume is False;
    BlockingIOError while somebody else trains there. Later: Diverged when the loss is not finite, OSError when saving
    fails; what was saved before stays.
    """
    environment, devices, nodes = _launcher()
    rank, world = environment.global_rank(), devices * nodes
    quantities = tuple(config.weights)
    training = GraphDataset(train, model.cutoff, quantities, "the training data")
    held_out = GraphDataset(validation, model.cutoff, quantities, "the validation data")
    check_pair(training, held_out, model.periodic, config.batch_size, world)
    batches = Batches(
        training, config.batch_size, seed=config.seed, rotate=config.rotate, rank=rank, world=world
    )
    held_out_batches = Batches(held_out, config.batch_size, rank=rank, world=world)
    atoms_per_step = config.batch_size * float(training.sizes.mean())
    data = {"train": fingerprint(train), "validation": fingerprint(validation)}
    with sole_writer(folder) if rank == 0 else nullcontext():
        run = Run.begin(folder, model, config, data, resume) if rank == 0 else Run(Path(folder))
        device = model.device
        _set_baseline(model, training, config)
        model.to(getattr(torch, config.precision)).train()
        fitting = _Fitting(model, batches, held_out_batches, run, config, control or Control())
        if resume and (state := run.state()) is not None:
            fitting.restore(state)
        fitting.conclude()  # of a run that had ended, what the killed process could not write down
        if not fitting.ended:
            with signals_stop(fitting.control), _quiet, threads_for(atoms_per_step):
                trainer = _trainer(config, environment, devices, nodes)
                if rank == 0:
                    path, stream = run.folder / "metrics.csv", Stream() if stream is None else stream
                    at = fitting.at.step
                    fitting.report = Report(path, config.weights, at, fitting.n_steps, stream, progress)
                fitting.go(trainer, workers)
        model.to(device).load_state_dict(run.model("best").state_dict())
    model.eval()
    return run


def _set_baseline(model: Potential, train: GraphDataset, config: TrainingConfig) -> None:
    """Write into the model the elements that `train` has and their energies that fit it best."""
    model.known.zero_()
    model.known[np.unique(train.numbers).tolist()] = True
    model.baseline.zero_()
    if "energy" in config.weights:
        for symbol, energy in Baseline.fit(train.frames).energies.items():
            model.baseline[atomic_numbers[symbol]] = energy


class _Fitting(lightning.LightningModule):
    """A training under way.

    at         where it stands; the frames and the learning rate of a step follow from its number
    average    exponential average of the weights, if asked for: what is validated and kept
    ended      how it ended ("" while it goes on), one of Outcome's states
    """

    def __init__(
        self,
        model: Potential,
        batches: Batches,
        held_out: Batches,
        run: Run,
        config: TrainingConfig,
        control: Control,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self.average = average(model, config.ema_decay) if config.ema_decay else None
        self.batches, self.held_out = batches, held_out
        self.run, self.config, self.control = run, config, control
        self.rank, self.world, self.steps_per_epoch = batches.rank, batches.world, batches.steps_per_epoch
        self.n_steps = config.epochs * self.steps_per_epoch
        self.report: Report | None = None
        self.at, self.ended = Standing(), ""
        self._optimizer_state: dict[str, Any] | None = None

    def go(self, trainer: lightning.Trainer, workers: int) -> None:
        """Train to the end, whichever it is, and write down how it was."""
        self._began = (self.at.step, self.at.seconds)
        self._mark = self._saved_at = time.monotonic()
        self.batches.start, self.batches.stop = self.at.step, self.n_steps
        reason = ""
        try:
            trainer.fit(self, for_lightning(ahead(self.batches, workers)))
        except Diverged as error:
            self.ended, reason = "diverged", str(error)
            raise
        except SystemExit as error:  # what Lightning makes of a KeyboardInterrupt
            raise KeyboardInterrupt from error
        finally:
            if self.report is not None:
                self.report.close()
            self.conclude(reason)

    # What Lightning calls

    def configure_optimizers(self) -> torch.optim.Optimizer:
        self.weights = list(self.model.parameters())  # collected once: walking through the modules takes time
        lamb = self.config.optimizer == "lamb"
        self.optimizer = Lamb(self.weights) if lamb else adam(self.model, self.config.weight_decay)
        if self._optimizer_state is not None:
            self.optimizer.load_state_dict(self._optimizer_state)
        return self.optimizer

    def on_train_start(self) -> None:
        # Lightning's own handler of SIGTERM waits for the other processes from within, and they for this one, for ever.
        self.trainer._signal_connector.teardown()
        if self.at.step == 0:
            self.save()  # a run killed before its first step begins again with the very same weights

    def training_step(self, batch: Batch, index: int) -> None:
        """One step of the optimizer."""
        asked_at = time.monotonic()
        self.control.wait_and_see_stop()
        self._mark += time.monotonic() - asked_at  # a pause does not count as time of training
        self._learning_rate = self.config.learning_rate_at(self.epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate
        difference = _residuals(self.model, batch, create_graph=True)
        objective = loss(difference, self.config.weights, batch.counts, self.config.loss)
        self.optimizer.zero_grad()
        # The loss is the sum over devices of their shares; the gradient they agree on is the mean.
        self.manual_backward(objective * self.world)
        norm = get_total_norm([weight.grad for weight in self.weights if weight.grad is not None])
        if self.config.gradient_clip:
            clip_grads_with_norm_(self.weights, self.config.gradient_clip, norm)
        self._agree(objective.detach(), norm, sums(difference))
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.model)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Tell, validate, save and stop, where it is time to."""
        now = time.monotonic()
        self.at.step += 1
        self._tell_step(batch, now - self._mark)
        period = self.config.validate_every * self.steps_per_epoch
        if self.at.step % period == 0 or self.at.step == self.n_steps:
            self._validate()
        asked = "stopped" if self._stop else "out of time" if self._late else ""
        self.ended = self.at.ended(self.config, self.n_steps) or asked
        if self.ended and math.isinf(self.at.best_loss):
            self._validate()  # whoever stops early still gets a model
        self.at.seconds += time.monotonic() - self._mark
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
        return self.at.step / self.steps_per_epoch

    def _agree(self, objective: Tensor, norm: Tensor, sums: Tensor) -> None:
        """Add up the numbers and wishes of all devices, and look at them before the weights change."""
        first, now = self.rank == 0, time.monotonic()  # clocks differ, so one device's counts
        late = first and 0 < 60 * self.config.max_minutes <= self.at.seconds + now - self._mark
        due = first and now - self._saved_at >= 60 * self.config.save_every_minutes
        wishes = torch.tensor([self.control.stopping, late, due], dtype=torch.float64, device=sums.device)
        numbers = torch.stack([objective.double(), norm.double() / self.world])
        everything = self._over_devices(torch.cat([numbers, wishes, sums.flatten()])).cpu()
        self._loss, self._norm, *asked = everything[:5].tolist()
        self._stop, self._late, self._due = (wish > 0 for wish in asked)
        self._sums = everything[5:].reshape(-1, 4)
        if not (math.isfinite(self._loss) and math.isfinite(self._norm)):
            what = f"at step {self.at.step + 1} (epoch {self.epoch:.2f}) the loss is {self._loss}"
            raise Diverged(f"{what} and its gradient's length {self._norm}", self.config, self.run.folder)

    def _over_devices(self, tensor: Tensor) -> Tensor:
        return self.trainer.strategy.reduce(tensor, reduce_op="sum") if self.world > 1 else tensor

    def _tell_step(self, batch: Batch, duration: float) -> None:
        if self.report is None:
            return
        seconds = self.at.seconds + duration
        first_step, first_seconds = self._began
        left = (seconds - first_seconds) / (self.at.step - first_step) * (self.n_steps - self.at.step)
        if self.config.max_minutes:
            left = min(left, max(60 * self.config.max_minutes - seconds, 0.0))
        row = {
            "step": self.at.step,
            "epoch": self.epoch,
            "minutes": seconds / 60,
            "loss": self._loss,
            **errors(self._sums, tuple(batch.labels)),
            "learning_rate": self._learning_rate,
            "gradient_norm": self._norm,
            "structures_per_s": batch.counts["energy"] / duration,
            "memory_GB": memory_GB(self.device),
            "seconds_left": left,
        }
        self.report.step(row)

    def _validate(self) -> None:
        """Errors on the validation frames; the model is kept when its loss is the lowest so far."""
        weights, model = self.config.weights, self._kept
        model.eval()
        total = torch.zeros(len(weights), 4, dtype=torch.float64, device=self.device)
        for batch in self.held_out:
            total += sums(_residuals(model, batch.to(self.device)))
        self.model.train()
        total = self._over_devices(total).cpu()
        value = mean_loss(total, weights, self.config.loss)
        if not math.isfinite(value):
            what = f"at step {self.at.step} (epoch {self.epoch:.2f}) the validation loss is {value}"
            raise Diverged(what, self.config, self.run.folder)
        better = self.at.judge(value)
        if better and self.rank == 0:
            self.run.save_model("best", model)
        if self.report is not None:
            named = {"loss": value, **errors(total, tuple(weights))}
            row = {f"validation_{name}": number for name, number in named.items()}
            self.report.validation({"step": self.at.step, "epoch": self.epoch, **row, "best": float(better)})

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
            {
                "at": asdict(self.at),
                "model": self.model.state_dict(),
                "average": None if self.average is None else self.average.state_dict(),
                "optimizer": self.optimizer.state_dict(),
            }
        )

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to where `save` was called."""
        self.at = Standing(**state["at"])
        self.model.load_state_dict(state["model"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self._optimizer_state = state["optimizer"]
        self.ended = self.at.ended(self.config, self.n_steps)

    def conclude(self, reason: str = "") -> None:
        """Write down how it ended."""
        if self.rank == 0 and self.ended:
            self.run.end(self.at.outcome(self.ended, self.config, self.steps_per_epoch, reason))


def _residuals(model: Potential, batch: Batch, create_graph: bool = False) -> dict[str, Tensor]:
    asked = {name: name in batch.labels for name in ("forces", "stress")}
    predicted = properties(model, batch.graph, create_graph=create_graph, **asked)
    return residuals(predicted, batch.labels, batch.graph.sizes)


def _launcher() -> tuple[environments.ClusterEnvironment, int, int]:
    """Who started this process, devices per node, and nodes. Without torchrun or srun it is one device: a notebook
    on a machine with eight GPUs trains on one of them."""
    if environments.TorchElasticEnvironment.detect():
        local = int(os.environ["LOCAL_WORLD_SIZE"])
        return environments.TorchElasticEnvironment(), local, int(os.environ["WORLD_SIZE"]) // local
    # Inside an allocation only what srun started counts: a notebook or a script there is one process.
    if int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        nodes, processes = int(os.environ["SLURM_NNODES"]), int(os.environ["SLURM_NTASKS"])
        return environments.SLURMEnvironment(auto_requeue=False), processes // nodes, nodes
    return environments.LightningEnvironment(), 1, 1


def _trainer(
    config: TrainingConfig, environment: environments.ClusterEnvironment, devices: int, nodes: int
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
