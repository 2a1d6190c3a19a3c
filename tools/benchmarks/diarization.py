"""Diarization error rates on real recordings: live labels, the summary, and offline clustering.

All use the same vectors of voices; the offline one sees all windows at once, hears turns with 2.5 s on either
side and has no bound on what it remembers. *Plain* is the live way without the model of turns. Sounds come as
a session sends them: 2 s, then 1.5 s each, with the speech that Silero hears.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echoic.audio.vad import UtteranceDetector
from echoic.diarization.analysis_window import AnalysisWindow
from echoic.diarization.clustering import cluster_groups
from echoic.diarization.embedding import CamPlusPlus
from echoic.diarization.fbank import HOP_SAMPLES
from echoic.diarization.models import EMBEDDING_FILE, SEGMENTATION_FILE
from echoic.diarization.online import OnlineDiarizer
from echoic.diarization.segmentation import PyanNet, Segmenter
from echoic.diarization.speaker_ids import SpeakerClusteringConfig
from echoic.diarization.state import DiarizerState
from echoic.diarization.turns import join_turns
from echoic.diarization.voice_segments import (
    FRAMES_PER_SECOND,
    WindowingConfig,
    find_active_voices,
    find_runs,
    find_voice_segments,
)
from echoic.engines.silero import SileroModel
from echoic.evaluate.diarization import DiarizationErrors, LabeledTurn, measure_diarization, read_rttm
from echoic.interfaces.diarizer import DIARIZATION_SAMPLE_RATE, DiarizationChunk, Diarizer, SpeakerTurn
from echoic.media import read_audio
from tools.benchmarks.recordings import find_speech_folder
from tools.benchmarks.report import Cell, print_table, save_results

_FIRST, _STEP = 2.0, 1.5
#: Seconds around a boundary of the reference that do not count: 0.25 on either side.
_COLLAR = 0.5
#: Amplitude below which a recording is silent.
_SILENT = 1e-3
_MINUTE = 60.0
_LONG, _QUICK = 60, 10
#: Seconds of a part of the offline clustering, and of its context before and after.
_MIDDLE, _AROUND = 5.0, 2.5
#: Least seconds of a speaker in the offline clustering.
_LEAST = 1.5


@dataclass(frozen=True, slots=True)
class LabelledRecording:
    """A recording with its speaker turns, and the spans of speech that Silero finds, in samples."""

    name: str
    audio: NDArray[np.float32]
    turns: tuple[LabeledTurn, ...]
    speech: tuple[tuple[int, int], ...]

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.audio.size / DIARIZATION_SAMPLE_RATE


def measure(*, quick: bool) -> None:
    """Print and save error rates, numbers of speakers, and the cost early and late in a session."""
    folder = find_speech_folder()
    if folder is None:
        print("\nDiarization: no recordings (ECHOIC_SPEECH)")
        return
    talks, silent = _load_recordings(folder)
    voices, turns = CamPlusPlus(EMBEDDING_FILE), PyanNet(SEGMENTATION_FILE)
    ways = {"with turns": OnlineDiarizer(voices, turns), "plain": OnlineDiarizer(voices)}
    facts = [_compare_diarizers(ways, talk, turns) for talk in talks]
    _print_results(facts, silent)
    cost = {name: _measure_cost(way, talks, _QUICK if quick else _LONG) for name, way in ways.items()}
    rows: list[list[Cell]] = [
        [key.replace("_", " "), *(one[key] for one in cost.values())] for key in cost["plain"]
    ]
    print_table("Cost of a second of audio in a long session (one core)", ("", *cost), rows)
    save_results("diarization", {"recordings": facts, "silent": silent, "cost": cost})


def _load_recordings(folder: Path) -> tuple[list[LabelledRecording], list[str]]:
    """Return the recordings with turns, and the names of silent files."""
    with (folder / "manifest.tsv").open(encoding="utf-8", newline="") as file:
        paths = [folder / row["path"] for row in csv.DictReader(file, delimiter="\t") if row["rttm"]]
    model, talks, silent = SileroModel(), [], []
    for path in sorted(path for path in paths if path.is_file()):
        audio = np.concatenate(list(read_audio(path, DIARIZATION_SAMPLE_RATE)))
        if np.abs(audio).max() < _SILENT:
            silent.append(path.stem)
            continue
        tracker = UtteranceDetector(model.build_detector())
        tracker.push(audio)
        speech = tracker.find_speech(0, audio.size)
        talks.append(LabelledRecording(path.stem, audio, read_rttm(path.with_suffix(".rttm")), speech))
    return talks, silent


def split_into_chunks(talk: LabelledRecording) -> Iterator[DiarizationChunk]:
    """Yield a recording as the chunks that a session sends to a diarizer, without state."""
    edges = [
        0,
        *range(
            round(_FIRST * DIARIZATION_SAMPLE_RATE), talk.audio.size, round(_STEP * DIARIZATION_SAMPLE_RATE)
        ),
    ]
    for start, end in zip(edges, [*edges[1:], talk.audio.size], strict=True):
        speech = tuple(
            (max(begin, start) - start, min(stop, end) - start)
            for begin, stop in talk.speech
            if begin < end and stop > start
        )
        yield DiarizationChunk(
            talk.audio[start:end], start / DIARIZATION_SAMPLE_RATE, speech, is_last=end == talk.audio.size
        )


def _compare_diarizers(
    diarizers: Mapping[str, Diarizer], talk: LabelledRecording, segmenter: Segmenter
) -> dict[str, Any]:
    live, summary = _run_diarizer(diarizers["with turns"], talk)
    plain, plain_summary = _run_diarizer(diarizers["plain"], talk)
    ways = {"live": live, "summary": summary, "plain": plain, "plain summary": plain_summary}
    ways["offline"] = _diarize_offline(talk, segmenter)
    return {
        "name": talk.name,
        "seconds": talk.seconds,
        "speakers": len({turn.speaker for turn in talk.turns}),
        **{way: _compute_error_rates(talk, turns) for way, turns in ways.items()},
    }


def _run_diarizer(
    diarizer: Diarizer, talk: LabelledRecording
) -> tuple[Sequence[SpeakerTurn], Sequence[SpeakerTurn]]:
    """Return the live turns and the final turns."""
    carry: object = None
    live: list[SpeakerTurn] = []
    for sound in split_into_chunks(talk):
        (voices,) = diarizer.diarize([replace(sound, state=carry)])
        live += voices.turns
        carry = voices.state
    return live, diarizer.finalize(carry)


def _compute_error_rates(talk: LabelledRecording, turns: Iterable[SpeakerTurn]) -> dict[str, float]:
    said = [LabeledTurn(turn.start, turn.end, str(turn.speaker)) for turn in turns]
    strict = measure_diarization(talk.turns, said, talk.seconds)
    lenient = measure_diarization(talk.turns, said, talk.seconds, collar=_COLLAR, count_overlap=False)
    return {
        "speakers": len({turn.speaker for turn in said}),
        "der": strict.rate,
        "missed": DiarizationErrors(missed=strict.missed, total=strict.total).rate,
        "confusion": DiarizationErrors(confusion=strict.confusion, total=strict.total).rate,
        "collar": lenient.rate,
    }


def _diarize_offline(talk: LabelledRecording, segmenter: Segmenter) -> tuple[SpeakerTurn, ...]:
    """Return the turns by average linkage over all windows of the recording at once.

    A cluster with less speech than the least seconds of a speaker joins the most similar one.
    """
    alike, model = SpeakerClusteringConfig().min_similarity, CamPlusPlus(EMBEDDING_FILE)
    seen = [
        one
        for scene, end in _build_analysis_windows(talk)
        for one in _embed_windows(scene, end, segmenter, model)
    ]
    vectors = np.stack([vector for vector, _, _ in seen])
    weights = np.array([seconds for _, seconds, _ in seen], np.float32)
    labels = cluster_groups(vectors * weights[:, np.newaxis], weights, lambda best, _: best >= alike)
    heard = np.bincount(labels, weights=weights)
    large = np.flatnonzero(heard >= min(_LEAST, float(heard.max())))
    means = np.stack([vectors[labels == one].mean(axis=0) for one in large])
    small = ~np.isin(labels, large)
    labels[small] = large[(vectors[small] @ means.T).argmax(axis=1)]
    spans = [(span, int(label)) for (_, _, own), label in zip(seen, labels, strict=True) for span in own]
    return join_turns(sorted(spans), WindowingConfig().max_pause)


def _build_analysis_windows(talk: LabelledRecording) -> Iterator[tuple[AnalysisWindow, float]]:
    """Yield each part with its context, and the end of the part."""
    spoken = tuple(
        (begin / DIARIZATION_SAMPLE_RATE, end / DIARIZATION_SAMPLE_RATE) for begin, end in talk.speech
    )
    for start in np.arange(0.0, talk.seconds, _MIDDLE).tolist():
        origin, end = max(0.0, start - _AROUND), min(talk.seconds, start + _MIDDLE + _AROUND)
        audio = talk.audio[round(origin * DIARIZATION_SAMPLE_RATE) : round(end * DIARIZATION_SAMPLE_RATE)]
        yield AnalysisWindow(audio, origin, start, spoken), min(talk.seconds, start + _MIDDLE)


def _embed_windows(
    scene: AnalysisWindow, until: float, segmenter: Segmenter, model: CamPlusPlus
) -> Iterator[tuple[NDArray[np.float32], float, list[tuple[float, float]]]]:
    """Yield the embedding of each window, its seconds, and their span."""
    rules = WindowingConfig()
    active = find_active_voices(scene, segmenter, rules.padding)
    start, stop = (round((at - scene.origin) * FRAMES_PER_SECOND) for at in (scene.new_start, until))
    padded = np.pad(scene.audio, (0, -scene.audio.size % HOP_SAMPLES)).reshape(-1, HOP_SAMPLES)
    for passage in find_voice_segments(active, start, rules.max_pause):
        places = [*passage.split_windows(rules)]
        audio = padded[passage.solo_frames].reshape(-1)
        vectors = model.embed_windows(
            audio, [(first * HOP_SAMPLES, last * HOP_SAMPLES) for first, last, _ in places]
        )
        middles = np.array([passage.solo_frames[first:last].mean() for first, last, _ in places])
        frames = passage.new_frames[passage.new_frames < stop]
        if not len(middles) or not len(frames):
            continue
        near = np.abs(frames[:, np.newaxis] - middles).argmin(axis=1)
        for place in np.unique(near).tolist():
            mine = np.zeros(len(active), np.bool_)
            mine[frames[near == place]] = True
            own = [
                (scene.origin + begin / FRAMES_PER_SECOND, scene.origin + end / FRAMES_PER_SECOND)
                for begin, end in find_runs(mine)
            ]
            yield vectors[place], float(mine.sum()) / FRAMES_PER_SECOND, own


def _print_results(facts: Sequence[dict[str, Any]], silent: Sequence[str]) -> None:
    ways = ("live", "summary", "plain", "plain summary", "offline")
    keys = ("speakers", "der", "missed", "confusion", "collar")
    titles = [f"{way} {title}" for way in ways for title in ("n", "DER %", "missed", "who %", "±0.25")]
    rows = [
        [fact["name"], fact["seconds"], fact["speakers"], *(fact[way][key] for way in ways for key in keys)]
        for fact in facts
    ]
    title = "Diarization (n: speakers; DER without collar; what of it is the wrong speaker; with a collar)"
    print_table(title, ["recording", "s", "n", *titles], rows)
    if silent:
        print(f"  left out, their files hold no sound: {', '.join(silent)}")


def _measure_cost(diarizer: Diarizer, talks: Sequence[LabelledRecording], minutes: int) -> dict[str, float]:
    """Return the cost per second at the start and the end of a long session, and the size of the state."""
    audio = np.concatenate([talk.audio for talk in talks])
    speech, at = [], 0
    for talk in talks:
        speech += [(begin + at, end + at) for begin, end in talk.speech]
        at += talk.audio.size
    whole = LabelledRecording("session", audio, (), tuple(speech))
    spent: list[float] = []
    carry: object = None
    offset, largest = 0.0, 0
    while offset < minutes * _MINUTE:
        for sound in split_into_chunks(whole):
            began = time.process_time()
            (voices,) = diarizer.diarize([replace(sound, start=sound.start + offset, state=carry)])
            carry = voices.state
            spent.append((time.process_time() - began) / (sound.audio.size / DIARIZATION_SAMPLE_RATE))
            largest = max(largest, carry.size_bytes if isinstance(carry, DiarizerState) else 0)
        offset += whole.seconds
    each = round(whole.seconds / _STEP)
    began = time.process_time()
    review = diarizer.finalize(carry)
    return {
        "minutes": offset / _MINUTE,
        "first_ms": 1e3 * float(np.mean(spent[:each])),
        "last_ms": 1e3 * float(np.mean(spent[-each:])),
        "review_ms": 1e3 * (time.process_time() - began),
        "state_bytes": largest,
        "speakers": len({turn.speaker for turn in review}),
    }
