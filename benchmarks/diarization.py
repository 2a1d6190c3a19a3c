"""Who is taken for whom: live labels, the summary, and a clustering of the whole, on real recordings.

All three use the same vectors of voices; the offline one sees all windows at once and has no bound on what it
remembers. Sounds come as a session sends them: 2 s, then 1.5 s each, with the speech that Silero hears.
"""

from __future__ import annotations

import csv
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.recordings import speech_folder
from benchmarks.report import save, table
from echoic.audio.speech import SpeechTracker
from echoic.engines.silero import SileroModel
from echoic.evaluate.rttm import SpeakerTurn, read_rttm
from echoic.evaluate.speakers import SpeakerErrors, speaker_errors
from echoic.media import read_audio
from echoic.session.sound import SOUND_RATE, Sound
from echoic.speakers import memory
from echoic.speakers.cluster import link
from echoic.speakers.embed import CamPlusPlus
from echoic.speakers.identity import SpeakerRules
from echoic.speakers.memory import Memory
from echoic.speakers.online import OnlineDiarizer
from echoic.speakers.regions import Scene, WindowRules, looks
from echoic.speakers.seats import PACKAGED
from echoic.speakers.turns import joined_turns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from benchmarks.report import Cell
    from echoic.session.sound import Turn
    from echoic.speakers.base import Diarizer

_FIRST, _STEP = 2.0, 1.5
#: Seconds around a border of the reference that do not count: 0.25 on either side.
_COLLAR = 0.5
#: An amplitude below which a recording holds nothing.
_SILENT = 1e-3
_MINUTE = 60.0
_LONG, _QUICK = 60, 30
#: Seconds of a speaker that the offline clustering finds.
_LEAST = 1.5


@dataclass(frozen=True, slots=True)
class Talk:
    """A recording with its speakers' turns, and where Silero hears speech, in samples."""

    name: str
    audio: NDArray[np.float32]
    turns: tuple[SpeakerTurn, ...]
    speech: tuple[tuple[int, int], ...]

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.audio.size / SOUND_RATE


def measure(*, quick: bool) -> None:
    """Print and save error rates, numbers of speakers, and what it costs early and late."""
    folder = speech_folder()
    if folder is None:
        print("\nDiarization: no recordings (ECHOIC_SPEECH)")
        return
    talks, silent = _talks(folder)
    diarizer = OnlineDiarizer(CamPlusPlus(PACKAGED))
    facts = [_judged(diarizer, talk) for talk in talks]
    _print(facts, silent)
    cost = _cost(diarizer, talks, _QUICK if quick else _LONG)
    save("diarization", {"recordings": facts, "silent": silent, "cost": cost})


def _talks(folder: Path) -> tuple[list[Talk], list[str]]:
    """Return the recordings that have turns, and the names of those whose file is silent."""
    with (folder / "manifest.tsv").open(encoding="utf-8", newline="") as file:
        paths = [folder / row["path"] for row in csv.DictReader(file, delimiter="\t") if row["rttm"]]
    model, talks, silent = SileroModel(), [], []
    for path in sorted(path for path in paths if path.is_file()):
        audio = np.concatenate(list(read_audio(path, SOUND_RATE)))
        if np.abs(audio).max() < _SILENT:
            silent.append(path.stem)
            continue
        tracker = SpeechTracker(model.voice())
        tracker.push(audio)
        speech = tracker.spoken_between(0, audio.size)
        talks.append(Talk(path.stem, audio, read_rttm(path.with_suffix(".rttm")), speech))
    return talks, silent


def sounds(talk: Talk) -> Iterator[Sound]:
    """Yield a recording as a session sends it to a diarizer, without the carry."""
    edges = [0, *range(round(_FIRST * SOUND_RATE), talk.audio.size, round(_STEP * SOUND_RATE))]
    for start, end in zip(edges, [*edges[1:], talk.audio.size], strict=True):
        speech = tuple(
            (max(begin, start) - start, min(stop, end) - start)
            for begin, stop in talk.speech
            if begin < end and stop > start
        )
        yield Sound(talk.audio[start:end], start / SOUND_RATE, speech, last=end == talk.audio.size)


def _judged(diarizer: Diarizer, talk: Talk) -> dict[str, Any]:
    carry: object = None
    live: list[Turn] = []
    for sound in sounds(talk):
        (voices,) = diarizer.listen([replace(sound, carry=carry)])
        live += voices.turns
        carry = voices.carry
    ways = {"live": live, "summary": diarizer.review(carry), "offline": _offline(talk)}
    return {
        "name": talk.name,
        "seconds": talk.seconds,
        "speakers": len({turn.speaker for turn in talk.turns}),
        **{way: _rates(talk, turns) for way, turns in ways.items()},
    }


