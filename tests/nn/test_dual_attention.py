"""The parts of dual attention: envelope, softmax, norm and the tensor products of the messages."""

from __future__ import annotations

import pytest
import torch
from e3nn import o3
from scipy.spatial.transform import Rotation

from workbench.nn.bessel import Bessel, polynomial_envelope
from workbench.nn.dual_attention import (
    PATHS,
    DualAttention,
    EquivariantNorm,
    Pairs,
    smooth_softmax,
    transfers,
)
from workbench.nn.harmonics import spherical_harmonics
from workbench.nn.tensor_heads import TensorHead, VectorHead


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def directions(n: int) -> torch.Tensor:
    vectors = random(n, 3, seed=1)
    return vectors / vectors.norm(dim=1, keepdim=True)


def turned(x: torch.Tensor, rotation: torch.Tensor) -> torch.Tensor:
    """(n, (l_max + 1)^2, c) turned as the harmonics of turned directions are."""
    top = round(x.shape[1] ** 0.5) - 1
    u = directions(100)
    before, after = spherical_harmonics(top, u), spherical_harmonics(top, u @ rotation.T)
    return torch.linalg.lstsq(before, after).solution.T @ x


@pytest.fixture
def rotation() -> torch.Tensor:
    return torch.from_numpy(-Rotation.random(random_state=0).as_matrix())


