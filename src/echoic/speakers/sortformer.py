"""Streaming Sortformer by NeMo (the extra ``nemo``): up to four speakers, told apart by one network.

Source: https://github.com/NVIDIA/NeMo (``SortformerEncLabelModel``). The weights are NVIDIA's
``diar_streaming_sortformer_4spk-v2``, a ``.nemo`` file that nobody ships.

Each piece of sound is a chunk of the network; its cache of speakers is the carry, of the size that the model
sets. Features begin ``_CONTEXT`` before the piece, so that its first frames are not those of an edge.
"""

from __future__ import annotations

import warnings
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from echoic.errors import ModelUnavailable
from echoic.session.sound import Voices
from echoic.speakers.memory import Stretches, bounded, no_stretches
from echoic.speakers.regions import bits, scene_of
from echoic.speakers.turns import joined_turns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from echoic.session.sound import Sound, Turn
    from echoic.speakers.regions import Past, Scene, Span

NAME = "sortformer"
#: Seconds of one row of the network's answer.
_ROW = 0.08
#: Seconds before a piece that the network sees as well, in whole rows.
_CONTEXT = 0.56
#: Seconds that the network is given at once, in whole rows.
_LONGEST = 2.0
#: Seconds of the shortest piece that has features.
_LEAST = 0.1
#: Shorter silences belong to the speaker, in seconds.
_PAUSE = 0.8


@dataclass(frozen=True, slots=True)
class _Carry:
    """The network's state, its last seconds of sound, its speakers by their ids, who spoke when."""

    state: Any
    past: Past
    speakers: tuple[int, ...]
    stretches: Stretches


class SortformerDiarizer:
    """Tells up to four speakers apart.

    Args:
        file: The ``.nemo`` file of a streaming Sortformer.

    Raises:
        ModelUnavailable: It cannot be read, or holds another model.
    """

    def __init__(self, file: Path) -> None:
        with warnings.catch_warnings():  # NeMo's, of what its own libraries will no longer do
            warnings.simplefilter("ignore")
            import torch  # noqa: PLC0415  # an extra
            from nemo.collections.asr.models import SortformerEncLabelModel  # noqa: PLC0415  # the same

            try:
                model = SortformerEncLabelModel.restore_from(str(file), map_location="cpu")
            except Exception as error:
                raise ModelUnavailable(NAME, f"The file {file.name} holds no Sortformer.") from error
        if not model.streaming_mode:
            raise ModelUnavailable(NAME, f"The Sortformer in {file.name} is not a streaming one.")
        model.async_streaming = False
        model.preprocessor.featurizer.dither = 0.0
        model.preprocessor.featurizer.pad_to = 0
        self._model, self._torch = model.eval(), torch

    @property
    def name(self) -> str:
        """``sortformer``."""
        return NAME

    def listen(self, sounds: Sequence[Sound]) -> list[Voices]:
        """Return who speaks in each piece of sound; where two speak at once, who is heard best."""
        with self._torch.inference_mode():
            return [self._listen(sound) for sound in sounds]

    def review(self, carry: object) -> tuple[Turn, ...]:
        """Return who spoke when, as ``listen`` said it: the network corrects nothing."""
        if not isinstance(carry, _Carry):
            return ()
        times = carry.stretches
        spans = zip(times.starts.tolist(), times.ends.tolist(), strict=True)
        return joined_turns(zip(spans, times.groups.tolist(), strict=True), _PAUSE)

    def close(self) -> None:
        """Do nothing: the weights go with the last reference."""

    def _listen(self, sound: Sound) -> Voices:
        carry = sound.carry if isinstance(sound.carry, _Carry) else None
        found: list[tuple[Span, int]] = []
        for bit in bits(sound, _LONGEST):
            spans, carry = self._hear(bit, carry)
            found += spans
        return Voices(joined_turns(found, _PAUSE), carry)

    def _hear(self, sound: Sound, before: _Carry | None) -> tuple[list[tuple[Span, int]], _Carry]:
        scene = scene_of(sound, before.past if before else None)
        state = copy(before.state) if before else self._model.sortformer_modules.init_streaming_state(1)
        known = before.speakers if before else ()
        stretches = before.stretches if before else no_stretches()
        spans: list[tuple[Span, int]] = []
        if scene.end - scene.start >= _LEAST:
            state, chances = self._step(scene, state)
            spoken = _joined((b, e) for b, e in scene.spoken if e > scene.start)
            rows, known = _told(chances, known, sound.wishes.count or sound.wishes.most)
            spans = list(_spans(rows, spoken, scene))
            stretches = bounded(
                stretches.added(scene.start, [span for span, _ in spans], [who for _, who in spans])
            )
        return spans, _Carry(state, scene.after(_CONTEXT), known, stretches)

    def _step(self, scene: Scene, state: Any) -> tuple[Any, NDArray[np.float32]]:  # noqa: ANN401  # NeMo's own
        """Return the state after the new piece, and each speaker's chance in each row of it."""
        model, torch = self._model, self._torch
        audio = torch.from_numpy(np.array(scene.audio))[None]
        features, size = model.process_signal(audio, torch.tensor([audio.shape[1]]))
        features = features[:, :, : int(size[0])]
        left = round((scene.start - scene.origin) / _ROW) * model.encoder.subsampling_factor
        nothing = torch.zeros((1, 0, model.sortformer_modules.n_spk))
        after, chances = model.forward_streaming_step(
            processed_signal=features.transpose(1, 2),
            processed_signal_length=size,
            streaming_state=state,
            total_preds=nothing,
            left_offset=left,
        )
        return after, chances[0].numpy()


def _joined(spans: Iterable[Span]) -> list[Span]:
    """Return the spans, those without a pause between them as one."""
    found: list[Span] = []
    for start, end in spans:
        if found and start - found[-1][1] < _PAUSE:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found


def _told(
    chances: NDArray[np.float32], known: tuple[int, ...], most: int | None
) -> tuple[list[int], tuple[int, ...]]:
    """Return the id of each row's likeliest speaker, and the network's speakers in the order of their ids."""
    ids = list(known)
    rows = []
    for row in chances:
        allowed = row if most is None or len(ids) < most else row[ids]
        best = int(allowed.argmax()) if allowed is row else ids[int(allowed.argmax())]
        if best not in ids:
            ids.append(best)
        rows.append(ids.index(best))
    return rows, tuple(ids)


def _spans(rows: Sequence[int], spoken: Sequence[Span], scene: Scene) -> Iterator[tuple[Span, int]]:
    """Yield what of the rows is speech; the rows share the new piece equally."""
    length = (scene.end - scene.start) / max(1, len(rows))
    for begin, stop in spoken:
        for place, who in enumerate(rows):
            start = max(begin, scene.start + place * length)
            end = min(stop, scene.start + (place + 1) * length)
            if end > start:
                yield (start, end), who
