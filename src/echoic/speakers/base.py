"""The Protocol of a diarizer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from echoic.session.sound import Sound, Turn, Voices


class Diarizer(Protocol):
    """A loaded diarizer. It holds weights and no session: what it must remember travels as ``carry``.

    It is called from worker threads, from several at once.
    """

    @property
    def name(self) -> str:
        """Its own name, as the status endpoint lists it."""

    def diarize(self, chunks: Sequence[Sound]) -> list[Voices]:
        """Return who speaks in each piece of sound, in their order.

        The pieces are of different sessions. An answer must not depend on which other pieces are in the
        call. A speaker's id is the number of speakers that the session had before, and stays the same.

        Raises:
            Exception: Anything; the pieces then have no speakers, and nothing else is lost.
        """

    def finalize(self, state: object) -> tuple[Turn, ...]:
        """Return the best account of all that a session heard, in the order of ``Voices``.

        It may correct what ``diarize`` said, by the same ids. It costs more than that, but is bounded, as
        is the carry: of a long session the account may be coarser than the answers were.

        Args:
            state: The ``state`` of the session's last ``Voices``; None: nothing was heard.

        Raises:
            Exception: Anything; the answers of ``diarize`` then stand.
        """

    def close(self) -> None:
        """Release the weights."""
