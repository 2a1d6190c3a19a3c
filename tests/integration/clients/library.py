from tldw_Server_API.app.core.Ingestion_Media_Processing.Audio.Parakeet_Core_Streaming.transcriber import ParakeetCoreTranscriber
from tldw_Server_API.app.core.Ingestion_Media_Processing.Audio.Parakeet_Core_Streaming.config import StreamingConfig
import numpy as np, asyncio

async def run_local():
    cfg = StreamingConfig(sample_rate=16000, chunk_duration=2.0, overlap_duration=0.5,
                          model='parakeet', model_variant='standard', enable_partial=True)
    def decode_fn(audio_np, sr):
        # Your Parakeet decode here
        return "hello"
    tx = ParakeetCoreTranscriber(cfg, decode_fn=decode_fn)
    audio = np.zeros(24000, dtype=np.float32)  # 1.5s
    frame = await tx.process_audio_chunk(audio)
    print(frame)
    frame2 = await tx.flush()
    print(frame2)

asyncio.run(run_local())
