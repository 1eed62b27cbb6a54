"""DynamicsPanel with a real ASE run, and ChargeExplorer, in a real browser."""

import time

DYNAMICS = """
from itertools import count
from types import SimpleNamespace

import numpy as np
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet
from widgets import DynamicsPanel
from workbench import jobs
from workbench.stream import Stream

atoms = bulk("Cu", cubic=True).repeat(2)
atoms.rattle(0.02, seed=0)

def fit(stream):
    rows = stream.since(0)
    t = np.array([row["time_fs"] for row in rows]) * 1e-6
    e = np.array([row["total_energy"] for row in rows]) * 1000 / len(atoms)
    if len(t) < 20:
        return SimpleNamespace(meV_per_atom_per_ns=float("nan"), verdict="too early to tell")
    (slope, _), covariance = np.polyfit(t, e, 1, cov=True)
    error = 2 * float(np.sqrt(covariance[0, 0]))
    return SimpleNamespace(meV_per_atom_per_ns=slope, low_meV_per_atom_per_ns=slope - error,
                           high_meV_per_atom_per_ns=slope + error, verdict="the energy stays put")

def run(stream, show, control):
    moving = atoms.copy()
    moving.calc = EMT()
    MaxwellBoltzmannDistribution(moving, temperature_K=600, rng=np.random.default_rng(1))
    md = VelocityVerlet(moving, 2.0 * units.fs)
    for step in count():  # until it is stopped: a fast machine must not be done before the test has looked
        if control.wait_and_see_stop():
            break
        md.run(1)
        stream.emit(time_fs=2.0 * step, total_energy=moving.get_total_energy(), temperature_K=moving.get_temperature())
        show(moving)
"""

PANEL = """
panel = DynamicsPanel(atoms, lambda stream, show: jobs.start(run, stream, show), Stream, fit,
                      progress=lambda stream: 1 - 500 / (500 + len(stream)))
panel
"""


def test_a_run_moves_and_stops(open_notebook):
    notebook = open_notebook(DYNAMICS, PANEL, height=900)
    notebook.page.wait_for_selector("canvas")
    notebook.wait_until("panel.view.stage._loaded")
    notebook.press("Start")
    notebook.wait_until("len(panel.stream) > 100")
    assert notebook.seconds_to_answer() < 0.5, "the kernel does not answer while the run goes on"
    first = notebook.ask("panel.view._positions.sum(axis=1).tolist()")
    notebook.wait_until(f"panel.view._positions.sum(axis=1).tolist() != {first}")
    notebook.wait_until("len(panel.stream) > 300 and panel.drift is not None", 40)
    notebook.show("button.widget-button")
    time.sleep(1)
    notebook.screenshot("dynamics-running")
    assert (notebook.pixels("canvas").std(axis=-1) > 20).mean() > 0.02, "no copper atom is to be seen"
    notebook.press("Stop")
    notebook.wait_until("panel.controls.state == 'stopped'")
    time.sleep(3)
    notebook.show("button.widget-button")
    notebook.screenshot("dynamics-stopped")
    assert (notebook.pixels("canvas").std(axis=-1) > 20).mean() > 0.02, (
        "the structure is gone when the run has ended"
    )
    counts = notebook.page.evaluate(
        "() => [...document.querySelectorAll('.js-plotly-plot')].map(p => p.data[0].x.length)"
    )
    assert counts == [min(notebook.ask("len(panel.stream)"), 2000)] * 2, "the last points were lost"
    assert notebook.ask("panel.log.text") == ""
    assert not notebook.complaints


def test_charges_of_every_degree(open_notebook):
    notebook = open_notebook(
        """
        import numpy as np
        from types import SimpleNamespace
        from ase.build import molecule
        from widgets import ChargeExplorer
        atoms = molecule("CH3CH2OH")
        rng = np.random.default_rng(0)
        multipoles = [
            SimpleNamespace(label=f"charge 1, l = {l}", degree=l, values=rng.normal(size=(9, 2 * l + 1)),
                            potentials=rng.normal(size=(9, 2 * l + 1)))
            for l in range(3)
        ]
        explorer = ChargeExplorer(atoms, multipoles, reference_charges=rng.normal(size=9))
        explorer
        """,
        height=1250,
    )
    notebook.page.wait_for_selector("canvas")
    notebook.wait_until("explorer.view.stage._loaded")
    time.sleep(1.5)
    notebook.screenshot("charges-scalar")
    seen = [notebook.pixels("canvas")]
    for index, name in ((1, "vector"), (2, "tensor")):
        notebook.page.locator(".widget-dropdown select").first.select_option(index=index)
        notebook.wait_until(f"explorer.choice.value == {index}")
        time.sleep(1.5)
        notebook.screenshot(f"charges-{name}")
        seen.append(notebook.pixels("canvas"))
    for one, other in ((0, 1), (1, 2), (0, 2)):
        assert (seen[one] != seen[other]).mean() > 0.005, "the picture does not follow the choice"
    assert not notebook.complaints
