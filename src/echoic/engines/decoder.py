"""What turns encoder frames into tokens, whichever head a Parakeet has: the Protocol and what it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence


#: Encoder frames of one window, shape ``(frames, width)``, in the array type of whoever computes them.
EncoderFrames: TypeAlias = Any


@dataclass(frozen=True, slots=True)
class EmittedToken:
    """A token that was emitted.

    Attributes:
        token_id: Its number in the vocabulary.
        frame: The lane's frame at which it was emitted.
        duration_frames: Frames it lasts; 0 where the network does not say.
        probability: 0..1 among all tokens and the blank.
    """

    token_id: int
    frame: int
    duration_frames: int
    probability: float


class TokenDecoder(Protocol):
    """Decodes greedily, many lanes at once, each from where it stood.

    A *lane* is one window's frames; a *state* is all that its next frames need to know of those before, and
    nobody but the decoder looks into it.
    """

    @property
    def can_bias(self) -> bool:
        """Whether it can listen for terms; else ``favours`` in ``decode`` mean nothing."""

    @property
    def initial_state(self) -> Any:  # noqa: ANN401  # each decoder's own
        """The state of a lane that has heard nothing."""

    def decode(
        self,
        lane_frames: Sequence[EncoderFrames],
        states: Sequence[Any],
        biases: Sequence[Any] | None = None,
    ) -> Sequence[tuple[list[EmittedToken], Any]]:
        """Return the tokens of each lane and where it stands after its last frame.

        Args:
            lane_frames: Their frames.
            states: Where each stands before its first frame.
            biases: What each listens for, or None; with it a lane has its edge, and frames after that.
        """

    def skip_frames(self, state: Any, count: int) -> Any:  # noqa: ANN401  # each decoder's own
        """Return the state after frames that nobody looked at."""
