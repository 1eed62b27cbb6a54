"""One thread for few atoms, torch's own number for many, and back again."""

from __future__ import annotations

import pytest
import torch

from workbench.threads import threads_for


@pytest.fixture
def two_threads() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_few_atoms_take_one_thread(two_threads: None) -> None:
    with threads_for(20):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    with threads_for(5000):
        assert torch.get_num_threads() == 2


def test_the_number_comes_back_after_an_error(two_threads: None) -> None:
    with pytest.raises(RuntimeError), threads_for(20):
        raise RuntimeError
    assert torch.get_num_threads() == 2
