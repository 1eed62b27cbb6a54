"""torch-sim's batches get what our Calculator gives one structure at a time, and move as `run_md` moves them."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ase
import numpy as np
import pytest
import torch
from ase import units
from structures_for_tests import EVERY_KIND, ethanol, salt, slab, tiny_cell, water_pair

from workbench import Calculator, build, run_md
from workbench.ensembles import degrees_of_freedom, draw_velocities
from workbench.models import Potential

ROOT = Path(__file__).resolve().parents[1]
pytestmark = [  # torch-sim 0.6.2 while it is imported
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]
needs_torch_sim = pytest.mark.skipif(
    find_spec("torch_sim") is None,
    reason="torch-sim is not installed; it needs Python 3.12: pip install 'longrange-workbench[torch-sim]'",
)


def model(name: str = "lorem", **config: Any) -> Potential:
    torch.manual_seed(0)
    return build(name, "tiny", **config).double()


def state(frames: list[ase.Atoms]) -> Any:
    import torch_sim as ts

    extras = {"charge": "charge", "spin": "spin"}
    return ts.io.atoms_to_state(frames, torch.device("cpu"), torch.float64, system_extras_map=extras)


def hot(atoms: ase.Atoms, seed: int) -> ase.Atoms:
    atoms = atoms.copy()
    draw_velocities(atoms, 300, degrees_of_freedom(atoms, "nve"), np.random.default_rng(seed))
    return atoms


def moving(frames: list[ase.Atoms], torch_sim_model: Any) -> Any:
    """A state of dynamics with the atoms' own momenta."""
    import torch_sim as ts

    still = state(frames)
    md = ts.nve_init(still, torch_sim_model, kT=0.0)
    md.momenta = torch.tensor(np.concatenate([atoms.get_momenta() for atoms in frames]))
    return md


def same_as_calculator(found: dict[str, torch.Tensor], frames: list[ase.Atoms], potential: Potential) -> None:
    forces = found["forces"].split([len(atoms) for atoms in frames])
    for s, original in enumerate(frames):
        atoms = original.copy()
        atoms.calc = Calculator(potential)
        assert float(found["energy"][s]) == pytest.approx(atoms.get_potential_energy(), rel=1e-11)
        np.testing.assert_allclose(forces[s], atoms.get_forces(), rtol=1e-8, atol=1e-10)
        if "stress" in found and atoms.pbc.all():
            np.testing.assert_allclose(found["stress"][s], atoms.get_stress(voigt=False), atol=1e-12)


@needs_torch_sim
@pytest.mark.parametrize("kind", ["molecules", "boxes", "slabs"])
def test_every_model_gives_what_its_calculator_gives(model_name: str, kind: str) -> None:
    from workbench.torch_sim import TorchSimModel

    frames = {
        "molecules": [ethanol(), water_pair(3.0), water_pair(9.0)],
        "boxes": [salt(), tiny_cell(), salt().repeat((2, 1, 1))],
        "slabs": [slab(), slab().repeat((1, 1, 2))],
    }[kind]
    potential = model(model_name)
    if int(frames[0].pbc.sum()) not in potential.periodic:
        with pytest.raises(ValueError, match="periodic directions"):
            TorchSimModel(potential)(state(frames))
        return
    found = TorchSimModel(potential, compute_stress=kind == "boxes")(state(frames))
    assert set(found) == ({"energy", "forces", "stress"} if kind == "boxes" else {"energy", "forces"})
    same_as_calculator(found, frames, potential)


@needs_torch_sim
def test_molecules_and_boxes_share_a_batch() -> None:
    """torch-sim's io gives all systems one pbc; its states may hold one for each."""
    import torch_sim as ts

    from workbench.torch_sim import TorchSimModel

    frames = [ethanol(), salt(), slab(), tiny_cell()]
    boxes = [atoms.copy() for atoms in frames]
    for atoms in boxes:
        atoms.pbc = True
    together = state(boxes)
    together.pbc = torch.tensor(np.stack([atoms.pbc for atoms in frames]))
    potential = model()
    found = TorchSimModel(potential, compute_stress=True)(together)
    same_as_calculator(found, frames, potential)
    volumes = torch.tensor([bool(atoms.pbc.all()) for atoms in frames])
    assert torch.equal(found["stress"].isnan().any(-1).any(-1), ~volumes)
    assert isinstance(together, ts.SimState)


@needs_torch_sim
def test_charge_and_multiplicity_reach_the_model() -> None:
    from workbench.torch_sim import structures

    ion, neutral = ethanol(), ethanol()
    ion.info.update(charge=-1, spin=2)
    neutral.info.update(charge=0, spin=1)
    batch = structures(state([ion, neutral]), cutoff=4.0)
    assert batch.charge.tolist() == [-1, 0]
    assert batch.spin.tolist() == [2, 1]
    untold = structures(state([ethanol()]), cutoff=4.0)
    assert (untold.charge.tolist(), untold.spin.tolist()) == ([0], [1])


@needs_torch_sim
def test_torch_sim_itself_finds_no_fault() -> None:
    from torch_sim.models.interface import validate_model_outputs

    from workbench.torch_sim import TorchSimModel

    validate_model_outputs(TorchSimModel(model()), torch.device("cpu"), torch.float64)


