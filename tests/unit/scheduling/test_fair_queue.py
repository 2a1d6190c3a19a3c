from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from echoic.interfaces.engine import Window
from echoic.scheduling.fair_queue import DecodeJob, FairQueue

WINDOW = Window(np.zeros(0, np.float32), 16_000, 0.0, 0, 0, 0)
CLIENTS = ("ann", "bob", "cyd", "dee")


def build_job(client: str, key: int, *, final: bool = True) -> DecodeJob:
    return DecodeJob(client, key, WINDOW, final)


def list_order(jobs: list[DecodeJob]) -> list[tuple[object, int]]:
    return [(job.client, job.key) for job in jobs]


def test_a_long_backlog_does_not_delay_another_client() -> None:
    queue = FairQueue()
    for key in range(60):
        queue.push(build_job("busy", key))
    queue.push(build_job("calm", 0))
    assert list_order(queue.take_jobs(3)) == [("busy", 0), ("calm", 0), ("busy", 1)]


def test_finals_precede_earlier_partials() -> None:
    queue = FairQueue()
    queue.push(build_job("ann", 1, final=False))
    queue.push(build_job("bob", 1))
    queue.push(build_job("ann", 2))
    assert list_order(queue.take_jobs(2)) == [("bob", 1), ("ann", 2)]
    assert list_order(queue.take_jobs(2)) == [("ann", 1)]


def test_a_served_client_goes_to_the_end() -> None:
    queue = FairQueue()
    queue.push(build_job("ann", 1))
    queue.push(build_job("bob", 1))
    queue.take_jobs(1)
    queue.push(build_job("ann", 2))
    assert list_order(queue.take_jobs(2)) == [("bob", 1), ("ann", 2)]


def test_a_queued_key_is_refused() -> None:
    queue = FairQueue()
    queue.push(build_job("ann", 1))
    with pytest.raises(ValueError, match="is queued already"):
        queue.push(build_job("ann", 1, final=False))


def test_removing_jobs_that_are_not_queued_is_no_error() -> None:
    queue = FairQueue()
    queue.remove_jobs("ann", [1, 2])
    queue.remove_client("ann")
    assert queue.take_jobs(5) == []


@given(st.lists(st.tuples(st.sampled_from(CLIENTS), st.booleans()), max_size=60), st.integers(1, 7))
def test_each_job_is_taken_once_in_its_clients_order(puts: list[tuple[str, bool]], limit: int) -> None:
    queue = FairQueue()
    jobs = [build_job(client, key, final=final) for key, (client, final) in enumerate(puts)]
    for one in jobs:
        queue.push(one)
    taken: list[DecodeJob] = []
    while batch := queue.take_jobs(limit):
        assert len(batch) <= limit
        taken += batch
    assert sorted(map(id, taken)) == sorted(map(id, jobs))
    for client in CLIENTS:
        for final in (True, False):
            keys = [one.key for one in taken if one.client == client and one.is_final is final]
            assert keys == sorted(keys)


class QueueOfManyClients(RuleBasedStateMachine):
    """Any mix of calls, against a plain list of what waits and a record of who was passed over."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = FairQueue()
        self.waiting: list[DecodeJob] = []
        self.served_while_waiting: dict[tuple[object, bool], set[object]] = {}
        self.next_key = 0

    @rule(client=st.sampled_from(CLIENTS), final=st.booleans())
    def put(self, client: str, final: bool) -> None:  # noqa: FBT001  # Hypothesis passes it by name
        one = build_job(client, self.next_key, final=final)
        self.next_key += 1
        self.queue.push(one)
        self.waiting.append(one)
        self.served_while_waiting.setdefault((client, final), set())

    @precondition(lambda self: self.waiting)
    @rule(limit=st.integers(1, 6))
    def take(self, limit: int) -> None:
        for one in self.queue.take_jobs(limit):
            self._serve(one)

    def _serve(self, one: DecodeJob) -> None:
        assert one in self.waiting
        assert one.is_final or not any(other.is_final for other in self.waiting)
        mine = [
            other for other in self.waiting if (other.client, other.is_final) == (one.client, one.is_final)
        ]
        assert mine[0] is one
        self.waiting.remove(one)
        for (client, final), served in self.served_while_waiting.items():
            if final is one.is_final and client != one.client:
                assert one.client not in served, "served twice while another waited"
                served.add(one.client)
        self.served_while_waiting[one.client, one.is_final] = set()
        self._forget_who_no_longer_waits()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.waiting))
        self.queue.remove_jobs(one.client, [one.key])
        self.waiting.remove(one)
        self._forget_who_no_longer_waits()

    @rule(client=st.sampled_from(CLIENTS))
    def leave(self, client: str) -> None:
        self.queue.remove_client(client)
        self.waiting = [one for one in self.waiting if one.client != client]
        self._forget_who_no_longer_waits()

    def _forget_who_no_longer_waits(self) -> None:
        here = {(one.client, one.is_final) for one in self.waiting}
        for gone in set(self.served_while_waiting) - here:
            del self.served_while_waiting[gone]

    @invariant()
    def counts_hold(self) -> None:
        finals = sum(one.is_final for one in self.waiting)
        assert self.queue.final_count == finals
        assert self.queue.partial_count == len(self.waiting) - finals
        assert len(self.queue) == len(self.waiting)


TestQueueOfManyClients = QueueOfManyClients.TestCase
TestQueueOfManyClients.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
