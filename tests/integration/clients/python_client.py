import asyncio, json, base64, numpy as np
import websockets

async def main():
    url = "ws://127.0.0.1:8000/api/v1/audio/stream/transcribe?token=YOUR_API_KEY"
    async with websockets.connect(url, max_size=2**23) as ws:
        # 1) Send config
        await ws.send(json.dumps({
            "type": "config",
            "model": "parakeet",
            "model_variant": "onnx",  # or standard|mlx
            "sample_rate": 16000,
            "chunk_duration": 2.0,
            "overlap_duration": 0.5,
            "enable_partial": True,
            "diarization": True,
            "insights": {"enabled": True}
        }))

        # 2) Send audio frames as base64 float32 mono
        sr = 16000
        samples = (np.zeros(sr//2, dtype=np.float32)).tobytes()  # 0.5s silence
        payload = base64.b64encode(samples).decode("ascii")
        await ws.send(json.dumps({"type": "audio", "data": payload}))

        # 3) Commit
        await ws.send(json.dumps({"type": "commit"}))
        while True:
            msg = await ws.recv()
            print(json.loads(msg))

asyncio.run(main())
