"""A stream keeps every row, in order, whoever emits and whoever looks."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest

from workbench.stream import Row, Stream


def test_rows_come_back_in_order() -> None:
    stream = Stream()
    for step in range(5):
        stream.emit(step=step, energy=-0.5 * step)
    assert len(stream) == 5
    assert stream[2] == {"step": 2.0, "energy": -1.0}
    assert stream[-1] == {"step": 4.0, "energy": -2.0}
    assert stream.column("energy") == [0.0, -0.5, -1.0, -1.5, -2.0]
    with pytest.raises(IndexError):
        stream[5]


def test_an_empty_stream_is_empty() -> None:
    stream = Stream()
    assert (len(stream), stream.names, stream.column("energy"), stream.since(0)) == (0, [], [], [])


def test_columns_that_some_rows_lack_are_nan_there() -> None:
    stream = Stream()
    stream.emit(step=0, loss=2.0)
    stream.emit(step=1, loss=1.0, validation=3.0)
    assert stream.names == ["step", "loss", "validation"]
    assert math.isnan(stream.column("validation")[0])
    assert stream.column("validation")[1] == 3.0
    assert all(math.isnan(value) for value in stream.column("no such column"))


def test_values_become_plain_floats() -> None:
    stream = Stream()
    stream.emit(a=np.float32(1.5), b=2, c=np.array(3.0))
    assert [type(value) for value in stream[0].values()] == [float, float, float]
    with pytest.raises(ValueError, match="could not convert"):
        stream.emit(a="not a number")  # type: ignore[arg-type]
    assert len(stream) == 1


def test_since_gives_a_reader_what_it_has_not_seen() -> None:
    stream = Stream()
    seen: list[Row] = []
    for emitted in (2, 0, 3):
        for _ in range(emitted):
            stream.emit(step=len(stream))
        new = stream.since(len(seen))
        assert len(new) == emitted
        seen += new
    assert [row["step"] for row in seen] == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_what_a_reader_does_to_its_lists_leaves_the_stream_alone() -> None:
    stream = Stream()
    stream.emit(energy=1.0)
    stream.since(0).clear()
    stream.column("energy").clear()
    assert stream.column("energy") == [1.0]


def test_subscribers_get_every_row_from_then_on_until_they_leave() -> None:
    stream = Stream()
    early: list[Row] = []
    late: list[Row] = []
    leave = stream.subscribe(early.append)
    stream.emit(step=0)
    stream.subscribe(late.append)
    stream.emit(step=1)
    leave()
    leave()  # twice is once
    stream.emit(step=2)
    assert [row["step"] for row in early] == [0.0, 1.0]
    assert [row["step"] for row in late] == [1.0, 2.0]


def test_a_subscriber_may_read_the_stream_and_leave_while_it_is_called() -> None:
    stream = Stream()
    lengths: list[int] = []

    def once(row: Row) -> None:
        lengths.append(len(stream.since(0)))  # would wait for ever if emit still held the lock
        leave()

    leave = stream.subscribe(once)
    stream.emit(step=0)
    stream.emit(step=1)
    assert lengths == [1]


def test_no_row_is_lost_between_threads() -> None:
    stream = Stream()
    called: list[Row] = []
    stream.subscribe(called.append)
    stop_reading = threading.Event()
    read: list[Row] = []

    def produce(producer: int) -> None:
        for step in range(2000):
            stream.emit(producer=producer, step=step)

    def follow() -> None:
        while not stop_reading.is_set():
            read.extend(stream.since(len(read)))
        read.extend(stream.since(len(read)))

    producers = [threading.Thread(target=produce, args=(number,)) for number in range(4)]
    reader = threading.Thread(target=follow)
    for thread in (reader, *producers):
        thread.start()
    for thread in producers:
        thread.join()
    stop_reading.set()
    reader.join()

    assert len(stream) == len(called) == 8000
    assert read == stream.since(0)
    for number in range(4):
        own = [row["step"] for row in read if row["producer"] == number]
        assert own == list(range(2000))


def test_an_error_in_a_subscriber_reaches_the_producer_after_the_row_is_kept() -> None:
    stream = Stream()

    def broken(row: Row) -> None:
        raise RuntimeError("the plot is gone")

    stream.subscribe(broken)
    with pytest.raises(RuntimeError, match="the plot is gone"):
        stream.emit(step=0)
    assert len(stream) == 1