def test_the_envelope_is_the_published_polynomial() -> None:
    r = torch.linspace(0, 6, 61, dtype=torch.float64, requires_grad=True)
    t = (r / 5).clamp(max=1)
    f = polynomial_envelope(r, 5.0)
    torch.testing.assert_close(f, 1 - 28 * t**6 + 48 * t**7 - 21 * t**8, atol=1e-14, rtol=0)
    end = torch.tensor([5.0 - 1e-6, 5.0], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(polynomial_envelope(end, 5.0).sum(), end, create_graph=True)
    (bend,) = torch.autograd.grad(slope.sum(), end)
    assert slope.abs().max() < 1e-11
    assert bend.abs().max() < 1e-4
    assert (polynomial_envelope(torch.linspace(4.9, 5, 100), 5.0) >= 0).all()  # in single precision too


def test_bessel_functions_are_orthonormal() -> None:
    """The integral of b_n b_m r^2 from 0 to the cutoff."""
    r = (torch.arange(20000, dtype=torch.float64) + 0.5) * 5 / 20000
    b = Bessel(5.0, 4).double()(r) * r.unsqueeze(1)
    torch.testing.assert_close(b.T @ b * 5 / 20000, torch.eye(4, dtype=torch.float64), atol=1e-6, rtol=0)


def test_the_softmax_is_its_formula_and_lets_go() -> None:
    logits = torch.tensor([[1.0], [-0.5], [2.0]], dtype=torch.float64)
    envelope = torch.tensor([0.9, 0.5, 0.2], dtype=torch.float64)
    receivers = torch.tensor([0, 0, 1])
    powers = envelope * torch.exp(envelope * logits[:, 0])
    expected = torch.stack([*(powers[:2] / (1 + powers[:2].sum())), powers[2] / (1 + powers[2])])
    torch.testing.assert_close(smooth_softmax(logits, envelope, receivers, 3)[:, 0], expected)
    huge = smooth_softmax(1000 * logits, envelope, receivers, 3)
    assert torch.isfinite(huge).all()
    leaving = smooth_softmax(
        torch.tensor([[8.0]]).double(), torch.tensor([1e-6]).double(), torch.tensor([0]), 1
    )
    assert leaving.item() == pytest.approx(1e-6, rel=1e-4)
    without = smooth_softmax(logits[:2], envelope[:2] * torch.tensor([1.0, 0.0]), receivers[:2], 1)
    torch.testing.assert_close(without[:1], smooth_softmax(logits[:1], envelope[:1], receivers[:1], 1))


@pytest.mark.parametrize("top", [1, 2, 3])
def test_messages_are_tensor_products_as_of_e3nn(top: int) -> None:
    """'uvu' of features with harmonics of norm sqrt(2l + 1), every path on its own."""
    n, c = 5, 2
    u, x = directions(n), random(n, (top + 1) ** 2, c)
    found = transfers(top, spherical_harmonics(top, u))
    paths = [
        (a, b, d)
        for d in range(top + 1)
        for a in range(top + 1)
        for b in range(top + 1)
        if abs(a - b) <= d <= a + b and (a + b + d) % 2 == 0
    ]
    features = o3.Irreps([(c, (degree, (-1) ** degree)) for degree in range(top + 1)])
    out = o3.Irreps([(c, (d, (-1) ** d)) for _, _, d in paths])
    torch.set_default_dtype(torch.float64)  # in which e3nn rounds its coefficients
    try:
        product = o3.TensorProduct(
            features,
            o3.Irreps.spherical_harmonics(top),
            out,
            [(a, b, i, "uvu", False, 2 * d + 1.0) for i, (a, b, d) in enumerate(paths)],
            irrep_normalization="none",
            path_normalization="none",
        )
        flat = torch.cat([x[:, d**2 : (d + 1) ** 2].transpose(1, 2).flatten(1) for d in range(top + 1)], 1)
        harmonics = o3.spherical_harmonics(list(range(top + 1)), u, True, normalization="component")
        expected = product(flat, harmonics)
    finally:
        torch.set_default_dtype(torch.float32)
    place = [0] * (top + 1)
    for part, (_, _, d) in zip(out.slices(), paths, strict=True):
        of_degree = sum(e == d for _, _, e in paths)
        mine = (found[d] @ x).unflatten(1, (2 * d + 1, of_degree))[:, :, place[d]]
        place[d] += 1
        torch.testing.assert_close(mine.transpose(1, 2).flatten(1), expected[:, part], atol=1e-12, rtol=0)


def test_the_norm_turns_with_its_input_and_keeps_the_balance(rotation: torch.Tensor) -> None:
    norm = EquivariantNorm(2, 6).double()
    with torch.no_grad():
        norm.gain.uniform_(0.5, 1.5)
        norm.shift.uniform_(-1, 1)
    x = random(4, 9, 6)
    torch.testing.assert_close(norm(turned(x, rotation)), turned(norm(x), rotation))
    torch.testing.assert_close(norm(7 * x), norm(x), rtol=1e-5, atol=1e-5)
    tiny = x.clone()
    tiny[:, 1:] *= 1e-9
    plain = EquivariantNorm(2, 6).double()
    assert plain(tiny)[:, 1:].abs().max() < 1e-7  # what is small beside the rest stays so
    assert plain(x)[:, 0].mean(1).abs().max() < 1e-12


def layer_and_input(paths: str, top: int) -> tuple[DualAttention, torch.Tensor, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    layer = DualAttention(top, 8, 2, 5, 6, paths).double()
    receivers = torch.tensor([0, 0, 0, 1, 1, 2])
    senders = torch.tensor([1, 2, 0, 0, 2, 0])
    given = {
        "receivers": receivers,
        "senders": senders,
        "envelope": torch.rand(6, dtype=torch.float64),
        "scalars": random(6, 5, seed=2),
        "directions": directions(6),
    }
    return layer, random(4, (top + 1) ** 2, 8, seed=3), given


def pairs_of(top: int, given: dict[str, torch.Tensor]) -> Pairs:
    harmonics = spherical_harmonics(top, given["directions"])
    rest = {name: value for name, value in given.items() if name != "directions"}
    return Pairs(**rest, harmonics=harmonics, transfers=transfers(top, harmonics))


@pytest.mark.parametrize("paths", PATHS)
@pytest.mark.parametrize("top", [1, 2, 3])
def test_a_layer_turns_with_its_input(paths: str, top: int, rotation: torch.Tensor) -> None:
    layer, x, given = layer_and_input(paths, top)
    y, attended = layer(x, pairs_of(top, given))
    given["directions"] = given["directions"] @ rotation.T
    there, same = layer(turned(x, rotation), pairs_of(top, given))
    torch.testing.assert_close(there, turned(y, rotation), atol=1e-11, rtol=0)
    torch.testing.assert_close(same.geometric, attended.geometric, atol=1e-11, rtol=0)
    assert (attended.chemical is None) == (paths != "geometric+chemical")
    assert attended.gates.shape == (6, top + 1, 2)


@pytest.mark.parametrize("paths", PATHS)
def test_each_ingredient_changes_the_outcome(paths: str) -> None:
    """Weights, envelopes, directions, features of the sender and the scalars of the pair all matter."""
    layer, x, given = layer_and_input(paths, 2)
    y, _ = layer(x, pairs_of(2, given))
    for name in ("envelope", "scalars", "directions"):
        changed = dict(given)
        changed[name] = given[name].roll(1, 0)
        assert (layer(x, pairs_of(2, changed))[0] - y).abs().max() > 1e-3
    for weight in layer.parameters():
        kept = weight.detach().clone()
        with torch.no_grad():
            weight += 0.3 * torch.randn_like(weight)
        assert (layer(x, pairs_of(2, given))[0] - y).abs().max() > 1e-6
        with torch.no_grad():
            weight.copy_(kept)
    far = x.clone()
    far[3] = 0  # an atom without neighbours
    assert (layer(far, pairs_of(2, given))[0][:3] - y[:3]).abs().max() == 0


def test_a_high_temperature_evens_the_attention() -> None:
    layer, x, given = layer_and_input("geometric+chemical", 2)
    given["envelope"] = torch.ones(6, dtype=torch.float64)
    with torch.no_grad():
        layer.log_temperature.fill_(20.0)
    torch.testing.assert_close(layer.temperatures, torch.full((2, 2), 20.0, dtype=torch.float64).exp())
    _, attended = layer(x, pairs_of(2, given))
    expected = torch.tensor([1 / 4] * 3 + [1 / 3] * 2 + [1 / 2], dtype=torch.float64)
    for weights in (attended.geometric, attended.chemical):
        torch.testing.assert_close(weights, expected[:, None].expand(6, 2), atol=1e-6, rtol=0)


def test_vectors_and_tensors_turn(rotation: torch.Tensor) -> None:
    vector, tensor = VectorHead(4).double(), TensorHead(4).double()
    x = random(5, 9, 4)
    torch.testing.assert_close(vector(turned(x, rotation)), vector(x) @ rotation.T)
    here = tensor(x)
    torch.testing.assert_close(tensor(turned(x, rotation)), rotation @ here @ rotation.T)
    torch.testing.assert_close(here, here.transpose(1, 2))
    trace = here.diagonal(dim1=1, dim2=2).sum(1)
    torch.testing.assert_close(trace, 3 * tensor.trace(x[:, 0]).squeeze(1))
