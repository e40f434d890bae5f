"""Work in another thread, or in the caller's if no thread is free."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from ezcli.efficientzero.aside import begin
from ezcli.runs.compute import Immediate


def test_without_an_executor_the_work_is_done_when_it_begins():
    done = []
    finish = begin(lambda: done.append(1) or "result", None)
    assert done == [1]
    assert finish() == finish() == "result"
    assert done == [1]


def test_an_executor_without_threads_does_it_once():
    done = []
    assert begin(lambda: done.append(1) or "result", Immediate())() == "result"
    assert done == [1]


def test_a_free_thread_does_it_once():
    with ThreadPoolExecutor(1) as executor:
        named = []
        finish = begin(lambda: named.append(threading.current_thread()), executor)
        executor.submit(lambda: None).result()  # the thread is past the work
        finish()
    assert len(named) == 1
    assert named[0] is not threading.current_thread()


def test_who_asks_does_it_where_no_thread_is_free():
    # Without this a task that waits for another on a full executor waits forever.
    with ThreadPoolExecutor(1) as executor:
        done = executor.submit(lambda: begin(threading.current_thread, executor)())
        assert done.result(timeout=60).name.startswith("ThreadPoolExecutor")


def test_an_error_reaches_who_asks():
    def fails():
        raise ValueError("of the work")

    with ThreadPoolExecutor(1) as executor:
        finish = begin(fails, executor)
        with pytest.raises(ValueError, match="of the work"):
            finish()
