"""One thread for few atoms, torch's own number for many, and back again."""

from __future__ import annotations

import threading

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


def number_of_a_new_thread() -> int:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return found[0]


class Block(threading.Thread):
    """A block of `threads_for` on a thread of its own, left when told to.

    during, after   torch's number there, inside and when it has been left
    """

    def __init__(self, n_atoms: int) -> None:
        super().__init__()
        self.n_atoms, self.entered, self.may_leave = n_atoms, threading.Event(), threading.Event()
        self.start()
        assert self.entered.wait(60)

    def run(self) -> None:
        with threads_for(self.n_atoms):
            self.during = torch.get_num_threads()
            self.entered.set()
            self.may_leave.wait(60)
        self.after = torch.get_num_threads()

    def leave(self) -> None:
        self.may_leave.set()
        self.join()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_blocks_that_overlap_leave_the_number_as_it_was(two_threads: None, order: tuple[int, ...]) -> None:
    blocks = [Block(20), Block(5000), Block(20)]
    assert [block.during for block in blocks] == [1, 2, 1]
    for number in order:
        blocks[number].leave()
    assert [block.after for block in blocks] == [2, 2, 2]
    assert torch.get_num_threads() == 2
    assert number_of_a_new_thread() == 2


def test_a_block_inside_another_gives_it_its_number_back(two_threads: None) -> None:
    with threads_for(20):
        with threads_for(20):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
