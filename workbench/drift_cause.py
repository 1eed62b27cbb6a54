"""Why the energy of a run drifts: timestep, precision, the surface at the cutoff, or forces that are not a gradient."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

import ase
import numpy as np
import torch
from ase import units
from ase.constraints import FixAtoms

from workbench.analysis import Drift, drift
from workbench.blocks import N_BLOCKS, block_means
from workbench.dynamics import run_md
from workbench.jobs import Control
from workbench.models.contract import Potential
from workbench.path_work import Account, Break, Surface, account
from workbench.stream import Row, Stream

PARTS = ("timestep", "precision", "surface", "forces")
AS_IT_WAS, HALF, DOUBLE = "as it was", "half the timestep", "double precision"
MATTERS_WITHIN_PS = 1000.0
RUNS_AWAY = 8.0  # the energy wanders so much less at half the timestep; four times where the timestep is sound


@dataclass(frozen=True)
class Rerun:
    """A short run of NVE from the state that was asked about.

    wander_meV_per_atom   standard deviation of the total energy; a sound timestep's falls to a quarter at half of it
    """

    name: str  # "as it was", "half the timestep", "double precision"
    timestep_fs: float
    drift: Drift
    wander_meV_per_atom: float
    state: str  # as run_md says it


@dataclass(frozen=True)
class DriftCause:
    """What `diagnose_drift` found.

    cause           "timestep", "precision", "cutoff", "surface" (jumps or kinks elsewhere), "forces" or "none"
    verdict         the same in words, with what to do
    total           the trend of the total energy over the stretch
    parts           what "timestep", "precision", "surface" (jumps and kinks) and "forces" (work of forces that are not
                    the gradient) each add to it: their slopes sum to that of `total`
    reruns          the stretch as it was, at half the timestep, and in double precision where that is another
    forces_error    rms of the power along the path that is no gradient's, over the rms of the power: 0 to rounding
                    where forces are the gradient of the energy
    breaks          the worst places on the path where the energy or its slope jumps
    """

    cause: str
    verdict: str
    total: Drift
    parts: dict[str, Drift]
    reruns: tuple[Rerun, ...]
    forces_error: float
    breaks: tuple[Break, ...]
    n_steps: int
    timestep_fs: float


def diagnose_drift(
    atoms: ase.Atoms,
    model: Potential | None = None,
    timestep_fs: float = 0.5,
    *,
    n_steps: int = 1000,
    cutoff: float | None = None,
    control: Control | None = None,
    progress: Callable[[float], None] | None = None,
) -> DriftCause | None:
    """Rerun a short stretch without thermostat from this state, and say what makes its energy drift.

    atoms         with velocities: a frame of the run, e.g. `run_md(...).atoms`. They stay as they are
    model         a Potential; None uses the calculator that `atoms` carry
    timestep_fs   of the run
    n_steps       of the stretch; a slow drift needs a long one
    cutoff        Å, of a calculator, so that jumps can be laid to it; of a Potential it is known
    control       stop() ends it; None is returned then
    progress      called with the share that is done in 0..1

    Three witnesses. The account of the path (`workbench.path_work`): step by step, how much of the energy's change
    is the integrator's error, the model's precision, a jump or kink of the energy, or work of forces that are not its
    gradient; the parts sum to the whole. Finite differences of the energy along the path. And reruns at half the
    timestep and in double precision, which anybody can repeat: they show what a remedy brings.

    A part is guilty when its trend is twice its own 95 % interval from zero and would move the energy by the kinetic
    energy's fluctuation within a nanosecond (the community's drift ratio, per time); of several, the one with the
    largest. Without a trend, the part is guilty by which the energy wanders most, if a random walk would come as far
    within a nanosecond. The timestep's part always swings; it is guilty when it swings eight times less at half the
    timestep, where theory has four.

    Raises ValueError for atoms without velocities, or that explode before 32 steps, or with constraints other than
    fixed atoms; and as `run_md` does.
    """
    _check(atoms, n_steps)
    start = atoms.copy()
    start.calc = atoms.calc
    start.set_momenta(atoms.get_momenta())  # held atoms lose theirs
    switches = Control() if control is None else control
    plans = _plans(model, timestep_fs, n_steps)
    # The account asks about four times for every step.
    effort, done = sum(plan.n_steps for plan in plans) + 4 * n_steps, 0

    def advance(steps: int) -> bool:
        if progress is not None:
            progress(min((done + steps) / effort, 1.0))
        return switches.wait_and_see_stop()

    reruns = []
    for plan in plans:
        reruns.append(_run(start, plan, switches, advance))
        if switches.stopping:
            return None
        done += plan.n_steps
    first = reruns[0]
    found = account(
        Surface(start, model),
        np.array([frame.positions for frame in first.frames]),
        np.array(first.rows.column("total_energy")[: len(first.frames)]),
        atoms.get_masses(),
        timestep_fs * units.fs,
        cutoff if model is None else model.cutoff,
        lambda steps: advance(4 * steps),
    )
    return None if found is None else _judged(found, reruns, len(atoms))


@dataclass(frozen=True)
class _Plan:
    """What to rerun."""

    name: str
    model: Potential | None
    timestep_fs: float
    n_steps: int


@dataclass(frozen=True)
class _Rerun:
    """What came of it: rows of all steps, and of the first rerun all frames."""

    plan: _Plan
    rows: Stream
    frames: list[ase.Atoms]
    state: str


def _check(atoms: ase.Atoms, n_steps: int) -> None:
    if not (atoms.has("momenta") and atoms.get_momenta().any()):
        raise ValueError("the atoms carry no velocities; take a frame of the run, e.g. run_md(...).atoms")
    if n_steps < N_BLOCKS:
        raise ValueError(f"n_steps is {n_steps}; expected at least {N_BLOCKS}, better 1000")
    if any(not isinstance(constraint, FixAtoms) for constraint in atoms.constraints):
        raise ValueError("the work of constraints other than FixAtoms is not accounted for; remove them")


def _plans(model: Potential | None, timestep_fs: float, n_steps: int) -> list[_Plan]:
    plans = [
        _Plan(AS_IT_WAS, model, timestep_fs, n_steps),
        _Plan(HALF, model, timestep_fs / 2, 2 * n_steps),
    ]
    if model is not None and model.dtype != torch.float64:
        plans.append(_Plan(DOUBLE, copy.deepcopy(model).double(), timestep_fs, n_steps))
    return plans


def _run(atoms: ase.Atoms, plan: _Plan, control: Control, advance: Callable[[int], bool]) -> _Rerun:
    rows = Stream()
    frames: list[ase.Atoms] = []

    def count(row: Row) -> None:
        advance(int(row["step"]))

    rows.subscribe(count)
    run = run_md(
        atoms,
        plan.model,
        timestep_fs=plan.timestep_fs,
        n_steps=plan.n_steps,
        interval=1 if plan.name == AS_IT_WAS else plan.n_steps,
        watch=frames.append,
        stream=rows,
        control=control,
    )
    if plan.name == AS_IT_WAS and run.n_steps < N_BLOCKS and not control.stopping:
        raise ValueError(
            f"the stretch {run.reason}; take an earlier frame, {N_BLOCKS} steps before the end at least"
        )
    return _Rerun(plan, rows, frames, run.state)


def _judged(found: Account, reruns: Sequence[_Rerun], n_atoms: int) -> DriftCause:
    plan, rows = reruns[0].plan, reruns[0].rows.since(0)[: len(found.timestep)]
    times, energies, kinetic = (
        np.array([row[name] for row in rows]) for name in ("time_fs", "total_energy", "kinetic_energy")
    )
    parts = {name: drift(times, getattr(found, name), n_atoms, kinetic) for name in PARTS}
    total = drift(times, energies, n_atoms, kinetic)
    stretches = tuple(_shown(rerun, n_atoms) for rerun in reruns)
    # In so short a stretch the kinetic energy may hardly have begun to fluctuate: at least as harmonic NVE does.
    fluctuation = max(float(kinetic.std()), float(kinetic.mean()) / (3 * n_atoms) ** 0.5)
    cause, wanders = _cause(found, parts, stretches, fluctuation, times[-1] / 1000)
    verdict = _in_words(cause, wanders, found, total, parts, stretches)
    return DriftCause(
        cause,
        verdict,
        total,
        parts,
        stretches,
        found.forces_error,
        found.breaks,
        len(times) - 1,
        plan.timestep_fs,
    )


def _shown(rerun: _Rerun, n_atoms: int) -> Rerun:
    rows = rerun.rows.since(0)
    times, energies, kinetic = (
        np.array([row[name] for row in rows]) for name in ("time_fs", "total_energy", "kinetic_energy")
    )
    line = drift(times, energies, n_atoms, kinetic)
    wander = 1000 * float(np.std(energies)) / n_atoms
    return Rerun(rerun.plan.name, rerun.plan.timestep_fs, line, wander, rerun.state)


def _cause(
    found: Account, parts: Mapping[str, Drift], reruns: Sequence[Rerun], fluctuation: float, span_ps: float
) -> tuple[str, bool]:
    """The part that is to blame, and whether for a wander without a trend."""
    guilty = [name for name in PARTS if _has_trend(parts[name], fluctuation)]
    if guilty:
        worst = max(guilty, key=lambda name: abs(parts[name].meV_per_atom_per_ns))
        return _name(worst, found), False
    wander = {name: float(block_means(getattr(found, name)).std()) for name in PARTS}
    worst = max(wander, key=lambda name: wander[name])
    if worst == "timestep" and wander["surface"] > wander["timestep"] / 3:
        worst = "surface"  # what a kink does to the trapezium and to Simpson's rule is parted by estimate only
    nanoseconds = span_ps / MATTERS_WITHIN_PS
    if worst != "timestep":
        # A random walk grows with the root of the time.
        matters = wander[worst] > fluctuation * nanoseconds**0.5
        return (_name(worst, found), True) if matters else ("none", False)
    runs_away = reruns[0].wander_meV_per_atom > RUNS_AWAY * reruns[1].wander_meV_per_atom
    return ("timestep" if runs_away and wander[worst] > fluctuation * nanoseconds else "none"), True


def _name(part: str, found: Account) -> str:
    """Of the surface: whether it breaks where atoms are a cutoff apart."""
    if part != "surface":
        return part
    return "cutoff" if any(b.pair is not None for b in found.breaks) else part


def _has_trend(part: Drift, fluctuation: float) -> bool:
    rate, error = part.meV_per_atom_per_ns, (part.high_meV_per_atom_per_ns - part.low_meV_per_atom_per_ns) / 2
    return abs(rate) > 2 * error and picoseconds_to_matter(part, fluctuation) < MATTERS_WITHIN_PS


def picoseconds_to_matter(trend: Drift, fluctuation: float) -> float:
    """After how long a trend has moved the energy by the fluctuation of the kinetic energy [eV]."""
    eV_per_ps = abs(trend.meV_per_atom_per_ns) * trend.n_atoms * 1e-6
    return fluctuation / eV_per_ps if eV_per_ps else inf


def _in_words(
    cause: str,
    wanders: bool,
    found: Account,
    total: Drift,
    parts: Mapping[str, Drift],
    reruns: Sequence[Rerun],
) -> str:
    """The verdict: what it is, the numbers, what to do."""
    first, half = reruns[:2]
    span = f"{(total.n_rows - 1) * first.timestep_fs / 1000:.3g} ps"
    if cause == "none":
        return _acquittal(found, total, parts, span)
    if wanders:
        wander = f"{first.wander_meV_per_atom:.2g} meV/atom"
        amount = f"Over {span} the energy wanders by {wander}, without a clear trend yet"
        at_half = f"at half the timestep it wanders by {half.wander_meV_per_atom:.2g}"
    else:
        part = parts["surface" if cause == "cutoff" else cause]
        amount = f"It accounts for {_rate(part)} of the {_rate(total)} that the energy changed over {span}"
        at_half = f"at half the timestep the rerun has {_rate(half.drift)}"
    if cause == "timestep":
        return (
            f"The timestep of {first.timestep_fs:g} fs is too long. {amount}; {at_half}. "
            f"Take {first.timestep_fs / 2:g} fs or less."
        )
    if cause == "precision":
        return (
            f"The precision: the model computes in single precision. {amount}; in double precision the rerun "
            f"has {_rate(reruns[-1].drift)} and wanders by {reruns[-1].wander_meV_per_atom:.2g}. Run model.double()."
        )
    if cause == "forces":
        return (
            "The forces are not the gradient of the energy: along the path the power of the two differs by "
            f"{100 * found.forces_error:.2g} %. {amount}; {at_half}. No timestep mends it: take forces that are "
            "gradients."
        )
    where = _where(found)
    return f"{where} {amount}; {at_half}. A shorter timestep mends kinks in part and jumps not at all."


def _where(found: Account) -> str:
    """What breaks, and where, of the worst step."""
    jumping = [b for b in found.breaks if b.energy]
    at_cutoff = [b for b in found.breaks if b.pair is not None]
    what = "jumps" if jumping else "has kinks"
    worst = max(at_cutoff or found.breaks, key=lambda b: (abs(b.energy), abs(b.force)), default=None)
    if worst is None:
        return (
            "The energy is rough: along single steps it changes by other amounts than the work of the forces."
        )
    size = (
        f"{1000 * abs(worst.energy):.2g} meV"
        if worst.energy
        else f"the force turns by {abs(worst.force):.2g} eV/Å"
    )
    if worst.pair is not None:
        i, j = sorted(worst.pair)
        return f"The energy {what} at the cutoff: {size} when atoms {i} and {j} pass {worst.distance:.3f} Å."
    return (
        f"The energy {what}, and not where a pair passes the cutoff: {size} at step {worst.step:.1f}. A list of "
        "nearest neighbours, a maximum or a norm without softening?"
    )


def _acquittal(found: Account, total: Drift, parts: Mapping[str, Drift], span: str) -> str:
    largest = max(parts, key=lambda name: abs(parts[name].meV_per_atom_per_ns))
    what = "jumps" if any(b.energy for b in found.breaks) else "kinks"
    surface = f"its few {what} along the path matter little" if found.breaks else "it is smooth along the path"
    words = (
        f"No cause found: over {span} the energy changes by {_rate(total)}. The forces are its gradient (to "
        f"{found.forces_error:.0e} of the power), and {surface}."
    )
    if abs(total.meV_per_atom_per_ns) > (total.high_meV_per_atom_per_ns - total.low_meV_per_atom_per_ns) / 2:
        words += f" Most of that is of the {largest}, too little to be sure: ask for more steps."
    return words


def _rate(trend: Drift) -> str:
    error = (trend.high_meV_per_atom_per_ns - trend.low_meV_per_atom_per_ns) / 2
    form = ",.0f" if error >= 10 else ".2g"
    return f"{trend.meV_per_atom_per_ns:+{form}} ± {error:{form}} meV/atom/ns"
