"""Holds everything that one server shares between its routes, its process and its streams."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from echoic.auth.access import AccessControl
from echoic.engines.registry import Registry
from echoic.quotas.ledger import QuotaLedger
from echoic.server.middleware import RefusalLog
from echoic.server.settings.groups import Settings
from echoic.server.stream.services import StreamServices

if TYPE_CHECKING:  # OpenTelemetry is optional
    from echoic.observability.tracing import Tracing


class ModelReadiness:
    """Whether the server's default model can transcribe yet."""

    def __init__(self) -> None:
        #: Why the server cannot transcribe yet, as a sentence, or None if it can.
        self.waits_for: str | None = "The server is starting."
        #: The id of the default model once it is loaded.
        self.model: str | None = None
        #: Set when loading the default model succeeded or failed.
        self.settled = asyncio.Event()
        #: One sentence for each model setting that cannot be honoured.
        self.unmet_settings: tuple[str, ...] = ()

    def mark_settled(self, problem: str | None = None) -> None:
        """Mark loading as finished.

        Args:
            problem: Why the default model cannot be used, or None: it is ready.
        """
        self.waits_for = problem
        self.settled.set()


@dataclass(frozen=True, slots=True)
class ServerContext:
    """Everything that one server holds; found at ``app.state.context``."""

    settings: Settings
    #: The models that streams may ask for.
    registry: Registry
    #: Authenticates streams and requests.
    access: AccessControl
    #: What all streams share.
    services: StreamServices
    #: Whether the default model can transcribe yet.
    readiness: ModelReadiness
    #: Admits streams and charges their audio.
    ledger: QuotaLedger
    #: Exports spans. If None, tracing is off.
    tracing: Tracing | None = None
    #: Logs refused requests.
    refusal_log: RefusalLog = field(default_factory=RefusalLog)
