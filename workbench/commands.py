"""What `workbench train`, `evaluate`, `md` and `explain` do: arguments in, an Answer out.

Each command is a pair: `NAME_options` adds its arguments to a parser, `NAME` runs it.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import flags

if TYPE_CHECKING:
    import ase

    from workbench.models import Potential
    from workbench.runs import Run
    from workbench.stream import Row, Stream

FAILURE, MISTAKE, INTERRUPTED = 1, 2, 130


@dataclass(frozen=True)
class Answer:
    """What a command found."""

    document: Mapping[str, Any]  # for machines: names with units, numbers, lists
    text: str  # the same for people
    code: int = 0
    error: str = ""  # why the code is 1 or 2


def table(rows: Sequence[Sequence[Any]]) -> str:
    """Columns side by side."""
    words = [[f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*words, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in words)


# train


def train_options(parser: argparse.ArgumentParser) -> None:
    from workbench.models import MODELS
    from workbench.runs import TrainingConfig

    flags.add_data(parser)
    parser.add_argument("--folder", required=True, help="of the run; everything is kept there while it goes on")
    parser.add_argument("--model", choices=sorted(MODELS), help="which one to train [lorem]")
    parser.add_argument("--preset", metavar="WORD", help="a size of the model, listed below")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the model, listed below"
    )
    parser.add_argument(
        "--from",
        dest="source",
        metavar="RUN_OR_CHECKPOINT",
        help="begin with the weights of this trained model (of a run: its best), changed by --set",
    )
    add_validation(parser)
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue the run in the folder, with the settings it was begun with; begin it if none is there",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=0,
        metavar="N",
        help="processes that prepare batches ahead, for data on disk [0]",
    )
    flags.add_flags(
        parser.add_argument_group("training"), TrainingConfig, [field.name for field in fields(TrainingConfig)]
    )
    parser.epilog = "\n".join(map(_settings_of, MODELS.values()))


def add_validation(parser: argparse.ArgumentParser) -> None:
    """--validation and --group: which frames of DATA are not trained on."""
    parser.add_argument(
        "--validation",
        metavar="DATA",
        help="a file, a data set by name, a fraction (0.1) or a number of the frames (100) "
        '[what info["split"] says, else 0.1]',
    )
    parser.add_argument(
        "--group",
        metavar="KEY",
        help="frames with the same info[KEY] go to the same side of a drawn validation",
    )


def _settings_of(model: type[Potential]) -> str:
    """The presets and settings of a model, for --help."""
    said = flags.described(model.Config, ())
    settings = [(f"  {f.name}={f.default}", said.get(f.name, "")) for f in fields(model.Config)]
    presets = [
        (f"  --preset {name}", flags.one_line(values) or "the settings above")
        for name, values in model.presets.items()
    ]
    return f"{model.name}, for --set and --preset:\n{table([*settings, *presets])}"


def train(args: argparse.Namespace) -> Answer:
    import torch

    from workbench.models import MODELS, build
    from workbench.runs import TrainingConfig
    from workbench.training import fit

    begun = Path(args.folder, "config.json")
    before = json.loads(begun.read_text(encoding="utf-8")) if args.resume and begun.is_file() else {}
    asked = flags.given(args, [field.name for field in fields(TrainingConfig)])
    config = TrainingConfig.of({**before.get("training", {}), **asked})
    train, validation, origin = parts(args, config.seed)
    torch.manual_seed(config.seed)  # of the first weights
    if args.source:
        model = _continued(args)
    elif before and not (args.model or args.preset or args.set):
        model = build(before["model"]["name"], **before["model"]["config"])
    else:
        name = args.model or "lorem"
        model = build(name, args.preset, **flags.settings(args.set, MODELS[name].Config))
    run = fit(
        model, train, validation, config, folder=args.folder, resume=args.resume, progress=sys.stderr.isatty(),
        workers=args.workers,
    )  # fmt: skip
    if int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))):
        return Answer({}, "")  # one of the processes of torchrun or srun speaks for all
    return _trained(run, model, {"train": len(train), "validation": len(validation), "split": origin})


def _continued(args: argparse.Namespace) -> Potential:
    """A model with the weights of --from and the settings of --set."""
    from workbench.checkpoint import build_from

    source = flags.trained(args.source)
    if args.preset:
        raise ValueError(
            f"--preset {args.preset}: the settings come from --from {args.source}; change some by --set"
        )
    if args.model not in (None, source.name):
        raise ValueError(
            f"--model {args.model}: {args.source} holds the model {source.name}. Leave --model out"
        )
    return build_from(source, **flags.settings(args.set, type(source.config)))


def _trained(run: Run, model: Potential, data: Mapping[str, Any]) -> Answer:
    """How a training ended, and the errors of its best model."""
    outcome = run.outcome
    if outcome is None:
        raise RuntimeError(f"{run.folder} does not say how the training ended")
    rows = [row for row in run.metrics.since(0) if "validation_loss" in row]
    best = min(rows, key=lambda row: row["validation_loss"], default={})
    errors = {name.removeprefix("validation_"): best[name] for name in best if name.startswith("validation_")}
    document = {
        "folder": run.folder,
        "outcome": asdict(outcome),
        "model": {"name": model.name, "n_parameters": model.n_parameters, "config": asdict(model.config)},
        "data": data,
        "best_validation": errors,
    }
    text = (
        f"{outcome.state}: {outcome.reason}; {outcome.step} steps, {outcome.epoch:.4g} epochs, "
        f"{outcome.minutes:.2g} minutes\n"
        f"{model.name} with {model.n_parameters} parameters; {data['train']} structures to learn, "
        f"{data['validation']} to validate ({data['split']})\n"
    )
    if errors:
        text += f"best validation, epoch {best['epoch']:.4g}, in {run.folder / 'best.safetensors'}:\n"
        text += table([(f"  {name.replace('_', ' ')}", value) for name, value in errors.items()])
    return Answer(document, text.rstrip(), INTERRUPTED if outcome.state == "stopped" else 0)


def parts(args: argparse.Namespace, seed: int) -> tuple[Sequence[ase.Atoms], Sequence[ase.Atoms], str]:
    """Frames to train on, frames to validate on, and who decided."""
    from workbench.catalogue import DATASETS
    from workbench.splits import given_split, named_parts, split

    keys = flags.given(args, flags.READING)
    frames = flags.frames(args.data, args.index, args.split, **keys)
    drawn = args.validation is not None or args.group is not None
    if not drawn and {"train", "validation"} <= named_parts(frames):
        train, validation, _ = given_split(frames)
        return train, validation, "as the data say"
    asked = args.validation or "0.1"
    try:
        size = int(asked) if asked.isdigit() else float(asked)
    except ValueError:
        named = {} if asked in DATASETS else keys
        return frames, flags.frames(asked, **named), f"validation from {asked}"
    train, validation, _ = split(frames, validation=size, test=0, seed=seed, group=args.group)
    return train, validation, f"{asked} of the frames, drawn with seed {seed}"


# evaluate


def evaluate_options(parser: argparse.ArgumentParser) -> None:
    from workbench.evaluation import evaluate

    flags.add_model(parser)
    flags.add_data(parser)
    flags.add_flags(parser, evaluate, ["batch_size"])


def evaluate(args: argparse.Namespace) -> Answer:
    from workbench.evaluation import evaluate

    frames = flags.frames(args.data, args.index, args.split, **flags.given(args, flags.READING))
    errors = evaluate(flags.model(args), frames, **flags.given(args, ["batch_size"]))
    n_atoms = int(errors.n_atoms.sum())
    document = {"model": args.model, "data": frames.name, "n_structures": len(frames), "n_atoms": n_atoms}
    text = f"{len(frames)} structures, {n_atoms} atoms of {frames.name}\n"
    text += table([(f"  {name.replace('_', ' ')}", value) for name, value in errors.numbers.items()])
    return Answer({**document, "errors": errors.numbers}, text)


# md

MD = (
    *("ensemble", "temperature_K", "pressure_bar", "timestep_fs", "n_steps", "time_ps", "thermostat_time_fs"),
    *("barostat_time_fs", "seed", "trajectory", "interval"),
)


def md_options(parser: argparse.ArgumentParser) -> None:
    from workbench.dynamics import run_md

    flags.add_model(parser)
    flags.add_structure(parser)
    parser.add_argument("--rows", metavar="FILE", help="a CSV file for energies and temperature of every step")
    parser.add_argument(
        "--compile",
        action="store_true",
        help="for long runs of one molecule: minutes of compiling, then about twice the speed",
    )
    flags.add_flags(parser.add_argument_group("dynamics"), run_md, MD)


def md(args: argparse.Namespace) -> Answer:
    from workbench.analysis import drift_of
    from workbench.calculator import Calculator
    from workbench.dynamics import run_md
    from workbench.stream import Stream

    (atoms,) = flags.frames(args.data, args.index)
    model = flags.model(args)
    stream = Stream()
    if sys.stderr.isatty():
        _show_progress(stream)
    with _rows_to(args.rows, stream):
        atoms.calc = Calculator(model, compiled=args.compile)
        run = run_md(atoms, stream=stream, **flags.given(args, MD))
    if sys.stderr.isatty():
        print(file=sys.stderr)
    rows = stream.since(0)
    later = [row["temperature_K"] for row in rows[len(rows) // 2 :]]
    facts = {
        "state": run.state,
        "reason": run.reason,
        "n_atoms": len(run.atoms),
        "n_steps": run.n_steps,
        "time_fs": rows[-1]["time_fs"],
        "temperature_K": sum(later) / len(later),  # over the second half
        "steps_per_s": rows[-1].get("steps_per_s", math.nan),
        "trajectory": run.trajectory,
        "rows": args.rows,
    }
    shown = [
        (f"  {name.replace('_', ' ')}", fact) for name, fact in list(facts.items())[2:] if fact is not None
    ]
    text = f"{run.state}: {run.reason}\n{table(shown)}\n"
    if "conserved_energy" in rows[0] and run.state != "exploded":
        drift = drift_of(rows, len(run.atoms))
        facts["drift"] = asdict(drift)
        text += f"energy: {drift.verdict}"
    else:
        text += "no drift: " + (
            "the run exploded" if run.state == "exploded" else "this ensemble conserves no energy"
        )
    if run.state == "exploded":
        return Answer(facts, text, FAILURE, run.reason)
    return Answer(facts, text, INTERRUPTED if run.state == "stopped" else 0)


@contextmanager
def _rows_to(path: str | None, stream: Stream) -> Iterator[None]:
    """Write every row of a run to a CSV file as it comes."""
    if path is None:
        yield
        return
    with open(path, "w", newline="", encoding="utf-8") as file:
        names: list[str] = []
        writer = csv.DictWriter(file, names, extrasaction="ignore")

        def write(row: Row) -> None:
            if not names:
                names.extend(row)
                writer.writeheader()
            writer.writerow(row)

        stop = stream.subscribe(write)
        try:
            yield
        finally:
            stop()


def _show_progress(stream: Stream) -> None:
    """One line on the terminal, renewed a few times a second."""
    shown_at = 0.0

    def show(row: Row) -> None:
        nonlocal shown_at
        if "seconds_left" in row and time.monotonic() - shown_at > 0.3:
            shown_at = time.monotonic()
            line = f"{row['time_fs'] / 1000:.3f} ps, {row['temperature_K']:.0f} K, {row['seconds_left']:.0f} s left"
            print(f"\r{line:<60}", end="", file=sys.stderr, flush=True)

    stream.subscribe(show)


# explain


def explain_options(parser: argparse.ArgumentParser) -> None:
    flags.add_model(parser)
    flags.add_structure(parser)
    parser.add_argument(
        "--out",
        default="explanation.npz",
        metavar="FILE",
        help="numbers of every atom and pair, as .npz or .json; replaced if it exists [explanation.npz]",
    )


def explain(args: argparse.Namespace) -> Answer:
    from workbench import explanation
    from workbench.predict import predict

    if Path(args.out).suffix not in explanation.SUFFIXES:
        raise ValueError(f"--out {args.out}: expected a name that ends in {' or '.join(explanation.SUFFIXES)}")
    (atoms,) = flags.frames(args.data, args.index)
    model = flags.model(args)
    prediction = predict(model, atoms, diagnose=True)
    path = explanation.write(args.out, atoms, prediction)
    rows = explanation.summary(atoms, prediction)
    document = {
        "file": path,
        "formula": atoms.get_chemical_formula(),
        "energy": prediction.energy,
        "largest_force": explanation.largest_force(prediction),
        "summary": rows,
    }
    text = f"{document['formula']}: {prediction.energy:.6f} eV, largest force {document['largest_force']:.4g} eV/Å\n"
    text += table([list(rows[0]), *(list(row.values()) for row in rows)]) if rows else "the model shows nothing"
    return Answer(document, f"{text}\nall numbers are in {path}")
