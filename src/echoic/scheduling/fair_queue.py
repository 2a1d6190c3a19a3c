"""Fair queue of windows: finals before partials, round-robin over clients."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

from echoic.interfaces.engine import Window


@dataclass(frozen=True, slots=True, eq=False)
class DecodeJob:
    """A window to decode; compared by identity."""

    client: Hashable
    """The session that submitted it."""
    key: int
    """Unique among the client's jobs."""
    window: Window = field(repr=False)
    is_final: bool
    """Whether it is decoded for a final; partials are decoded after all finals."""


class FairQueue:
    """Jobs of many clients, each class (finals, partials) served round-robin over its clients.

    Plain data: no thread, no clock. Every operation costs O(1) for each job it moves.

    A client that was served goes to the end: between two jobs of one client, every other client with a queued
    job of the same class is served. Source: round-robin fair queueing (Nagle, RFC 970).
    """

    def __init__(self) -> None:
        self._finals = _RoundRobin()
        self._partials = _RoundRobin()

    def __len__(self) -> int:
        return self._finals.size + self._partials.size

    @property
    def final_count(self) -> int:
        """Number of queued finals."""
        return self._finals.size

    @property
    def partial_count(self) -> int:
        """Number of queued partials."""
        return self._partials.size

    def push(self, job: DecodeJob) -> None:
        """Add ``job`` behind the client's others; a client without queued jobs joins at the end.

        Raises:
            ValueError: A job of this client with this key is queued already.
        """
        if self._finals.has_job(job) or self._partials.has_job(job):
            raise ValueError(f"key {job.key} of {job.client!r} is queued already")
        (self._finals if job.is_final else self._partials).push(job)

    def take_jobs(self, limit: int) -> list[DecodeJob]:
        """Remove and return the next jobs, at most ``limit``: finals before partials, in turn order."""
        jobs = self._finals.take_jobs(limit)
        return jobs + self._partials.take_jobs(limit - len(jobs))

    def remove_jobs(self, client: Hashable, keys: Iterable[int]) -> None:
        """Remove the client's jobs with these keys, if they are queued."""
        for key in keys:
            self._finals.remove_job(client, key)
            self._partials.remove_job(client, key)

    def remove_client(self, client: Hashable) -> None:
        """Remove all jobs of ``client``."""
        self._finals.remove_client(client)
        self._partials.remove_client(client)


class _RoundRobin:
    """Jobs of one class: clients in turn order, each with its jobs in order of arrival."""

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
