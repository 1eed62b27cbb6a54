"""The nearest image against a search through many (ASE's `find_mic` is wrong for skewed cells with open directions)."""

from itertools import product

import numpy as np
import pytest
import torch

from workbench.nn.minimum_image import minimum_image

CELLS = {
    "cubic": np.eye(3) * 5,
    "orthorhombic": np.diag([3.0, 5.0, 9.0]),
    "fcc": np.array([[0, 3, 3], [3, 0, 3], [3, 3, 0]], dtype=float),
    "very skewed": np.array([[4, 0, 0], [7, 3, 0], [-9, 5, 3.5]], dtype=float),
    "turned": np.diag([3.0, 5.0, 9.0]) @ np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0],
}


@pytest.mark.parametrize("cell", CELLS.values(), ids=list(CELLS))
@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, True), (False, True, False)])
def test_it_is_the_nearest(cell: np.ndarray, pbc: tuple[bool, ...]) -> None:
    vectors = np.random.default_rng(0).uniform(-9, 9, size=(100, 3))
    images = np.array(list(product(*(range(-25, 26) if periodic else (0,) for periodic in pbc)))) @ cell
    expected = [np.linalg.norm(v + images, axis=1).min() for v in vectors]
    found = minimum_image(torch.tensor(vectors)[None], torch.tensor(cell)[None], torch.tensor([pbc]))
    np.testing.assert_allclose(found[0].norm(dim=1), expected, atol=1e-10)
    moved = np.linalg.lstsq(cell.T, (found[0].numpy() - vectors).T, rcond=None)[0]
    np.testing.assert_allclose(moved, np.round(moved), atol=1e-8)
    np.testing.assert_allclose(moved[~np.array(pbc)], 0, atol=1e-8)


def test_a_batch_and_what_has_no_cell() -> None:
    vectors = torch.tensor([[[4.0, 0, 0]], [[4.0, 0, 0]]], dtype=torch.float64)
    cell = torch.stack([torch.eye(3, dtype=torch.float64) * 5, torch.zeros(3, 3, dtype=torch.float64)])
    pbc = torch.tensor([[True] * 3, [False] * 3])
    np.testing.assert_allclose(minimum_image(vectors, cell, pbc)[:, 0, 0], [-1, 4])
