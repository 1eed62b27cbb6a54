"""A model card: what a trained model is, what it was trained on, how good it is, and where not to use it.

Mitchell et al., "Model Cards for Model Reporting", FAT* (2019), arXiv:1810.03993, in the form a potential needs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import ase
import numpy as np
from ase.data import chemical_symbols

from workbench.evaluation import Errors, Parity, evaluate
from workbench.graphs import graph
from workbench.models.contract import Potential
from workbench.runs import Run, fingerprint

_PERIODIC = {0: "molecules and clusters", 1: "wires", 2: "slabs", 3: "crystals and liquids"}
_BOND = 2.5  # Å: which pairs have been seen closer than this, and how close


def card(run: Run, train: Sequence[ase.Atoms], test: Sequence[ase.Atoms]) -> str:
    """Markdown, from the run's folder, the structures it was trained on, and others to test its best model with.

    train   what `fit` was given
    test    structures with labels that it has not seen

    Raises ValueError when `train` is not what the run was trained on, or a frame of `test` was trained on.
    """
    if fingerprint(train)["sha256"] != run.data["train"]["sha256"]:
        raise ValueError(
            f"{run.folder} was trained on {run.data['train']['n_structures']} other structures than these "
            f"{len(train)}; give those that `fit` was given, in their order"
        )
    seen = {fingerprint([atoms])["sha256"] for atoms in train}
    leaked = [number for number, atoms in enumerate(test) if fingerprint([atoms])["sha256"] in seen]
    if leaked:
        raise ValueError(
            f"{len(leaked)} of {len(test)} test structures were trained on (first: {leaked[0]}); a test must be new"
        )
    model = run.model()
    parts = [
        f"# {run.folder.name}: a {run.model_name} potential",
        _what(run, model),
        "## How good it is",
        _errors(evaluate(model, test), train, len(test)),
        "## Where it may be used",
        _domain(model, train),
        "## How it was made",
        _made(run),
        "## What nobody tested",
        "Other elements, compositions, phases, pressures and temperatures than those of the structures above; long "
        "dynamics; whatever its reference method gets wrong, it was taught.",
    ]
    return "\n\n".join(parts) + "\n"


def _what(run: Run, model: Potential) -> str:
    forces = "the gradient of its energy" if "forces" not in model.gives else "predicted directly, no gradient"
    reach = "and a sum over all distances" if model.long_ranged else "and nothing beyond"
    turned = "exactly" if model.rotation_invariant else "only as far as it was trained to"
    halves = "yes" if model.size_consistent else "no"
    return "\n".join(
        [
            f"- {model.n_parameters:,} parameters; sees neighbours within {model.cutoff:g} Å, {reach}",
            f"- forces: {forces}",
            f"- does not depend on orientation: {turned}",
            f"- two fragments far apart have the sum of their energies: {halves}",
            f"- made for {', '.join(_PERIODIC[n] for n in sorted(model.periodic))}",
        ]
    )


def _errors(errors: Errors, train: Sequence[ase.Atoms], n_test: int) -> str:
    """A table of errors beside those of a model that always says the same."""
    rows = [
        f"On {n_test} structures it was not trained on. *Spread* is the error of always saying the mean, or no force.",
        "",
        "| | mean absolute error | root mean square error | spread |",
        "|---|---|---|---|",
    ]
    for name, parity, unit in (
        ("energy", errors.energy, "meV/atom"),
        ("forces", errors.forces, "meV/Å"),
        ("stress", errors.stress, "meV/Å³"),
    ):
        if parity is not None:
            mae, rmse, spread = (
                f"{1000 * x:.3g} {unit}" for x in (parity.mae, parity.rmse, _spread(name, parity))
            )
            rows.append(f"| {name} | {mae} | {rmse} | {spread} |")
    return "\n".join(rows)


def _spread(name: str, parity: Parity) -> float:
    middle = 0.0 if name == "forces" else parity.reference.mean(axis=0)
    return float(np.sqrt(np.square(parity.reference - middle).mean()))


def _domain(model: Potential, train: Sequence[ase.Atoms]) -> str:
    """What the training structures span: elements, compositions, sizes, how close pairs come."""
    compositions = Counter(atoms.get_chemical_formula() for atoms in train)
    sizes = [len(atoms) for atoms in train]
    some = ", ".join(name for name, _ in compositions.most_common(5))
    more = f" and {len(compositions) - 5} more" if len(compositions) > 5 else ""
    closest = sorted(_closest(train).items())
    pairs = ", ".join(f"{one}–{other} {distance:.2f}" for (one, other), distance in closest)
    return "\n".join(
        [
            f"- {len(train)} structures of {min(sizes)} to {max(sizes)} atoms: {some}{more}",
            f"- the closest pairs it has seen [Å]: {pairs or f'none within {_BOND} Å'}; closer ones are guesses",
            f"- {_charges(train)}",
        ]
    )


def _closest(train: Sequence[ase.Atoms]) -> dict[tuple[str, str], float]:
    closest: dict[tuple[str, str], float] = {}
    for atoms in train:
        near = graph(atoms, _BOND)
        kinds = np.sort(atoms.numbers[np.stack([near.receivers, near.senders], axis=1)], axis=1)
        for (one, other), distance in zip(kinds, near.vectors.norm(dim=1).tolist(), strict=True):
            pair = chemical_symbols[one], chemical_symbols[other]
            closest[pair] = min(closest.get(pair, np.inf), distance)
    return closest


def _charges(train: Sequence[ase.Atoms]) -> str:
    charges = sorted({int(atoms.info.get("charge", 0)) for atoms in train})
    return f"total charges {', '.join(f'{charge:+d}' if charge else '0' for charge in charges)} e"


def _made(run: Run) -> str:
    data, outcome = run.data, run.outcome
    settings = run.config
    end = "it has not ended" if outcome is None else f"{outcome.reason}, after {outcome.minutes:.1f} minutes"
    lines = [
        f"- data: {data[part]['n_structures']} structures to {verb}, sha256 `{data[part]['sha256'][:16]}…`"
        for part, verb in (("train", "train on"), ("validation", "choose by"))
        if part in data
    ]
    lines += [
        f"- {settings.epochs} epochs, batches of {settings.batch_size}, rate {settings.learning_rate:g}; {end}",
        "- " + ", ".join(f"{name} {version}" for name, version in run.versions.items()),
    ]
    return "\n".join(lines)
