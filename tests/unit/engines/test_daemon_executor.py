from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from echoic.engines.daemon_executor import DaemonExecutor


def nothing() -> None:
    pass


def test_one_thread_runs_the_calls_of_all_threads() -> None:
    own = DaemonExecutor("own", nothing)
    with ThreadPoolExecutor(4) as askers:
        threads = list(askers.map(lambda _: own.run_call(threading.current_thread), range(20)))
    own.shutdown()
    assert {thread.name for thread in threads} == {"own"}
    assert len({thread.ident for thread in threads}) == 1


def test_results_and_errors_reach_the_caller() -> None:
    own = DaemonExecutor("own", nothing)
    assert own.run_call(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        own.run_call(divmod, 7, 0)
    assert own.run_call(divmod, 8, 2) == (4, 0)
    own.shutdown()


def test_shutdown_runs_the_last_call_and_rejects_more() -> None:
    last: list[str] = []
    own = DaemonExecutor("own", lambda: last.append(threading.current_thread().name))
    own.run_call(nothing)
    assert last == []
    own.shutdown()
    own.shutdown()
    assert last == ["own"]
    with pytest.raises(RuntimeError, match="shut down"):
        own.run_call(nothing)


def test_calls_queued_before_shutdown_still_run() -> None:
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
