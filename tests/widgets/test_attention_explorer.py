"""AttentionExplorer without a browser: its numbers, its caps, its controls, and every form of weights."""

import time
from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from scipy.stats import spearmanr

from widgets import AttentionExplorer
from widgets import attention_numbers as numbers
from widgets.partner_view import CHOSEN

RANGES = (1.0, 2.0, 4.0, 8.0)


def shown(label, weights, **places):
    empty = {"pairs": None, "centers": None, "members": None, "normalised": True}
    return SimpleNamespace(**empty | places, label=label, weights=weights)


def softmax(scores):
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def between_all(atoms, layer=0, n_heads=4):
    """Heads that look over different ranges."""
    distances = atoms.get_all_distances(mic=True)
    noise = np.random.default_rng(layer).normal(size=(n_heads, *distances.shape))
    return shown(
        f"layer {layer}, all atoms", softmax(noise - distances / np.array(RANGES)[:n_heads, None, None])
    )


def neighbourhoods(atoms, layer=0, k=5, rows=None):
    """Of every atom but the last the k nearest; the last place is empty where the centre's number is odd."""
    distances = atoms.get_all_distances(mic=True)[:-1]
    members = np.argsort(distances, axis=1, kind="stable")[:, :k]
    members[1::2, -1] = -1
    scores = np.random.default_rng(layer).normal(size=(len(members), 2, k, k))
    weights = softmax(np.where(members[:, None, None, :] >= 0, scores, -1e9))
    places = {"centers": np.arange(len(members)), "members": members}
    return shown(f"layer {layer}, source neighbourhood", weights[:, :, :rows], **places)


def of_pairs(atoms, cutoff=2.5):
    pairs = np.argwhere(atoms.get_all_distances(mic=True) < cutoff)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    weights = np.random.default_rng(0).uniform(size=(3, len(pairs)))
    return shown("geometric path", weights, pairs=pairs, normalised=False)


@pytest.fixture
def atoms():
    return molecule("CH3CH2OH")


@pytest.fixture
def explorer(atoms):
    influence = np.random.default_rng(5).uniform(size=(9, 9))
    attention = [between_all(atoms, 0), neighbourhoods(atoms), of_pairs(atoms), between_all(atoms, 1)]
    made = AttentionExplorer(atoms, attention, influence)
    yield made
    assert made.log.text == ""
    made.close()


# numbers ------------------------------------------------------------------------------------------------


def test_rows_of_all_three_forms_say_what_was_put_in(atoms):
    dense, near, pairs = (
        numbers.Weights.of(a, 9) for a in (between_all(atoms), neighbourhoods(atoms), of_pairs(atoms))
    )
    np.testing.assert_array_equal(dense.rows([4, 2]), dense.weights[:, [4, 2]])
    rows = near.rows([3, 8])
    for place, member in enumerate(near.members[3][:-1]):
        np.testing.assert_array_equal(rows[:, 0, member], near.weights[3, :, 0, place])
    assert np.isfinite(rows[:, 0]).sum() == 2 * 4, "an empty place counts as an atom"
    assert np.isnan(rows[:, 1]).all(), "the last atom is the centre of nothing"
    rows = pairs.rows([1])[:, 0]
    mine = pairs.pairs[:, 0] == 1
    np.testing.assert_array_equal(rows[:, pairs.pairs[mine, 1]], pairs.weights[:, mine])
    assert np.isfinite(rows[0]).sum() == mine.sum()


def test_periodic_images_of_one_sender_are_added_up():
    pairs = np.array([[0, 1], [0, 1], [1, 0]])
    weights = numbers.Weights.of(shown("x", np.array([[0.25, 0.5, 1.0]]), pairs=pairs), 2)
    assert weights.rows([0])[0, 0, 1] == 0.75


def test_rollout_is_the_product_of_half_attention_and_half_identity(atoms):
    first, second = (numbers.Weights.of(between_all(atoms, layer), 9) for layer in (0, 1))
    found = numbers.rollout([first, second])
    expected = (0.5 * second.weights.mean(0) + 0.5 * np.eye(9)) @ (
        0.5 * first.weights.mean(0) + 0.5 * np.eye(9)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)


def test_effective_partners_of_known_rows():
    rows = np.array([[1.0, 0, 0, 0], [0.25] * 4, [2.0, 2.0, np.nan, np.nan], [np.nan] * 4, [-1.0, 1.0, 0, 0]])
    np.testing.assert_allclose(numbers.effective_partners(rows), [1, 4, 2, np.nan, 2])


