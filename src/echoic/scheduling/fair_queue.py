"""The order in which windows are decoded: finals first, and every client in its turn."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

from echoic.interfaces.engine import Window


@dataclass(frozen=True, slots=True, eq=False)
class DecodeJob:
    """One window that waits to be decoded; two jobs are the same only if they are one object.

    Attributes:
        client: Who waits for it.
        key: Unique among the client's jobs.
        window: What to decode.
        is_final: A final waits for it; False: a partial, after all finals.
    """

    client: Hashable
    key: int
    window: Window = field(repr=False)
    is_final: bool


class FairQueue:
    """Jobs of many clients, each class (finals, partials) served round-robin over its clients.

    Plain data: no thread, no clock. Every operation costs O(1) for each job it moves. ``leave``
    costs O(jobs of that client).

    A client's turn costs it its place: between two jobs of one client, every other client of the same
    class that waited all the while has been served. Source: round-robin fair queueing (Nagle, RFC 970).
    """

    def __init__(self) -> None:
        self._finals = _RoundRobin()
        self._partials = _RoundRobin()

    def __len__(self) -> int:
        return self._finals.size + self._partials.size

    @property
    def final_count(self) -> int:
        """How many waiting jobs are finals."""
        return self._finals.size

    @property
    def partial_count(self) -> int:
        """How many waiting jobs are partials."""
        return self._partials.size

    def push(self, job: DecodeJob) -> None:
        """Add ``job`` behind the client's others; a client that waits for nothing joins at the end.

        Raises:
            ValueError: A job of this client with this key already waits.
        """
        if self._finals.has_job(job) or self._partials.has_job(job):
            raise ValueError(f"key {job.key} of {job.client!r} already waits")
        (self._finals if job.is_final else self._partials).push(job)

    def take_jobs(self, limit: int) -> list[DecodeJob]:
        """Remove and return the next jobs, at most ``limit``: finals before partials, in turn order."""
        jobs = self._finals.take_jobs(limit)
        return jobs + self._partials.take_jobs(limit - len(jobs))

    def remove_jobs(self, client: Hashable, keys: Iterable[int]) -> None:
        """Forget the client's waiting jobs with these keys; keys that do not wait are no error."""
        for key in keys:
            self._finals.remove_job(client, key)
            self._partials.remove_job(client, key)

    def remove_client(self, client: Hashable) -> None:
        """Forget everything of ``client``."""
        self._finals.remove_client(client)
        self._partials.remove_client(client)


class _RoundRobin:
    """Jobs of one class: clients in turn order, each with its jobs in the order they came."""

    def __init__(self) -> None:
        self.size = 0
        self._jobs_by_client: OrderedDict[Hashable, OrderedDict[int, DecodeJob]] = OrderedDict()

    def has_job(self, job: DecodeJob) -> bool:
        return job.key in self._jobs_by_client.get(job.client, ())

    def push(self, job: DecodeJob) -> None:
        self._jobs_by_client.setdefault(job.client, OrderedDict())[job.key] = job
        self.size += 1

    def take_jobs(self, limit: int) -> list[DecodeJob]:
        count = max(0, min(limit, self.size))
        self.size -= count
        return [self._pop_next() for _ in range(count)]

    def _pop_next(self) -> DecodeJob:
        client, jobs = self._jobs_by_client.popitem(last=False)
        _, job = jobs.popitem(last=False)
        if jobs:
            self._jobs_by_client[client] = jobs
        return job

    def remove_job(self, client: Hashable, key: int) -> None:
        jobs = self._jobs_by_client.get(client)
        if jobs is None or jobs.pop(key, None) is None:
            return
        self.size -= 1
        if not jobs:
            del self._jobs_by_client[client]

    def remove_client(self, client: Hashable) -> None:
        self.size -= len(self._jobs_by_client.pop(client, ()))
