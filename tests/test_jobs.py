"""Jobs are watched from outside while they really run on their thread."""

from __future__ import annotations

import itertools
import signal
import threading
import time
from collections.abc import Callable

import pytest

from workbench.jobs import Control, Job, start

PATIENCE_S = 20.0  # for the thread to be scheduled on a busy machine; a healthy run needs milliseconds


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether the condition comes true within PATIENCE_S."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True


def counting(steps: list[int], control: Control, limit: int | None = None) -> int:
    """A worker that appends the number of each step; returns how many it did."""
    for step in itertools.count():
        if step == limit or control.wait_and_see_stop():
            break
        steps.append(step)
        time.sleep(0.001)
    return len(steps)


def test_a_job_returns_what_its_worker_returns() -> None:
    steps: list[int] = []
    job = start(counting, steps, limit=5)
    assert job.join(PATIENCE_S) == 5
    assert job.result == 5
    assert steps == [0, 1, 2, 3, 4]
    assert job.state == "done"
    assert (job.error, job.report) == (None, "")


def test_a_worker_gets_its_arguments_and_the_job_as_control() -> None:
    def worker(*args: object, control: Control, **kwargs: object) -> tuple[object, ...]:
        return args, kwargs, control

    job = start(worker, 1, "two", three=3)
    assert job.join(PATIENCE_S) == ((1, "two"), {"three": 3}, job)


def test_start_does_not_wait_for_the_worker() -> None:
    gate = threading.Event()
    job = start(lambda control: gate.wait(PATIENCE_S))
    assert job.state == "running"
    gate.set()
    assert job.join(PATIENCE_S) is True


def test_a_paused_job_stands_still_and_resumes_where_it_was() -> None:
    steps: list[int] = []
    job = start(counting, steps)
    assert eventually(lambda: len(steps) > 3)
    job.pause()
    assert job.paused
    assert job.state == "paused"
    time.sleep(0.1)  # the step under way may end
    standing = len(steps)
    time.sleep(0.2)
    assert len(steps) == standing
    job.resume()
    assert job.state == "running"
    assert eventually(lambda: len(steps) > standing + 3)
    job.stop()
    job.join(PATIENCE_S)
    assert steps == list(range(len(steps)))


def test_a_stopped_job_keeps_what_it_did() -> None:
    steps: list[int] = []
    job = start(counting, steps)
    assert eventually(lambda: len(steps) > 3)
    job.stop()
    assert job.join(PATIENCE_S) == len(steps) > 3
    assert job.stopping
    assert job.state == "stopped"


def test_stop_ends_a_pause() -> None:
    steps: list[int] = []
    job = start(counting, steps)
    job.pause()
    job.stop()
    assert job.join(PATIENCE_S) == len(steps)
    assert job.state == "stopped"
    assert not job.paused


def test_a_job_that_is_asked_to_stop_says_so_until_it_ends() -> None:
    gate = threading.Event()
    job = start(lambda control: gate.wait(PATIENCE_S))
    job.stop()
    assert job.state == "stopping"
    gate.set()
    job.join(PATIENCE_S)
    assert job.state == "stopped"


def test_an_error_reaches_whoever_joins_with_its_traceback_as_text() -> None:
    def broken(control: Control) -> None:
        raise ValueError("cell has no volume")

    job = start(broken)
    with pytest.raises(ValueError, match="cell has no volume"):
        job.join(PATIENCE_S)
    assert job.state == "failed"
    assert job.result is None
    assert isinstance(job.error, ValueError)
    assert "in broken" in job.report
    assert "ValueError: cell has no volume" in job.report


def test_a_failed_job_stays_failed_when_it_is_stopped_afterwards() -> None:
    job = start(lambda control: 1 / 0)
    assert eventually(lambda: job.state == "failed")
    job.stop()
    assert job.state == "failed"


def test_join_gives_up_after_its_timeout_and_the_job_goes_on() -> None:
    steps: list[int] = []
    job = start(counting, steps)
    with pytest.raises(TimeoutError, match=r"still running after 0\.05 s"):
        job.join(0.05)
    before = len(steps)
    assert eventually(lambda: len(steps) > before)
    job.stop()
    job.join(PATIENCE_S)


def test_an_interrupt_while_joining_stops_the_worker_cleanly() -> None:
    """Ctrl-C, or Jupyter's interrupt: SIGINT to the main thread, which waits in join()."""
    steps: list[int] = []
    job = start(counting, steps)
    main = threading.get_ident()
    interrupter = threading.Timer(0.2, signal.pthread_kill, [main, signal.SIGINT])
    interrupter.start()
    assert job.join() == len(steps) > 0
    interrupter.join()
    assert job.state == "stopped"


def test_a_control_without_a_thread_does_not_hold_up_its_worker() -> None:
    steps: list[int] = []
    control = Control()
    assert counting(steps, control, limit=3) == 3
    assert not control.stopping
    control.stop()
    assert counting(steps, control) == 3


def test_jobs_do_not_share_their_switches() -> None:
    first, second = [], []
    jobs: list[Job] = [start(counting, first), start(counting, second)]
    jobs[0].pause()
    time.sleep(0.1)
    standing, before = len(first), len(second)
    assert eventually(lambda: len(second) > before + 3)
    assert len(first) == standing
    for job in jobs:
        job.stop()
        job.join(PATIENCE_S)