def test_rank_correlation_is_scipys_and_passes_over_what_is_missing():
    rng = np.random.default_rng(0)
    rows, others = rng.normal(size=(3, 2, 30)), rng.normal(size=(2, 30)).round(1)
    rows[:, 1, ::3] = np.nan
    found = numbers.rank_correlations(rows, others)
    for head in range(3):
        for row in range(2):
            there = np.isfinite(rows[head, row])
            expected = spearmanr(rows[head, row, there], others[row, there]).statistic
            assert found[head, row] == pytest.approx(expected, abs=1e-12)
    assert np.isnan(numbers.rank_correlations(np.ones((1, 5)), np.arange(5.0)[None]))


def test_spans_go_to_the_nearest_image_in_a_skewed_cell():
    crystal = bulk("NaCl", "rocksalt", 5.64).repeat((3, 2, 2))
    crystal.rattle(0.1, seed=0)
    spans = numbers.nearest_images(crystal, [0, 7])
    np.testing.assert_allclose(
        np.linalg.norm(spans, axis=-1), crystal.get_all_distances(mic=True)[[0, 7]], atol=1e-9
    )


def test_medians_stand_in_the_middle_of_their_bins():
    distances, weights = np.repeat([1.1, 2.6, 4.2], [5, 7, 2]), np.arange(14.0)
    middles, medians = numbers.medians_by_distance(distances, weights)
    np.testing.assert_allclose(middles, [1.25, 2.75])  # two pairs are too few for a median
    np.testing.assert_allclose(medians, [2, 8])


def test_correlations_are_those_that_the_library_measures(explorer):
    from workbench.probes import rank_correlation

    found = explorer.rank_correlations()
    for row, weights in zip(found, explorer.attention, strict=True):
        np.testing.assert_allclose(
            row[: weights.n_heads], rank_correlation(weights, explorer.influence), atol=1e-12
        )
        assert np.isnan(row[weights.n_heads :]).all()


# what lights up -----------------------------------------------------------------------------------------


def test_the_strongest_partners_light_up_and_links_go_to_them(explorer):
    explorer.show("layer 0, all atoms", 1)
    explorer.choose(2)
    weights = explorer.attention[0].weights[1, 2].copy()
    weights[2] = 0
    expected = [j for j in np.argsort(-weights) if weights[j] >= 0.2 * weights.max()]
    assert explorer.partners() == expected
    drawn = explorer.view.scene()
    links = drawn.sticks["links"]
    np.testing.assert_allclose(links.start, np.repeat(explorer.atoms.positions[[2]], len(expected), axis=0))
    np.testing.assert_allclose(links.end, explorer.atoms.positions[expected])
    np.testing.assert_allclose(links.radii / links.radii[0], weights[expected] / weights.max())
    np.testing.assert_allclose(drawn.colours[2], CHOSEN)
    plain = explorer.view._radii
    assert (drawn.radii[expected] == plain[expected]).all()
    dark = np.setdiff1d(np.arange(9), [*expected, 2])
    assert (drawn.radii[dark] < plain[dark]).all()


def test_the_threshold_decides_how_many_light_up(explorer):
    explorer.threshold.value = 0
    assert len(explorer.partners()) == 8
    explorer.threshold.value = 100
    assert len(explorer.partners()) == 1
    assert "1 atom has at least 100 %" in explorer._words.value
    assert len(explorer.view.scene().sticks["links"].radii) == 1


def test_a_link_across_the_cell_ends_at_a_copy_that_can_be_clicked():
    pair = Atoms("ArNe", positions=[[0.5, 5, 5], [9.5, 5, 5]], cell=[10, 10, 10], pbc=True)
    picked = []
    explorer = AttentionExplorer(pair, [between_all(pair, n_heads=1)], on_pick=picked.append)
    drawn = explorer.view.scene()
    np.testing.assert_allclose(drawn.sticks["links"].end, [[-0.5, 5, 5]])
    np.testing.assert_allclose(drawn.positions, [*pair.positions, [-0.5, 5, 5]])
    assert "Ne 1" in drawn.labels[2]
    assert "periodic image" in drawn.labels[2]
    explorer.view._picked(2)
    assert picked == [1]
    assert explorer.atom.value == 1
    explorer.view._picked(99)  # a copy that is gone by now
    assert picked == [1]
    assert explorer.log.text == ""
    explorer.close()


