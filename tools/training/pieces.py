"""Writes the tokenizer: 192 pieces for the words of the grammar."""

from __future__ import annotations

import io
import random
from pathlib import Path

import sentencepiece

from tools.training.sentences import draw_sentence

PIECES = 192
_SENTENCES = 4_000


def write_pieces(folder: Path) -> None:
    """Write ``tokenizer.model``, ``tokenizer.vocab`` and ``vocab.txt``, in NeMo's format to ``folder``."""
    chance = random.Random(0)
    folder.mkdir(parents=True, exist_ok=True)
    trained = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(" ".join(draw_sentence(chance)) for _ in range(_SENTENCES)),
        model_writer=trained,
        vocab_size=PIECES,
        model_type="bpe",
        bos_id=-1,
        eos_id=-1,
        unk_id=0,
        num_threads=1,
        minloglevel=2,
    )
    (folder / "tokenizer.model").write_bytes(trained.getvalue())
    model = sentencepiece.SentencePieceProcessor(model_proto=trained.getvalue())
    numbers = range(model.get_piece_size())
    scored = "".join(f"{model.id_to_piece(number)}\t{model.get_score(number):g}\n" for number in numbers)
    (folder / "tokenizer.vocab").write_text(scored, "utf-8")
    spelled = "".join(f"{model.id_to_piece(number)}\n" for number in numbers[1:])
    (folder / "vocab.txt").write_text(spelled, "utf-8")
