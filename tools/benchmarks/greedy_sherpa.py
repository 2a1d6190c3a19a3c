"""``python -m tools.benchmarks.greedy_sherpa FOLDER LANES SECONDS``: times sherpa-onnx and prints JSON."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import sherpa_onnx

_RATE = 16_000


def main() -> None:
    """Print milliseconds by the quantization of the decoding networks."""
    folder, lanes, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    bands = json.loads((folder / "config.json").read_text("utf-8"))["features_size"]
    found = {}
    for name, suffix in (("fp32", ""), ("int8", ".int8")):
        if not (folder / f"sherpa-joiner{suffix}.onnx").is_file():
            continue
        recognizer = sherpa_onnx.OfflineRecognizer.from_transducer(
            encoder=str(folder / "sherpa-encoder.onnx"),
            decoder=str(folder / f"sherpa-decoder{suffix}.onnx"),
            joiner=str(folder / f"sherpa-joiner{suffix}.onnx"),
            tokens=str(folder / "tokens.txt"),
            num_threads=1,
            feature_dim=bands,
            model_type="nemo_transducer",
        )
        least = np.inf
        for _ in range(5):
            streams = []
            for lane in range(lanes):
                noise = np.random.default_rng(lane).normal(size=round(_RATE * (seconds + 0.08 * lane)))
                stream = recognizer.create_stream()
                stream.accept_waveform(_RATE, (0.1 * noise).astype(np.float32))
                streams.append(stream)
            began = time.process_time()
            recognizer.decode_streams(streams)
            least = min(least, 1000 * (time.process_time() - began))
        found[name] = least
    print(json.dumps(found))


if __name__ == "__main__":
    main()