def test_negative_weights_have_links_of_their_own_colour_and_no_logarithm(atoms):
    signed = np.random.default_rng(0).normal(size=(1, 9, 9))
    explorer = AttentionExplorer(atoms, [shown("difference of the paths", signed, normalised=False)])
    explorer.threshold.value = 0
    colours = explorer.view.scene().sticks["links"].start_colours
    assert len(np.unique(colours, axis=0)) == 2
    assert explorer.view._colouring.scale.diverging
    assert explorer.by_distance.figure.layout.yaxis.type == "linear"
    assert explorer.map.figure.data[0].zmin == -explorer.map.figure.data[0].zmax
    assert "sizes of the weights" in explorer.spread.words
    assert explorer.picture()[:4] == b"\x89PNG"
    explorer.close()


def test_an_atom_without_partners_is_shown_as_such(explorer):
    explorer.show("layer 0, source neighbourhood")
    explorer.choose(8)
    assert explorer.partners() == []
    assert "H 8 attends to no other atom here" in explorer.describe()
    assert "centre of no neighbourhood" in explorer.map.words
    assert explorer.picture()[:4] == b"\x89PNG"


# controls and plots -------------------------------------------------------------------------------------


def test_heads_are_combined_as_they_say(explorer):
    weights = explorer.attention[0].weights
    for head, expected in ((3, weights[3]), ("mean", weights.mean(0)), ("max", weights.max(0))):
        explorer.show("layer 0, all atoms", head)
        np.testing.assert_array_equal(explorer.weights(np.arange(9)), expected)


def test_rollout_is_offered_where_there_are_layers_before(explorer):
    assert "rollout" not in dict(explorer.head.options).values(), "one layer has nothing to roll out"
    explorer.show("layer 1, all atoms", "rollout")
    expected = numbers.rollout([explorer.attention[0], explorer.attention[3]])
    np.testing.assert_array_equal(explorer.weights([4]), expected[[4]])
    assert "rollout over 2 layers" in explorer.describe()
    explorer.show("geometric path")
    assert "rollout" not in dict(explorer.head.options).values()


def test_changing_the_attention_keeps_the_head_that_both_have(explorer):
    explorer.show("layer 0, all atoms", 1)
    explorer.layer.value = 1
    assert explorer.head.value == 1
    explorer.show("layer 0, all atoms", 3)
    explorer.layer.value = 1
    assert explorer.head.value == "mean", "two heads have no head 3"


def test_the_matrix_follows_its_order_and_the_chosen_atom(explorer):
    explorer.choose(2)
    weights = explorer.attention[0].weights.mean(0)
    orders = {
        "distance": np.argsort(explorer.atoms.get_distances(2, range(9)), kind="stable"),
        "element": np.argsort(explorer.atoms.numbers, kind="stable"),
        "given": np.arange(9),
    }
    for name, order in orders.items():
        explorer.order.value = name
        trace, layout = explorer.map.figure.data[0], explorer.map.figure.layout
        np.testing.assert_allclose(trace.z, weights[np.ix_(order, order)], rtol=1e-6)
        assert list(trace.y) == [explorer.names[atom] for atom in order]
        row = list(order).index(2)
        assert (layout.shapes[0].y0, layout.shapes[0].y1) == (row - 0.5, row + 0.5)


def test_colours_of_the_matrix_end_at_the_largest_weight_between_two_atoms(explorer):
    weights = explorer.attention[0].weights.mean(0)
    apart = weights[~np.eye(9, dtype=bool)]
    trace, bar = explorer.map.figure.data[0], explorer.map.figure.data[1].marker
    assert trace.zmax == pytest.approx(apart.max())
    assert (bar.cmin, bar.cmax) == pytest.approx((np.log10(apart.min()), np.log10(apart.max())))
    for atom in (3, 4):  # whose colours have the same ends
        explorer.choose(atom)
        np.testing.assert_allclose(10**bar.colorbar.tickvals, np.array(bar.colorbar.ticktext, float), rtol=1e-2)
    # The matrix is scaled linearly, its bar logarithmically: in between they must agree.
    middle = 10 ** ((bar.cmin + bar.cmax) / 2) / trace.zmax
    place, colour = min(trace.colorscale, key=lambda stop: abs(stop[0] - middle))
    assert place == pytest.approx(middle, rel=0.1)
    red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    np.testing.assert_allclose([red, green, blue], [124, 123, 120], atol=6)  # the middle of cividis