def _rates(talk: Talk, turns: Iterable[Turn]) -> dict[str, float]:
    said = [SpeakerTurn(turn.start, turn.end, str(turn.speaker)) for turn in turns]
    strict = speaker_errors(talk.turns, said, talk.seconds)
    lenient = speaker_errors(talk.turns, said, talk.seconds, collar=_COLLAR, overlap=False)
    return {
        "speakers": len({turn.speaker for turn in said}),
        "der": strict.rate,
        "confusion": SpeakerErrors(confusion=strict.confusion, total=strict.total).rate,
        "collar": lenient.rate,
    }


def _offline(talk: Talk) -> tuple[Turn, ...]:
    """Return the turns by average linkage over all windows of the recording at once.

    A cluster that has not spoken for ``_LEAST`` seconds goes to the one that is most like it.
    """
    rules, alike = WindowRules(), SpeakerRules().alike
    scene = Scene(talk.audio, 0.0, 0.0, tuple((b / SOUND_RATE, e / SOUND_RATE) for b, e in talk.speech))
    seen = [look for region in looks(scene, rules) for look in region]
    places = [(round(look.start * SOUND_RATE), round(look.end * SOUND_RATE)) for look in seen]
    vectors = CamPlusPlus(PACKAGED).embed(talk.audio, places)
    weights = np.array([look.new[1] - look.new[0] for look in seen], np.float32)
    labels = link(vectors * weights[:, np.newaxis], weights, lambda best, _: best >= alike)
    heard = np.bincount(labels, weights=weights)
    large = np.flatnonzero(heard >= min(_LEAST, float(heard.max())))
    means = np.stack([vectors[labels == one].mean(axis=0) for one in large])
    small = ~np.isin(labels, large)
    labels[small] = large[(vectors[small] @ means.T).argmax(axis=1)]
    spans = [(look.begin, look.new[1]) for look in seen]
    stretches = memory.nothing().stretches.added(spans, labels.tolist())
    times = zip(stretches.starts.tolist(), stretches.ends.tolist(), strict=True)
    return joined_turns(zip(times, stretches.groups.tolist(), strict=True), rules.pause)


def _print(facts: Sequence[dict[str, Any]], silent: Sequence[str]) -> None:
    ways, keys = ("live", "summary", "offline"), ("speakers", "der", "confusion", "collar")
    titles = [f"{way} {title}" for way in ways for title in ("n", "DER %", "who %", "±0.25")]
    rows = [
        [fact["name"], fact["seconds"], fact["speakers"], *(fact[way][key] for way in ways for key in keys)]
        for fact in facts
    ]
    title = "Diarization (n: speakers; DER without collar; what of it is the wrong speaker; with a collar)"
    table(title, ["recording", "s", "n", *titles], rows)
    if silent:
        print(f"  left out, their files hold no sound: {', '.join(silent)}")


def _cost(diarizer: Diarizer, talks: Sequence[Talk], minutes: int) -> dict[str, float]:
    """Print what a second costs in the first minutes and in the last of a long session, and what is kept."""
    audio = np.concatenate([talk.audio for talk in talks])
    speech, at = [], 0
    for talk in talks:
        speech += [(begin + at, end + at) for begin, end in talk.speech]
        at += talk.audio.size
    whole = Talk("session", audio, (), tuple(speech))
    spent: list[float] = []
    carry: object = None
    offset, largest = 0.0, 0
    while offset < minutes * _MINUTE:
        for sound in sounds(whole):
            began = time.process_time()
            (voices,) = diarizer.listen([replace(sound, start=sound.start + offset, carry=carry)])
            carry = voices.carry
            spent.append((time.process_time() - began) / (sound.audio.size / SOUND_RATE))
            largest = max(largest, carry.size if isinstance(carry, Memory) else 0)
        offset += whole.seconds
    each = round(whole.seconds / _STEP)
    began = time.process_time()
    review = diarizer.review(carry)
    found = {
        "minutes": offset / _MINUTE,
        "first_ms": 1e3 * float(np.mean(spent[:each])),
        "last_ms": 1e3 * float(np.mean(spent[-each:])),
        "review_ms": 1e3 * (time.process_time() - began),
        "state_bytes": largest,
        "speakers": len({turn.speaker for turn in review}),
    }
    rows: list[list[Cell]] = [[key.replace("_", " "), value] for key, value in found.items()]
    table("Cost of a second of audio in a long session (one core)", ("", ""), rows)
    return found
