"""The 192 pieces that words are spelled with."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import sentencepiece

from training.sentences import any_sentence

if TYPE_CHECKING:
    from pathlib import Path

PIECES = 192
_SENTENCES = 4_000


def write_pieces(folder: Path) -> None:
    """Write ``tokenizer.model``, ``tokenizer.vocab`` and ``vocab.txt``, as NeMo wants them, to ``folder``."""
    chance = random.Random(0)
    folder.mkdir(parents=True, exist_ok=True)
    text = folder / "sentences.txt"
    text.write_text("".join(" ".join(any_sentence(chance)) + "\n" for _ in range(_SENTENCES)), "utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(text),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=PIECES,
        model_type="bpe",
        bos_id=-1,
        eos_id=-1,
        unk_id=0,
        num_threads=1,
        minloglevel=2,
    )
    text.unlink()
    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    spelled = "".join(f"{model.id_to_piece(number)}\n" for number in range(1, model.get_piece_size()))
    (folder / "vocab.txt").write_text(spelled, "utf-8")