@pytest.mark.parametrize("rows", [None, 1])
def test_a_neighbourhood_is_shown_with_its_members(atoms, rows):
    near = neighbourhoods(atoms, rows=rows)
    explorer = AttentionExplorer(atoms, [between_all(atoms), near], atom=3)
    explorer.show(near.label, 1)
    assert explorer.order.value == "members"
    members = near.members[3][:4]  # the fifth place is empty
    trace = explorer.map.figure.data[0]
    assert list(trace.x) == [explorer.names[atom] for atom in members]
    np.testing.assert_allclose(trace.z, near.weights[3, 1, : rows or 4, :4], rtol=1e-6)
    assert ("row of the centre alone" in explorer.map.words) == (rows == 1)
    explorer.show("layer 0, all atoms")
    assert explorer.order.value == "distance"
    assert explorer.log.text == ""
    explorer.close()


def test_images_of_one_atom_have_labels_of_their_own():
    copper = bulk("Cu")
    weights = np.full((1, 1, 1, 3), 1 / 3)
    near = shown("layer 0, source neighbourhood", weights, centers=[0], members=[[0, 0, 0]])
    explorer = AttentionExplorer(copper, [near])
    assert list(explorer.map.figure.data[0].x) == ["Cu 0", "Cu 0 (2)", "Cu 0 (3)"]
    assert explorer.weights([0])[0, 0] == pytest.approx(1.0)
    assert explorer.picture()[:4] == b"\x89PNG"
    assert explorer.log.text == ""
    explorer.close()


def test_points_are_pairs_at_their_distances(explorer):
    explorer.choose(4)
    behind, front, _ = explorer.by_distance.figure.data
    distances = explorer.atoms.get_all_distances()
    weights = explorer.attention[0].weights.mean(0)
    for trace, count in ((behind, 72), (front, 8)):
        receivers, senders = np.asarray(trace.customdata).T
        assert len(receivers) == count
        assert (receivers != senders).all()
        np.testing.assert_allclose(trace.x, distances[receivers, senders], atol=1e-9)
        np.testing.assert_allclose(trace.y, weights[receivers, senders])
    assert set(np.asarray(front.customdata)[:, 0]) == {4}


def test_bars_are_effective_partners_of_each_head(explorer):
    explorer.choose(4)
    each = numbers.effective_partners(explorer.attention[0].weights)
    np.testing.assert_allclose(explorer.spread.figure.data[0].y, each.mean(axis=1))
    np.testing.assert_allclose(explorer.spread.figure.data[1].y, each[:, 4])


def test_influence_stands_beside_attention_largest_first(explorer):
    explorer.choose(4)
    influence = explorer.influence[4].copy()
    influence[4] = -1
    order = np.argsort(-influence)[:8]
    bars = explorer.beside.figure.data
    assert list(bars[0].x) == [explorer.names[atom] for atom in order]
    np.testing.assert_allclose(bars[0].y, 100 * influence[order] / influence.max())
    assert "eV/Å²" in explorer.beside.words
    assert "Attention is not an explanation" in explorer.describe()


class Clicked:
    """What plotly tells about a click."""

    def __init__(self, *places):
        self.point_inds = list(places)


def click(trace, *places):
    (callback,) = trace._click_callbacks
    callback(trace, Clicked(*places), None)


def test_clicks_lead_to_atoms_and_heads(explorer):
    picked = []
    explorer._on_pick = picked.append
    explorer.order.value = "given"
    click(explorer.map.figure.data[0], [5, 1])
    assert explorer.atom.value == 5
    front = explorer.by_distance.figure.data[1]
    partner = int(front.customdata[0][1])
    click(front, 0)
    assert explorer.atom.value == partner, "a point of the chosen atom leads to its partner"
    behind = explorer.by_distance.figure.data[0]
    number = next(k for k, (receiver, _) in enumerate(behind.customdata) if receiver == 7)
    click(behind, number)
    assert explorer.atom.value == 7
    click(explorer.ranks.figure.data[0], [3, 2])
    assert (explorer.layer.label, explorer.head.value) == ("layer 1, all atoms", 2)
    click(explorer.ranks.figure.data[0], [1, 3])  # a head that this attention has not
    assert (explorer.layer.label, explorer.head.value) == ("layer 1, all atoms", 2)
    assert picked == [5, partner, 7]


# large structures ---------------------------------------------------------------------------------------


def box(n_atoms):
    rng = np.random.default_rng(0)
    side = (n_atoms * 10.0) ** (1 / 3)
    return Atoms(f"Ar{n_atoms}", rng.uniform(0, side, (n_atoms, 3)), cell=[side] * 3, pbc=True)


