"""What the RacePanel is handed: real trainings that take turns."""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from structures_for_tests import labelled_water

from workbench import desk, jobs
from workbench.desk.race import Race, step_memory_MB
from workbench.desk.turns import Floor, Turn
from workbench.models import build
from workbench.runs import Run, TrainingConfig

PATIENCE_S = 120.0


FRAMES = labelled_water(12)
TWO = [("lorem", "tiny"), ("mlanet", "tiny")]


def wait_until(condition: Any) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def begun(folder: Path, models: Any = TWO, data: Any = FRAMES, **options: Any) -> Race:
    given = desk.race(data, models, folder=folder, **{"batch_size": 4, **options})
    return given["begin"]({field.name: field.default for field in given["fields"]})


class TestFloor:
    """Workers that note when they work."""

    def run(self, n: int, n_steps: int, turn_s: float = 0.03) -> list[int]:
        floor, steps, inside = Floor(n, turn_s), [], threading.Semaphore(1)

        def work(number: int, control: Any) -> None:
            turn = Turn(floor, number)
            try:
                for _ in range(n_steps):
                    turn.wait_and_see_stop()
                    assert inside.acquire(blocking=False), "two work at once"
                    time.sleep(0.005)
                    steps.append(number)
                    inside.release()
            finally:
                floor.leave(number)

        workers = [jobs.start(work, number) for number in range(n)]
        for worker in workers:
            worker.join(PATIENCE_S)
        return steps

    def test_one_works_at_a_time_and_all_get_to_the_end(self):
        steps = self.run(3, 20)
        assert [steps.count(number) for number in range(3)] == [20, 20, 20]
        handed_on = [b for a, b in itertools.pairwise(steps) if a != b]
        assert len(handed_on) >= 3, "nobody took turns"
        assert set(steps[: steps.index(2) + 1]) == {0, 1, 2}, "the floor goes round"

    def test_one_alone_keeps_it(self):
        assert self.run(1, 5) == [0] * 5

    def test_a_pause_halts_all_and_a_stop_lets_one_after_the_other_go(self):
        floor, order = Floor(2, 0.01), []
        turns = [Turn(floor, number) for number in range(2)]

        def work(number: int, control: Any) -> None:
            try:
                while not turns[number].wait_and_see_stop():
                    time.sleep(0.002)
                    order.append(number)
            finally:
                floor.leave(number)

        workers = [jobs.start(work, number) for number in range(2)]
        wait_until(lambda: len(set(order)) == 2)
        floor.pause()
        time.sleep(0.1)
        n = len(order)
        time.sleep(0.1)
        assert len(order) == n
        floor.resume()
        wait_until(lambda: len(order) > n)
        for turn in turns:
            turn.stop()
        floor.stop()
        for worker in workers:
            worker.join(PATIENCE_S)


def test_each_has_its_time_and_none_computes_beside_another(tmp_path):
    threads = torch.get_num_threads()
    told = []
    race = begun(tmp_path, budget_s=3.0)
    race.watch(lambda: told.append(1))
    race.join(PATIENCE_S)
    assert race.state == "done"
    assert race.share == 1.0
    assert told
    assert torch.get_num_threads() == threads
    for entrant in race.entrants:
        assert entrant.outcome.startswith("out of time")
        assert entrant.seconds >= 3.0 - 0.5
        assert entrant.n_parameters > 1000
        assert entrant.memory_MB > 4e-6 * 4 * entrant.n_parameters
        assert entrant.comparison is not None, "predictions are compared when the race is over"
        run = Run.open(entrant.folder)
        assert run.config.max_minutes == pytest.approx(3.0 / 60)
        assert run.config.schedule == "constant"
        assert not run.config.rotate
    assert [entrant.title for entrant in race.entrants] == ["lorem tiny", "mlanet tiny"]
    assert [entrant.name for entrant in race.entrants] == [
        "frames-race-1-lorem-tiny",
        "frames-race-1-mlanet-tiny",
    ]
    opened = desk.training(FRAMES, folder=tmp_path)["reopen"]("frames-race-1-lorem-tiny")
    assert opened.values["structures"] == 0
    assert opened.outcome == race.entrants[0].outcome


def test_a_race_is_paused_and_stopped(tmp_path):
    race = begun(tmp_path, [("lorem", "tiny"), ("allscaip", "tiny")], budget_s=100_000)
    wait_until(lambda: all(len(entrant.stream) > 2 for entrant in race.entrants))
    assert race.state == "running"
    race.pause()
    assert race.state == "paused"
    time.sleep(1.0)
    reached = [len(entrant.stream) for entrant in race.entrants]
    time.sleep(0.5)
    assert [len(entrant.stream) for entrant in race.entrants] == reached
    race.resume()
    wait_until(lambda: sum(len(entrant.stream) for entrant in race.entrants) > sum(reached))
    race.stop()
    race.join(PATIENCE_S)
    assert race.state == "stopped"
    assert all(Run.open(entrant.folder).outcome.state == "stopped" for entrant in race.entrants)
    assert Run.open(race.entrants[1].folder).config.rotate, "AllScAIP is not rotation invariant"


def test_mistakes_are_told_in_words(tmp_path):
    race = begun(tmp_path, data="nowhere.xyz")
    wait_until(lambda: race.state == "failed")
    assert race.report.startswith("there is no file nowhere.xyz")
    assert race.report.count("nowhere.xyz") == 1, "all failed alike, which is said once"
    assert race.error is not None
    with pytest.raises(ValueError, match="each model once"):
        begun(tmp_path, [("lorem", "tiny")] * 2)
    with pytest.raises(ValueError, match="got 1 models; expected two or three"):
        desk.race(FRAMES, [("lorem", "tiny")])
    with pytest.raises(ValueError, match="expected one of"):
        desk.race(FRAMES, [("lorem", "tiny"), ("loren", "tiny")])
    with pytest.raises(TypeError, match=r"unknown setting 'epochs'\."):
        desk.race(FRAMES, TWO, epochs=3)


def test_memory_of_a_step_grows_with_the_batch_and_holds_the_weights():
    model, config = build("lorem", "tiny"), TrainingConfig()
    one, two, four = (step_memory_MB(model, FRAMES[:n], config) for n in (1, 2, 4))
    weights = 4 * sum(p.untyped_storage().nbytes() for p in model.parameters()) / 1e6
    assert one > weights
    assert (four - two) / 2 == pytest.approx(two - one, rel=0.25)
    averaged = step_memory_MB(model, FRAMES[:1], TrainingConfig(ema_decay=0.9))
    assert averaged - one == pytest.approx(weights / 4, rel=1e-6)
