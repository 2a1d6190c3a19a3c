"""Interface for following models and decodes, e.g. for traces."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext

from echoic.errors import DecodeFailed
from echoic.interfaces.engine import Hypothesis, OpenedModel, Window
from echoic.session.effects import Decode


class DecodeObserver:
    """Follows models being opened and windows being decoded, e.g. for traces; this base class ignores them.

    All methods are called on the event loop, except ``observe_batch``. None may raise.
    """

    def on_model_opened(self, client: Hashable, opened: OpenedModel) -> None:
        """Called in the task that opened a model for ``client``."""

    def on_submit(self, client: Hashable, decode: Decode) -> None:
        """Called before a window is queued."""

    def on_done(self, client: Hashable, key: int, outcome: Hypothesis | DecodeFailed | None) -> None:
        """Called before the client gets the outcome of a decode, or with None if the decode was cancelled."""

    def on_client_removed(self, client: Hashable) -> None:
        """Called after the decodes of a client were cancelled and the client was removed."""

    def observe_batch(self, model: str, windows: Sequence[Window]) -> AbstractContextManager[None]:  # noqa: ARG002  # for subclasses
        """Return a context in which a worker's thread decodes these windows together."""
        return nullcontext()