def test_two_hundred_atoms_answer_at_once():
    atoms = box(200)
    attention = [between_all(atoms, layer) for layer in range(3)]
    explorer = AttentionExplorer(atoms, attention, np.random.default_rng(0).uniform(size=(200, 200)))
    took = []
    for atom in (17, 60, 141):
        began = time.perf_counter()
        explorer.choose(atom)
        took.append(time.perf_counter() - began)
    assert min(took) < 0.3, f"another atom takes {min(took):.2f} s"
    assert explorer.map.figure.data[0].z.shape == (200, 200)
    assert len(explorer.by_distance.figure.data[0].x) == explorer.POINTS
    assert "3000 of 39800 pairs drawn" in explorer.by_distance.words
    explorer.close()


def test_a_thousand_atoms_are_capped_and_it_says_so():
    atoms = box(1000)
    explorer = AttentionExplorer(atoms, [between_all(atoms, n_heads=2)], atom=321)
    assert explorer.map.figure.data[0].z.shape == (200, 200)
    assert "The 200 of 1000 atoms nearest to Ar 321" in explorer.map.words
    nearest = np.argsort(np.linalg.norm(numbers.nearest_images(atoms, [321])[0], axis=-1))[:200]
    assert set(explorer.map.receivers) == set(nearest)
    assert len(explorer.by_distance.figure.data[0].x) == explorer.POINTS
    assert "40 of 1000 atoms, at random" in explorer.by_distance.words
    explorer.threshold.value = 0
    assert len(explorer.view.scene().sticks["links"].radii) == explorer.LINKS
    assert "links go to the 60 strongest" in explorer.describe()
    began = time.perf_counter()
    explorer.choose(5)
    assert time.perf_counter() - began < 1.0
    assert explorer.log.text == ""
    explorer.close()


# words and refusals -------------------------------------------------------------------------------------


def test_the_words_name_the_strongest_partners(explorer):
    explorer.show("layer 0, all atoms", 0)
    explorer.choose(3)
    weights = explorer.attention[0].weights[0, 3].copy()
    own, weights[3] = weights[3], 0
    top = int(weights.argmax())
    assert f"H 3 attends most to {explorer.names[top]} ({weights[top]:.3g} at" in explorer.describe()
    assert f"To itself {own:.3g}" in explorer.describe()


def test_wrong_input_is_refused_in_words(atoms, explorer):
    with pytest.raises(ValueError, match="Predict with diagnose=True"):
        AttentionExplorer(atoms, [])
    with pytest.raises(ValueError, match=r"shape \(4, 9, 8\); expected \(n_heads, 9, 9\)"):
        AttentionExplorer(atoms, [shown("x", np.ones((4, 9, 8)))])
    with pytest.raises(ValueError, match=r"expected \(n_heads, 3\)"):
        AttentionExplorer(atoms, [shown("x", np.ones((4, 2)), pairs=np.zeros((3, 2), int))])
    with pytest.raises(ValueError, match=r"name atoms 0\.\.9; expected 0\.\.8"):
        AttentionExplorer(atoms, [shown("x", np.ones((4, 1)), pairs=np.array([[0, 9]]))])
    with pytest.raises(ValueError, match=r"expected \(1, n_heads, 2 or 1, 2\)"):
        AttentionExplorer(atoms, [shown("x", np.ones((1, 1, 3, 2)), centers=[0], members=[[0, 1]])])
    with pytest.raises(ValueError, match="centers, but no members"):
        AttentionExplorer(atoms, [shown("x", np.ones((1, 1, 2, 2)), centers=[0])])
    with pytest.raises(ValueError, match=r"influence has shape \(3, 3\)"):
        AttentionExplorer(atoms, [between_all(atoms)], np.ones((3, 3)))
    with pytest.raises(ValueError, match=r"no atom 9; expected 0\.\.8"):
        explorer.choose(9)
    with pytest.raises(ValueError, match="no attention 'layer 7'"):
        explorer.show("layer 7")
    with pytest.raises(ValueError, match="has no head 4"):
        explorer.show("layer 0, all atoms", 4)
    with pytest.raises(TypeError, match="Did you mean 'influence'"):
        AttentionExplorer(atoms, [between_all(atoms)], influences=None)
    with pytest.raises(ValueError, match="no influence to rank"):
        AttentionExplorer(atoms, [between_all(atoms)]).rank_correlations()
