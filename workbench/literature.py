"""What the literature reached on published data sets, each number as its source states it.

Errors on different parts of a set are not alike: where a source judges on frames it also tuned on, that is said.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """What somebody's model reached on a set."""

    model: str
    quantity: str  # such as "energy RMSE"
    value: float
    unit: str
    source: str


_LOREM = "LOREM, arXiv:2507.19382, Table 1"
_LOREM_TUNED = f"{_LOREM}; on its validation frames"
_KO = "Ko et al., Nat. Commun. 12, 398 (2021)"
_UNKE = "Unke et al., Nat. Commun. 12, 7273 (2021)"
_MLANET = "MLANet, arXiv:2603.22810, read second-hand"


def _errors(
    rows: dict[str, tuple[float, float]], source: str, kind: str = "RMSE", of: str = ""
) -> tuple[Result, ...]:
    """Model -> errors of energy [meV/atom] and forces [meV/Å], as two results each."""
    return tuple(
        Result(model, f"{of}{quantity} {kind}", value, unit, source)
        for model, pair in rows.items()
        for quantity, value, unit in zip(("energy", "forces"), pair, ("meV/atom", "meV/Å"), strict=True)
    )


_MGO = (
    *_errors({"2G-HDNNP": (2.287, 153.1), "4G-HDNNP": (0.219, 66.0)}, _KO),
    *_errors({"SpookyNet": (0.107, 5.337)}, _UNKE),
    *_errors(
        {"LOREM": (0.064, 4.076), "CACE-LES": (0.071, 7.913), "MACE": (0.376, 5.971), "PET": (0.210, 6.261)},
        _LOREM_TUNED,
    ),
)

RESULTS: dict[str, tuple[Result, ...]] = {
    "4g_nacl": (
        *_errors({"4G-HDNNP": (0.481, 32.78)}, _KO),
        *_errors({"SpookyNet": (0.135, 1.052)}, _UNKE),
        *_errors(
            {
                "LOREM": (0.112, 1.155),
                "CACE-LES": (0.210, 9.784),
                "MACE": (1.681, 40.219),
                "PET": (1.517, 42.438),
            },
            _LOREM_TUNED,
        ),
    ),
    "4g_carbon_chain": (
        *_errors({"2G-HDNNP": (1.619, 129.5), "3G-HDNNP": (2.045, 231.0), "4G-HDNNP": (1.194, 78.0)}, _KO),
        *_errors({"SpookyNet": (0.364, 5.802)}, _UNKE),
    ),
    "4g_ag": (
        *_errors({"4G-HDNNP": (1.323, 31.69)}, _KO),
        *_errors({"SpookyNet": (0.220, 26.64)}, _UNKE),
    ),
    "4g_aumgo_train": _MGO,
    "4g_aumgo_test": _MGO,
    "bio_dimers": _errors(
        {"LOREM": (0.222, 1.646), "CACE-LES": (2.259, 3.163), "MACE": (7.793, 16.150), "PET": (6.758, 16.470)},
        _LOREM,
    ),
    "lorem": _errors(
        {
            "LOREM": (3.309, 50.084),
            "CACE-LES": (17.803, 147.616),
            "MACE": (12.592, 104.318),
            "PET": (3.205, 46.905),
        },
        _LOREM,
        of="cumulene, ",
    ),
    "formate_cu": _errors(
        {"NequIP": (0.50, 47.3), "AlphaNet": (0.23, 42.5), "MLANet": (2.31, 44.9)}, _MLANET, "MAE"
    ),
    "water_revpbe0": _errors({"MACE": (0.63, 36), "MLANet": (0.47, 60)}, _MLANET),
}
