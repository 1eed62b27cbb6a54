"""RunControls without a browser, on real jobs."""

import threading
import time

import pytest

from widgets.run_controls import RunControls, _duration
from workbench import jobs


def wait_until(condition, patience_s=5.0):
    end = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


class Counting:
    """A worker that counts until it is stopped."""

    def __init__(self, length=10_000):
        self.steps, self.length, self.started = 0, length, 0

    def start(self):
        self.started += 1
        return jobs.start(self.run)

    def run(self, control):
        for _ in range(self.length):
            if control.wait_and_see_stop():
                break
            self.steps += 1
            time.sleep(0.002)


def test_the_buttons_start_pause_resume_and_stop():
    work = Counting()
    controls = RunControls(work.start)
    assert controls.describe() == "not started"
    assert controls.pause_button.disabled
    controls.start_button.click()
    wait_until(lambda: work.steps > 5)
    assert controls.state == "running"
    assert controls.start_button.disabled
    controls.pause_button.click()
    time.sleep(0.05)
    reached = work.steps
    time.sleep(0.1)
    assert work.steps == reached
    assert controls.pause_button.description == "Resume"
    controls.pause_button.click()
    wait_until(lambda: work.steps > reached)
    controls.stop_button.click()
    wait_until(lambda: controls.state == "stopped")
    wait_until(lambda: not controls.start_button.disabled)
    assert work.steps < work.length
    controls.close()


def test_a_second_start_is_refused_and_a_later_one_is_not():
    work = Counting()
    controls = RunControls(work.start)
    controls.start()
    threads = [threading.Thread(target=controls.start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert work.started == 1
    assert "A run is going on already" in controls.log.text
    controls.stop()
    wait_until(lambda: controls.state == "stopped")
    controls.start()
    assert work.started == 2
    assert controls.log.text == ""
    controls.stop()
    controls.job.join()
    controls.close()


def test_an_error_of_the_run_is_shown_once_and_on_end_is_called():
    ended = []

    def explode(control):
        raise FloatingPointError("the energy is not a number")

    controls = RunControls(lambda: jobs.start(explode), on_end=ended.append)
    controls.start()
    wait_until(lambda: ended)
    assert controls.state == "failed"
    assert controls.log.text.count("FloatingPointError: the energy is not a number") == 1
    assert ended == [controls.job]
    controls.close()


class Held:
    """Something called in another thread that stays there until it is let go."""

    def __init__(self):
        self.entered, self.go, self.got = threading.Event(), threading.Event(), []

    def __call__(self, *got):
        self.got.extend(got)
        self.entered.set()
        assert self.go.wait(20)
        return 0.5


def test_nothing_is_started_before_the_end_was_told():
    told, work = Held(), Counting(length=3)
    controls = RunControls(work.start, on_end=told)
    controls.start()
    assert told.entered.wait(20)
    controls._refresh()  # as a click on another button does
    assert controls.state == "done"
    assert controls.start_button.disabled
    told.go.set()
    wait_until(lambda: not controls.start_button.disabled)
    assert told.got == [controls.job]
    controls.close()


def test_a_run_that_begins_while_the_last_is_looked_at_is_not_told_to_have_ended():
    long, ended, looking = Counting(), [], Held()
    work = iter([Counting(length=3), long])

    def progress():
        return looking() if threading.current_thread().name == "slow" else 0.5

    controls = RunControls(lambda: next(work).start(), progress=progress, on_end=ended.append)
    controls.start()
    first = controls.job
    wait_until(lambda: ended == [first])
    slow = threading.Thread(target=controls._refresh, name="slow")
    slow.start()
    assert looking.entered.wait(20)
    controls.start()
    looking.go.set()
    slow.join()
    wait_until(lambda: long.steps > 3)
    assert ended == [first]
    controls.stop()
    wait_until(lambda: ended == [first, controls.job])
    controls.close()


def test_an_error_of_on_end_leaves_the_buttons_in_order():
    controls = RunControls(Counting(length=3).start, on_end=lambda job: {}["model"])
    controls.start()
    wait_until(lambda: "KeyError: 'model'" in controls.log.text)
    wait_until(lambda: not controls.start_button.disabled)
    controls.close()


def test_an_error_of_the_start_is_shown():
    controls = RunControls(lambda: {}["model"])
    controls.start_button.click()
    assert "KeyError: 'model'" in controls.log.text
    assert controls.state == "idle"
    controls.close()


def test_time_left_counts_only_working_time():
    work = Counting(length=400)
    controls = RunControls(work.start, progress=lambda: work.steps / 400)
    controls.start()
    wait_until(lambda: work.steps >= 100)
    controls.pause()
    worked = controls._worked_s
    time.sleep(0.3)
    controls._refresh()
    assert controls._worked_s == pytest.approx(worked, abs=0.05)
    assert "left" in controls.describe()
    assert 0.2 < controls._bar.value < 0.9
    controls.stop()
    controls.job.join()
    controls.close()


def test_follows_a_job_that_runs_already():
    work = Counting(length=20)
    controls = RunControls(job=work.start())
    wait_until(lambda: controls.state == "done")
    wait_until(lambda: "done" in controls._status.value)
    controls.close()


def test_closing_stops_the_run_that_its_button_started_and_no_other():
    own, other = Counting(), Counting()
    controls = RunControls(own.start)
    controls.start()
    controls.close()
    own_job = controls.job
    assert own_job.join(timeout=5) is None
    assert own_job.state == "stopped"
    job = other.start()
    RunControls(job=job).close()
    assert job.state == "running"
    job.stop()
    job.join()


def test_needs_something_to_control():
    with pytest.raises(TypeError, match="neither start nor job"):
        RunControls()


def test_its_thread_ends_with_the_run():
    work = Counting(length=20)
    controls = RunControls(work.start)
    controls.start()
    wait_until(lambda: controls.state == "done")
    wait_until(lambda: not controls._pump.alive)


@pytest.mark.parametrize(
    ("seconds", "words"), [(7.2, "7 s"), (59.9, "1 min 00 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")]
)
def test_durations_read_as_a_person_says_them(seconds, words):
    assert _duration(seconds) == words
