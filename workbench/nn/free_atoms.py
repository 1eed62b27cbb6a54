"""How free atoms attract each other: polarisabilities, dispersion coefficients and van der Waals radii.

H to Rn without the lanthanides: Tkatchenko and Scheffler, Phys. Rev. Lett. 102, 073005 (2009). La to Lu and Fr to No:
the tabulation in the same style that libMBD keeps beside it (vdw-params.csv, CC0-1.0).
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

ANGSTROM_PER_BOHR = 0.529177210903
EV_PER_HARTREE = 27.211386245988

# Polarisability [bohr^3], C6 [hartree bohr^6], van der Waals radius [bohr], from H on.
# fmt: off
_TABLE = (
    (4.5, 6.5, 3.1), (1.38, 1.46, 2.65), (164.2, 1387, 4.16), (38, 214, 4.17), (21, 99.5, 3.89),
    (12, 46.6, 3.59), (7.4, 24.2, 3.34), (5.4, 15.6, 3.19), (3.8, 9.52, 3.04), (2.67, 6.38, 2.91),
    (162.7, 1556, 3.73), (71, 627, 4.27), (60, 528, 4.33), (37, 305, 4.2), (25, 185, 4.01),
    (19.6, 134, 3.86), (15, 94.6, 3.71), (11.1, 64.3, 3.55), (292.9, 3897, 3.71), (160, 2221, 4.65),
    (120, 1383, 4.59), (98, 1044, 4.51), (84, 832, 4.44), (78, 602, 3.99), (63, 552, 3.97),
    (56, 482, 4.23), (50, 408, 4.18), (48, 373, 3.82), (42, 253, 3.76), (40, 284, 4.02),
    (60, 498, 4.19), (41, 354, 4.2), (29, 246, 4.11), (25, 210, 4.04), (20, 162, 3.93),
    (16.8, 129.6, 3.82), (319.2, 4691, 3.72), (199, 3170, 4.54), (126.737, 1968.58, 4.8151),
    (119.97, 1677.91, 4.53), (101.603, 1263.61, 4.2365), (88.4225785, 1028.73, 4.099),
    (80.083, 1390.87, 4.076), (65.895, 609.754, 3.9953), (56.1, 469, 3.95), (23.68, 157.5, 3.66),
    (50.6, 339, 3.82), (39.7, 452, 3.99), (70.22, 707.046, 4.23198), (55.95, 587.417, 4.303),
    (43.67197, 459.322, 4.276), (37.65, 396, 4.22), (35, 385, 4.17), (27.3, 285.9, 4.08),
    (427.12, 6582.08, 3.78), (275, 5727, 4.77), (213.7, 3884.5, 3.14), (204.7, 3708.33, 3.26),
    (215.8, 3911.84, 3.28), (208.4, 3908.75, 3.3), (200.2, 3847.68, 3.27), (192.1, 3708.69, 3.32),
    (184.2, 3511.71, 3.4), (158.3, 2781.53, 3.62), (169.5, 3124.41, 3.42), (164.64, 2984.29, 3.26),
    (156.3, 2839.95, 3.24), (150.2, 2724.12, 3.3), (144.3, 2576.78, 3.26), (138.9, 2387.53, 3.22),
    (137.2, 2371.8, 3.2), (99.52, 1274.8, 4.21), (82.53, 1019.92, 4.15), (71.041, 847.93, 4.08),
    (63.04, 710.2, 4.02), (55.055, 596.67, 3.84), (42.51, 359.1, 4), (39.68, 347.1, 3.92),
    (36.5, 298, 3.86), (33.9, 392, 3.98), (69.92, 717.44, 3.91), (61.8, 697, 4.31), (49.02, 571, 4.32),
    (45.013, 530.92, 4.097), (38.93, 457.53, 4.07), (33.54, 390.63, 4.23), (317.8, 4224.44, 3.9),
    (246.2, 4851.32, 4.98), (203.3, 3604.41, 2.75), (217, 4047.54, 2.85), (154.4, 2367.42, 2.71),
    (127.8, 1877.1, 3), (150.5, 2507.88, 3.28), (132.2, 2117.27, 3.45), (131.2, 2110.98, 3.51),
    (143.6, 2403.22, 3.47), (125.3, 1985.82, 3.56), (121.5, 1891.92, 3.55), (117.5, 1851.1, 3.76),
    (113.4, 1787.07, 3.89), (109.4, 1701, 3.93), (105.4, 1578.18, 3.78),
)
# fmt: on
N_ELEMENTS = len(_TABLE) + 1  # rows, indexed by atomic number up to 102


class FreeAtoms(NamedTuple):
    """Of the elements, indexed by atomic number; row 0 stands for none."""

    polarisability: Tensor  # (N_ELEMENTS,) [Å^3]
    c6: Tensor  # (N_ELEMENTS,) [eV Å^6]
    radius: Tensor  # (N_ELEMENTS,) [Å]


@lru_cache(maxsize=8)
def free_atoms(dtype: torch.dtype, device: torch.device) -> FreeAtoms:
    """The table in these units and this precision; outside modules, whose precision may change."""
    table = torch.tensor([(1.0, 0.0, 0.0), *_TABLE], dtype=torch.float64)
    units = torch.tensor(
        [ANGSTROM_PER_BOHR**3, EV_PER_HARTREE * ANGSTROM_PER_BOHR**6, ANGSTROM_PER_BOHR], dtype=torch.float64
    )
    return FreeAtoms(*(table * units).to(device, dtype).T.contiguous())
