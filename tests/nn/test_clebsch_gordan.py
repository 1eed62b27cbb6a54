"""The coefficients are e3nn's, signs included, and couple what turns to what turns."""

from __future__ import annotations

import pytest
import torch
from e3nn import o3

from workbench.nn.clebsch_gordan import clebsch_gordan


def test_they_are_those_of_e3nn() -> None:
    for l1 in range(6):
        for l2 in range(6):
            for l3 in range(abs(l1 - l2), l1 + l2 + 1):
                theirs = o3.wigner_3j(l1, l2, l3, dtype=torch.float64)
                torch.testing.assert_close(clebsch_gordan(l1, l2, l3), theirs, rtol=0, atol=1e-14)


def test_degrees_of_the_published_model_and_beyond_keep_their_digits() -> None:
    """Orthogonality: sum over m1 m2 of C[l3, m3] C[l3', m3'] is 1 / (2 l3 + 1) for the same, else 0."""
    for l1, l2 in ((6, 6), (10, 9)):
        tables = [
            clebsch_gordan(l1, l2, l3).flatten(0, 1) * (2 * l3 + 1) ** 0.5 for l3 in range(l1 - l2, l1 + l2 + 1)
        ]
        together = torch.cat(tables, dim=1)
        identity = torch.eye(together.shape[1], dtype=torch.float64)
        torch.testing.assert_close(together.T @ together, identity, rtol=0, atol=1e-11)


def test_what_the_triangle_rule_forbids_is_refused() -> None:
    with pytest.raises(ValueError, match="degrees 1 and 2 do not couple to 4; expected 1 to 3"):
        clebsch_gordan(1, 2, 4)