@needs_torch_sim
def test_single_precision_states_and_models_are_served() -> None:
    from workbench.torch_sim import TorchSimModel

    found = TorchSimModel(model().float())(state([ethanol()]).to(dtype=torch.float32))
    assert {value.dtype for value in found.values()} == {torch.float32}
    same = TorchSimModel(model())(state([ethanol()]))
    torch.testing.assert_close(found["forces"].double(), same["forces"], rtol=1e-3, atol=1e-4)


@needs_torch_sim
def test_eight_replicas_move_as_run_md_moves_each() -> None:
    """The same trajectories, so the same conservation of energy; and that is good."""
    import torch_sim as ts

    from workbench.torch_sim import TorchSimModel

    potential, n_steps = model(), 40
    frames = [hot(ethanol(), seed) for seed in range(8)]
    batched = TorchSimModel(potential)
    md = moving(frames, batched)
    totals = []
    for _ in range(n_steps):
        md = ts.nve_step(md, batched, dt=torch.tensor(0.5 * units.fs, dtype=torch.float64))
        kinetic = ts.calc_kinetic_energy(momenta=md.momenta, masses=md.masses, system_idx=md.system_idx)
        totals.append(md.energy + kinetic)
    series = torch.stack(totals).T.numpy()
    runs = [run_md(atoms, potential, timestep_fs=0.5, n_steps=n_steps) for atoms in frames]
    for s, run in enumerate(runs):
        np.testing.assert_allclose(series[s], run.stream.column("total_energy")[1:], rtol=0, atol=1e-9)
        np.testing.assert_allclose(md.positions[md.system_idx == s], run.atoms.positions, rtol=0, atol=1e-9)
        kinetic = run.stream.column("kinetic_energy")
        assert series[s].std() < 0.02 * np.std(kinetic)
    assert 1 < batched.pairs.n_searches < n_steps / 2


@needs_torch_sim
def test_integrate_takes_atoms_and_heats_them() -> None:
    import torch_sim as ts

    from workbench.torch_sim import TorchSimModel

    final = ts.integrate(
        [salt()] * 3,
        TorchSimModel(model()),
        integrator=ts.Integrator.nvt_langevin,
        n_steps=5,
        temperature=300,
        timestep=0.001,
    )
    assert len(final.to_atoms()) == 3
    assert not np.allclose(final.to_atoms()[0].positions, final.to_atoms()[1].positions)


@needs_torch_sim
def test_pairs_are_searched_when_an_atom_or_a_cell_has_moved_far() -> None:
    from workbench.graphs import neighbours
    from workbench.torch_sim import Pairs, structures

    now, pairs = state([salt(), tiny_cell()]), Pairs(5.0, skin=0.5)

    def all_there() -> int:
        batch = pairs.within(structures(now, 5.0))
        first = 0
        for s, atoms in enumerate(now.to_atoms()):
            i, j, shifts = neighbours(atoms.positions, atoms.cell.array, atoms.pbc, 5.0)
            ours = batch.structure_index[batch.receivers] == s
            found = zip(
                batch.receivers[ours].tolist(),
                batch.senders[ours].tolist(),
                batch.shifts[ours].tolist(),
                strict=True,
            )
            wanted = zip((i + first).tolist(), (j + first).tolist(), shifts.astype(float).tolist(), strict=True)
            assert sorted(found) == sorted(wanted)
            first += len(atoms)
        return pairs.n_searches

    assert all_there() == 1
    now.positions[3, 0] += 0.2
    assert all_there() == 1
    now.positions[3, 0] += 0.2
    assert all_there() == 2
    now.cell = 1.001 * now.cell
    assert all_there() == 3
    now.pbc = False
    assert all_there() == 4


@needs_torch_sim
def test_the_search_for_a_gpu_finds_the_same_pairs() -> None:
    """torch-sim's own list runs on the processor too."""
    from workbench.torch_sim import search_on_cpu, search_on_gpu, structures

    for kind, make in EVERY_KIND.items():
        near, far = make(), make()
        far.positions += [30, -20, 10]  # outside the cell
        batch = structures(state([near, far]), 5.0)
        here, there = (
            sorted(zip(i.tolist(), j.tolist(), map(tuple, shifts.tolist()), strict=True))
            for i, j, shifts in (search_on_cpu(batch, 5.5), search_on_gpu(batch, 5.5))
        )
        assert here == there, kind


@needs_torch_sim
def test_what_makes_no_sense_is_refused_in_words() -> None:
    from workbench.torch_sim import Pairs, TorchSimModel

    with pytest.raises(ValueError, match=r"skin is -1 Å"):
        Pairs(5.0, skin=-1)
    potential = model()
    potential.known.zero_()
    with pytest.raises(ValueError, match="not trained on"):
        TorchSimModel(potential)(state([ethanol()]))
    batched = TorchSimModel(model())
    broken = state([ethanol(), ethanol()])
    batched(broken)
    broken.positions[9, 0] = torch.nan
    with pytest.raises(ValueError, match=r"structures \[1\] of the batch are not finite"):
        batched(broken)


def test_without_torch_sim_the_remedy_is_named() -> None:
    code = "import sys; sys.modules['torch_sim'] = None; import workbench.torch_sim"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 1
    assert "pip install 'longrange-workbench[torch-sim]'" in run.stderr.splitlines()[-1]
