"""The pinned order and norm of harmonics, and their coupling."""

from __future__ import annotations

import pytest
import torch
from e3nn import o3

from workbench.nn.harmonics import coupling, degree_of_component, n_paths, spherical_harmonics
from workbench.nn.layers import DegreeLinear, SelfProduct, TensorProduct, degree_norms


def directions(n: int = 20) -> torch.Tensor:
    vectors = torch.randn(n, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return vectors / vectors.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("top", [0, 1, 2, 6, 8])
def test_harmonics_are_those_of_e3nn(top: int) -> None:
    expected = o3.spherical_harmonics(list(range(top + 1)), directions(), False, normalization="norm")
    torch.testing.assert_close(spherical_harmonics(top, directions()), expected, rtol=0, atol=1e-13)


def test_order_and_norm() -> None:
    harmonics = spherical_harmonics(6, directions())
    torch.testing.assert_close(harmonics[:, 1:4], directions())  # l = 1 is (x, y, z)
    for degree in range(7):
        squares = harmonics[:, degree**2 : (degree + 1) ** 2].square().sum(1)
        torch.testing.assert_close(squares, torch.ones_like(squares))
    assert degree_of_component(2).tolist() == [0, 1, 1, 1, 2, 2, 2, 2, 2]


def test_harmonics_are_twice_differentiable() -> None:
    u = directions(4).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: spherical_harmonics(4, x), u)
    assert torch.autograd.gradgradcheck(lambda x: spherical_harmonics(3, x), u)


def test_coupling_of_two_vectors() -> None:
    """1 x 1 -> 0 is the scalar product over sqrt(3); 1 x 1 -> 1 is a pseudovector and absent."""
    table = coupling(1, 1, 2)
    torch.testing.assert_close(table[1:, 1:, 0], torch.eye(3, dtype=torch.float64) / 3**0.5)
    assert table[1:, 1:, 1:4].abs().max() == 0
    assert [len(n_paths(6, 6, 6)), sum(n_paths(6, 6, 6)), sum(n_paths(6, 6, 2)), sum(n_paths(2, 6, 6))] == [
        7,
        106,
        35,
        35,
    ]
    assert n_paths(6, 6, 6) == [7, 12, 16, 18, 19, 18, 16]
    assert n_paths(2, 6, 6) == [3, 5, 6, 6, 6, 5, 4]


@pytest.mark.parametrize("tops", [(2, 2, 2), (3, 3, 1), (1, 3, 3), (0, 2, 2), (4, 4, 4)])
def test_the_tensor_product_is_that_of_e3nn(tops: tuple[int, int, int]) -> None:
    n_channels = 3
    product = TensorProduct(*tops, n_channels).double()
    left, right, out = (
        o3.Irreps([(n_channels, (degree, (-1) ** degree)) for degree in range(top + 1)]) for top in tops
    )
    paths = [
        (a, b, c, "uuu", True, 2 * c + 1.0)
        for a in range(tops[0] + 1)
        for b in range(tops[1] + 1)
        for c in range(abs(a - b), min(a + b, tops[2]) + 1)
        if (a + b + c) % 2 == 0
    ]
    torch.set_default_dtype(torch.float64)  # in which e3nn rounds its coefficients
    try:
        theirs = o3.TensorProduct(
            left,
            right,
            out,
            paths,
            irrep_normalization="none",
            path_normalization="none",
            internal_weights=False,
        )
    finally:
        torch.set_default_dtype(torch.float32)
    weights = torch.cat([product.weight[a, b, c] for a, b, c, *_ in paths]).detach()
    generator = torch.Generator().manual_seed(1)
    x, y = (
        torch.randn(5, (top + 1) ** 2, n_channels, dtype=torch.float64, generator=generator) for top in tops[:2]
    )

    def flat(z: torch.Tensor, top: int) -> torch.Tensor:
        parts = [z[:, degree**2 : (degree + 1) ** 2] for degree in range(top + 1)]
        return torch.cat([part.transpose(1, 2).flatten(1) for part in parts], dim=1)

    expected = theirs(flat(x, tops[0]), flat(y, tops[1]), weights)
    torch.testing.assert_close(flat(product(x, y), tops[2]), expected, rtol=0, atol=1e-12)


def test_precision_is_not_lost_by_a_detour_through_single() -> None:
    product = TensorProduct(3, 3, 3, 2)
    x = torch.randn(4, 16, 2, dtype=torch.float64)
    expected = TensorProduct(3, 3, 3, 2).double()
    expected.load_state_dict(product.state_dict())
    torch.testing.assert_close(product.float().double()(x, x), expected(x, x), rtol=0, atol=1e-15)


def test_every_degree_has_its_own_map() -> None:
    layer = DegreeLinear(2, 3, 4).double()
    x = torch.randn(5, 9, 3, dtype=torch.float64)
    y = layer(x)
    for component, degree in enumerate([0, 1, 1, 1, 2, 2, 2, 2, 2]):
        torch.testing.assert_close(y[:, component], x[:, component] @ layer.weight[degree])
    assert SelfProduct(2, 1, 3, 2).double()(x).shape == (5, 4, 2)


def test_norms_and_their_gradient_at_zero() -> None:
    x = torch.zeros(2, 4, 1, dtype=torch.float64)
    x[0, 1:, 0] = torch.tensor([3.0, 0.0, 4.0])
    x.requires_grad_(True)
    lengths = degree_norms(x)
    torch.testing.assert_close(lengths[0], torch.tensor([0.0, 3**0.25 * 5], dtype=torch.float64))
    (gradient,) = torch.autograd.grad(lengths.sum(), x)
    assert torch.isfinite(gradient).all()
    assert gradient[1].abs().max() == 0


def test_what_is_kept_of_frozen_weights_follows_them() -> None:
    product = TensorProduct(2, 2, 2, 1).requires_grad_(False)
    x = torch.randn(3, 9, 1)
    before = product(x, x)
    torch.testing.assert_close(product(x, x), before)
    product.weight *= 2
    torch.testing.assert_close(product(x, x), 2 * before)
    torch.testing.assert_close(product.double()(x.double(), x.double()).float(), 2 * before)
    product.load_state_dict({"weight": torch.zeros_like(product.weight)})
    assert product(x.double(), x.double()).abs().max() == 0


def test_softened_norms_have_no_kink() -> None:
    """For l = 0 the norm is |x|, whose slope jumps from -1 to 1 where x changes sign; softened, it bends within e."""
    x = torch.linspace(-1e-3, 1e-3, 11, dtype=torch.float64, requires_grad=True)
    (hard,) = torch.autograd.grad(degree_norms(x.reshape(-1, 1, 1)).sum(), x)
    (soft,) = torch.autograd.grad(degree_norms(x.reshape(-1, 1, 1), 0.1).sum(), x)
    assert hard.diff().abs().max() > 0.9
    assert soft.diff().abs().max() < 3e-3
    far = torch.tensor([[[7.0]]], dtype=torch.float64)
    assert degree_norms(far, 0.1).item() == pytest.approx(6.9, abs=1e-3)
