from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from echoic.engines.daemon_executor import DaemonExecutor


def nothing() -> None:
    pass


def test_all_calls_are_made_by_one_thread_whoever_asks() -> None:
    own = DaemonExecutor("own", nothing)
    with ThreadPoolExecutor(4) as askers:
        threads = list(askers.map(lambda _: own.run_call(threading.current_thread), range(20)))
    own.shutdown()
    assert {thread.name for thread in threads} == {"own"}
    assert len({thread.ident for thread in threads}) == 1


def test_an_answer_comes_back_and_so_does_a_failure() -> None:
    own = DaemonExecutor("own", nothing)
    assert own.run_call(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        own.run_call(divmod, 7, 0)
    assert own.run_call(divmod, 8, 2) == (4, 0)
    own.shutdown()


def test_the_thread_ends_with_a_last_call_and_is_asked_no_more() -> None:
    last: list[str] = []
    own = DaemonExecutor("own", lambda: last.append(threading.current_thread().name))
    own.run_call(nothing)
    assert last == []
    own.shutdown()
    own.shutdown()
    assert last == ["own"]
    with pytest.raises(RuntimeError, match="shut down"):
        own.run_call(nothing)


def test_what_was_asked_before_the_end_is_still_done() -> None:
    own, begun, gate = DaemonExecutor("own", nothing), threading.Event(), threading.Event()

    def wait() -> bool:
        begun.set()
        return gate.wait(10.0)

    with ThreadPoolExecutor(2) as askers:
        asked = askers.submit(own.run_call, wait)
        assert begun.wait(10.0)
        ended = askers.submit(own.shutdown)
        gate.set()
        assert asked.result()
        ended.result()
