from __future__ import annotations

import asyncio
import signal
import sys

import pytest

from echoic.cli.signals import handle_signals

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs signals of Unix")


def test_the_first_signal_calls_its_function_once() -> None:
    calls = []
    with handle_signals() as handler:
        handler.on_first_signal = lambda: calls.append("stop")
        signal.raise_signal(signal.SIGTERM)
        assert handler.on_first_signal is None
    assert calls == ["stop"]
    assert handler.exit_status == 128 + signal.SIGTERM


def test_handlers_are_restored_after_the_block() -> None:
    before = signal.getsignal(signal.SIGHUP)
    with handle_signals():
        assert signal.getsignal(signal.SIGHUP) != before
    assert signal.getsignal(signal.SIGHUP) == before


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with handle_signals():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_coroutine_returns_its_result() -> None:
    async def add() -> int:
        await asyncio.sleep(0)
        return 1 + 1

    with handle_signals() as handler:
        assert handler.run_coroutine(add()) == 2


def test_an_interrupt_cancels_the_tasks() -> None:
    cancelled, loops = [], []

    async def wait_forever() -> None:
        loops.append(asyncio.get_running_loop())
        loops[0].call_soon(signal.raise_signal, signal.SIGINT)
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(True)

    with handle_signals() as handler:
        handler.on_first_signal = handler.interrupt
        with pytest.raises(KeyboardInterrupt):
            handler.run_coroutine(wait_forever())
    loops[0].close()  # a command exits instead
    assert cancelled == [True]
