"""Views for notebooks: structures, attention, charges, curves, runs. Built on ipywidgets, nglview and plotly; they take
ase.Atoms, plain arrays and anything shaped like a stream or a job, and know neither torch nor the library."""

from widgets.attention_explorer import AttentionExplorer
from widgets.charge_explorer import ChargeExplorer
from widgets.dataset_browser import DatasetBrowser
from widgets.doctor import Doctor
from widgets.dynamics_panel import DynamicsPanel
from widgets.live_plot import Curve, LivePlot
from widgets.long_range_lens import LongRangeLens
from widgets.panel import Panel
from widgets.parity_plot import ParityPlot
from widgets.race_panel import RacePanel
from widgets.run_controls import RunControls
from widgets.selection import link
from widgets.structure_view import StructureView
from widgets.training_panel import TrainingPanel

__all__ = [
    "AttentionExplorer",
    "ChargeExplorer",
    "Curve",
    "DatasetBrowser",
    "Doctor",
    "DynamicsPanel",
    "LivePlot",
    "LongRangeLens",
    "Panel",
    "ParityPlot",
    "RacePanel",
    "RunControls",
    "StructureView",
    "TrainingPanel",
    "link",
]
