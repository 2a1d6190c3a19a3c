const WebSocket = require('ws');
const sr = 16000;
const zeros = Buffer.alloc((sr/2)*4); // 0.5s float32 zeros
const ws = new WebSocket('ws://127.0.0.1:8000/api/v1/audio/stream/transcribe?token=YOUR_API_KEY');

ws.on('open', () => {
  ws.send(JSON.stringify({
    type: 'config', model: 'parakeet', model_variant: 'standard', sample_rate: 16000,
    chunk_duration: 2.0, overlap_duration: 0.5, enable_partial: true
  }));
  ws.send(JSON.stringify({ type: 'audio', data: zeros.toString('base64') }));
  ws.send(JSON.stringify({ type: 'commit' }));
});
ws.on('message', (data) => console.log(JSON.parse(data)));
