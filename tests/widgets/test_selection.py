"""The same atoms selected in several views."""

from types import SimpleNamespace

import numpy as np
import pytest
from ase.build import molecule

from widgets.attention_explorer import AttentionExplorer
from widgets.selection import link
from widgets.structure_view import StructureView


@pytest.fixture
def views():
    views = [StructureView(molecule("CH3CH2OH")) for _ in range(3)]
    yield views
    for view in views:
        view.close()


def test_what_is_selected_in_one_is_selected_in_all_and_each_is_told_once(views):
    told = [[] for _ in views]
    for view, heard in zip(views, told, strict=True):
        view.on_selection(heard.append)
    link(*views)
    views[1].select([4, 2])
    views[2]._picked(7)
    assert [view.selected for view in views] == [(7,)] * 3
    assert told == [[(4, 2), (7,)]] * 3


def test_a_link_ends_when_asked_to(views):
    end = link(*views[:2])
    views[0].select(1)
    end()
    end()
    views[0].select(2)
    assert views[1].selected == (1,)


def test_an_atom_that_a_view_does_not_have_is_left_out(views):
    water = StructureView(molecule("H2O"))
    link(views[0], water)
    views[0].select([1, 8])
    assert water.selected == (1,)
    assert views[0].selected == (1, 8)
    water.close()


def test_a_panel_takes_part_and_a_selected_atom_becomes_its_chosen_one(views):
    weights = np.full((1, 9, 9), 1 / 9)
    attention = SimpleNamespace(
        label="layer 0, all atoms", weights=weights, pairs=None, centers=None, members=None, normalised=True
    )
    explorer = AttentionExplorer(views[0].frames[0], [attention])
    link(views[0], explorer)
    views[0].select(5)
    assert explorer.atom.value == 5
    explorer.choose(3)
    assert views[0].selected == (3,)
    explorer.view._picked(6)
    assert views[0].selected == (6,)
    assert explorer.atom.value == 6
    assert explorer.log.text == ""
    explorer.close()


def test_what_selects_no_atoms_is_refused(views):
    with pytest.raises(TypeError, match="a dict selects no atoms"):
        link(views[0], {})
