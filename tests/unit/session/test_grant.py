"""Audio is heard as far as it is granted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from echoic.engines.scripted import PlateauDetector, ScriptedEngine
from echoic.protocol.frames import Stop
from echoic.session.effects import Continue
from echoic.session.session import Session
from support.play import SessionDriver, build_audio_frame, build_silence
from support.strategies import spoken_words

if TYPE_CHECKING:
    from support.strategies import SpokenWords


class Purse:
    """Grants so many samples in all, and each time only after having been asked so often."""

    def __init__(self, samples: int, patience: int) -> None:
        self.left = samples
        self._patience = self._asked = patience

    def grant(self, samples: int, _: int) -> int | None:
        if self._asked:
            self._asked -= 1
            return None
        self._asked = self._patience
        granted = min(samples, self.left)
        self.left -= granted
        return granted


def _heard(
    speech: SpokenWords, samples: int, sizes: list[int], purse: Purse | None
) -> list[dict[str, object]]:
    play = SessionDriver(ScriptedEngine(), Session(PlateauDetector, grant=purse.grant if purse else None))
    audio = speech.samples if purse else speech.samples[:samples]
    play.send({"type": "config", "enable_partial": False})
    play.push_in_messages(audio, sizes)
    play.perform_effects(play.session.end_stream(4003))
    play.finish_all()
    assert play.close_code == 4003
    return play.frames


@given(
    spoken_words(max_words=6),
    st.integers(0, 200_000),
    st.lists(st.integers(1, 60_000), max_size=8),
    st.integers(0, 2),
)
def test_whatever_the_messages_exactly_what_was_granted_is_heard_and_delivered(
    speech: SpokenWords, budget: int, sizes: list[int], patience: int
) -> None:
    said = _heard(speech, budget, sizes, Purse(budget, patience))
    assert said == _heard(speech, budget, [], None)


def test_what_waits_behind_audio_that_is_refused_is_not_heard_but_for_the_end() -> None:
    play = SessionDriver(ScriptedEngine(), Session(grant=Purse(40_000, patience=0).grant))
    play.push_audio(build_silence(0.1))
    effects = play.session.receive(build_audio_frame(build_silence(4.0)))
    assert Continue() in effects
    assert play.session.receive(Stop()) == []
    play.perform_effects([effect for effect in effects if effect != Continue()])
    play.perform_effects(play.session.continue_audio())
    assert not play.session.is_ending
    play.perform_effects(play.session.end_stream(4003))
    play.finish_all()
    assert play.close_code == 4003
