"""Dispersion against its formula, a lattice sum and finite differences."""

from __future__ import annotations

import ase
import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.units import Bohr, Hartree

from workbench.graphs import collate, graph
from workbench.nn.dispersion import Attraction, Dispersion
from workbench.nn.free_atoms import N_ELEMENTS, free_atoms


def attraction(atoms: ase.Atoms, cutoff: float, term: Dispersion | None = None) -> Attraction:
    batch = graph(atoms, cutoff)
    term = (term or Dispersion(cutoff)).double()
    return term(batch.numbers, batch.receivers, batch.senders, batch.vectors, derivatives=True)


def energy(atoms: ase.Atoms, cutoff: float, term: Dispersion | None = None) -> float:
    return attraction(atoms, cutoff, term).energies.sum().item()


def pair(symbols: str, distance: float) -> ase.Atoms:
    return ase.Atoms(symbols, [[0, 0, 0], [0.6 * distance, 0, 0.8 * distance]])


def test_free_atoms_are_those_of_the_published_table() -> None:
    """Spot checks from every part of it, in the units of the table."""
    table = free_atoms(torch.float64, torch.device("cpu"))
    assert N_ELEMENTS == 103
    for number, polarisability, c6, radius in (
        (1, 4.5, 6.5, 3.1),
        (6, 12, 46.6, 3.59),
        (15, 25, 185, 4.01),
        (29, 42, 253, 3.76),
        (54, 27.3, 285.9, 4.08),
        (57, 213.7, 3884.5, 3.14),
        (86, 33.54, 390.63, 4.23),
        (92, 127.8, 1877.1, 3.0),
        (102, 105.4, 1578.18, 3.78),
    ):
        found = [table.polarisability[number] / Bohr**3, table.c6[number] / Hartree / Bohr**6]
        assert [float(x) for x in found] == pytest.approx([polarisability, c6], rel=1e-6)
        assert float(table.radius[number]) == pytest.approx(radius * Bohr, rel=1e-6)


def test_a_dimer_follows_the_formula() -> None:
    c6_c, c6_o = 46.6 * Hartree * Bohr**6, 15.6 * Hartree * Bohr**6
    ratio = 5.4 / 12.0  # of the polarisabilities, O to C
    c6 = 2 * c6_c * c6_o / (ratio * c6_c + c6_o / ratio)
    damping = (3.59 + 3.19) * Bohr
    for distance in (1.2, 3.5, 8.9):
        expected = -c6 / (distance**6 + damping**6)
        assert energy(pair("CO", distance), 12.0) == pytest.approx(expected, rel=1e-6)
        assert energy(pair("OC", distance), 12.0) == pytest.approx(expected, rel=1e-6)
    assert energy(pair("C2", 8.0), 12.0) == pytest.approx(-c6_c / (8.0**6 + (2 * 3.59 * Bohr) ** 6), rel=1e-6)


def test_it_ends_smoothly_at_the_cutoff() -> None:
    """Full strength up to three quarters of it, and then energy, force and its slope go to zero."""
    free = Dispersion(1000.0)
    for distance in (2.0, 8.99):
        assert energy(pair("P2", distance), 12.0) == pytest.approx(energy(pair("P2", distance), 1000, free))
    step = 1e-3
    energies = [energy(pair("P2", 12.0 - n * step), 12.0) for n in range(4)]
    assert energies[0] == 0
    assert abs(energies[1]) < 1e-12
    assert abs(np.diff(energies, 2)[0]) < 1e-11
    middle = energy(pair("P2", 10.5), 12.0) / energy(pair("P2", 10.5), 1000, free)
    assert middle == pytest.approx(0.5)


def test_a_crystal_is_the_lattice_sum() -> None:
    """Argon, fcc: sum 1/r^6 over all neighbours is 14.45392 / d^6 with the nearest distance d (Kittel, chapter 3)."""
    atoms = bulk("Ar", "fcc", a=5.26)
    nearest = 5.26 / 2**0.5
    term = Dispersion(40.0)
    with torch.no_grad():
        term.reach.fill_(-50.0)  # no damping
    undamped = energy(atoms, 40.0, term)
    c6 = 64.3 * Hartree * Bohr**6
    # Beyond 35 Å the sum is half switched off: what is left out is the integral 4 pi / 3 density / R^3.
    density = 1 / atoms.get_volume()
    left_out = 4 * np.pi / 3 * density / 35.0**3
    expected = -0.5 * c6 * (14.45392 / nearest**6 - left_out)
    assert undamped == pytest.approx(expected, rel=3e-5)
    assert left_out > 1e-4 * 14.45392 / nearest**6  # so it was tested


def distorted() -> ase.Atoms:
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    atoms.rattle(0.2, seed=0)
    return atoms


def test_forces_are_the_gradient_and_so_is_what_autograd_finds() -> None:
    atoms, cutoff = distorted(), 9.0
    found = attraction(atoms, cutoff).forces.detach().numpy()
    step = 1e-4
    for atom, axis in ((0, 0), (5, 2)):
        ends = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * step
            ends.append(energy(moved, cutoff))
        assert found[atom, axis] == pytest.approx(-(ends[0] - ends[1]) / (2 * step), abs=1e-9)
    batch = graph(atoms, cutoff)
    positions = batch.positions.requires_grad_(True)
    term = Dispersion(cutoff).double()
    result = term(batch.numbers, batch.receivers, batch.senders, batch.vectors)
    assert result.forces is None
    (gradient,) = torch.autograd.grad(result.energies.sum(), positions)
    np.testing.assert_allclose(-gradient, found, atol=1e-15)


def test_virials_are_the_strain_derivative() -> None:
    atoms, cutoff, step = distorted(), 9.0, 1e-5
    virial = attraction(atoms, cutoff).virials.sum(0).detach().numpy()
    np.testing.assert_allclose(virial, virial.T, atol=1e-12)
    for a, b in ((0, 0), (1, 2), (0, 1)):
        ends = []
        for sign in (1, -1):
            strain = np.zeros((3, 3))
            strain[a, b] += 0.5 * sign * step
            strain[b, a] += 0.5 * sign * step
            strained = atoms.copy()
            strained.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
            ends.append(energy(strained, cutoff))
        assert virial[a, b] == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-8)


def test_strength_and_reach_can_be_fitted() -> None:
    """To the curve of a pair that attracts twice as strongly and reaches 1.3 times as far as the table says."""
    distances = np.linspace(3.0, 9.0, 25)
    batch = collate([graph(pair("P2", d), 12.0) for d in distances])
    c6, damping = 2 * 185 * Hartree * Bohr**6, 1.3 * 2 * 4.01 * Bohr
    labels = torch.tensor(-0.5 * c6 / (distances**6 + damping**6)).repeat_interleave(2)
    term = Dispersion(12.0).double()
    optimizer = torch.optim.LBFGS(term.parameters(), lr=0.5, max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        found = term(batch.numbers, batch.receivers, batch.senders, batch.vectors).energies
        objective = ((found - labels) * 1e4).square().mean()
        objective.backward()
        return objective

    optimizer.step(closure)
    factors = torch.nn.functional.softplus(term.strength)
    assert factors[15].item() == pytest.approx(2.0, rel=1e-3)
    assert factors[6].item() == pytest.approx(1.0)  # no label says anything of carbon
    assert torch.nn.functional.softplus(term.reach).item() == pytest.approx(1.3, rel=1e-3)
