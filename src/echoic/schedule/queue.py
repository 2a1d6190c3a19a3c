"""The order in which windows are decoded: finals first, and every client in its turn."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from echoic.session.window import Window


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One window that waits to be decoded; two jobs are the same only if they are one object.

    Attributes:
        client: Who waits for it.
        key: Unique among the client's jobs.
        window: What to decode.
        final: A final waits for it; False: a partial, after all finals.
    """

    client: Hashable
    key: int
    window: Window = field(repr=False)
    final: bool


class FairQueue:
    """Jobs of many clients, each class (finals, partials) served round-robin over its clients.

    Plain data: no thread, no clock. Every operation costs O(1) for each job it moves. ``leave``
    costs O(jobs of that client).

    A client's turn costs it its place: between two jobs of one client, every other client of the same
    class that waited all the while has been served. Source: round-robin fair queueing (Nagle, RFC 970).
    """

    def __init__(self) -> None:
        self._finals = _Ring()
        self._partials = _Ring()

    def __len__(self) -> int:
        return self._finals.size + self._partials.size

    @property
    def finals(self) -> int:
        """How many waiting jobs are finals."""
        return self._finals.size

    @property
    def partials(self) -> int:
        """How many waiting jobs are partials."""
        return self._partials.size

    def put(self, job: Job) -> None:
        """Add ``job`` behind the client's others; a client that waits for nothing joins at the end.

        Raises:
            ValueError: A job of this client with this key already waits.
        """
        if self._finals.has(job) or self._partials.has(job):
            raise ValueError(f"key {job.key} of {job.client!r} already waits")
        (self._finals if job.final else self._partials).put(job)

    def take(self, limit: int) -> list[Job]:
        """Remove and return the next jobs, at most ``limit``: finals before partials, in turn order."""
        jobs = self._finals.take(limit)
        return jobs + self._partials.take(limit - len(jobs))

    def drop(self, client: Hashable, keys: Iterable[int]) -> None:
        """Forget the client's waiting jobs with these keys; keys that do not wait are no error."""
        for key in keys:
            self._finals.drop(client, key)
            self._partials.drop(client, key)

    def leave(self, client: Hashable) -> None:
        """Forget everything of ``client``."""
        self._finals.leave(client)
        self._partials.leave(client)


class _Ring:
    """Jobs of one class: clients in turn order, each with its jobs in the order they came."""

    def __init__(self) -> None:
        self.size = 0
        self._clients: OrderedDict[Hashable, OrderedDict[int, Job]] = OrderedDict()

    def has(self, job: Job) -> bool:
        return job.key in self._clients.get(job.client, ())

    def put(self, job: Job) -> None:
        self._clients.setdefault(job.client, OrderedDict())[job.key] = job
        self.size += 1

    def take(self, limit: int) -> list[Job]:
        count = max(0, min(limit, self.size))
        self.size -= count
        return [self._next() for _ in range(count)]

    def _next(self) -> Job:
        client, jobs = self._clients.popitem(last=False)
        _, job = jobs.popitem(last=False)
        if jobs:
            self._clients[client] = jobs
        return job

    def drop(self, client: Hashable, key: int) -> None:
        jobs = self._clients.get(client)
        if jobs is None or jobs.pop(key, None) is None:
            return
        self.size -= 1
        if not jobs:
            del self._clients[client]

    def leave(self, client: Hashable) -> None:
        self.size -= len(self._clients.pop(client, ()))
