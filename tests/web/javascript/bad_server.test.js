// The client with servers that break the protocol: it ends with an error or goes on, and never hangs.
import assert from "node:assert/strict";
import { test } from "node:test";
import WebSocket, { WebSocketServer } from "ws";
import { connect } from "./echoic.js";

const CONFIGURED = { type: "status", state: "configured", sample_rate: 16000, channels: 1, audio_format: "f32le", chunk_duration: 2, overlap_duration: 0.5, active_model: "one" };
const final = (id, start, end, more = {}) => ({ type: "final", text: `word ${id}`, segment_id: id, segment_start: start, segment_end: end, ...more });

/** Run a scripted server after its config was answered; return the frames of a stream and its failure. */
async function runServer(play, { greets = true, retrySeconds = 0 } = {}) {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  await new Promise((resolve) => server.on("listening", resolve));
  server.on("connection", (socket) => {
    const say = (...frames) => frames.forEach((frame) => socket.send(typeof frame === "string" || frame instanceof Uint8Array ? frame : JSON.stringify(frame)));
    socket.once("message", () => {
      if (greets) say(CONFIGURED);
      play(say, socket);
    });
  });
  const frames = [];
  try {
    const stream = await connect(`ws://127.0.0.1:${server.address().port}/`, { WebSocket, retrySeconds });
    for (let second = 0; second < 3; second++) stream.send(new Float32Array(16000)).catch(() => {});
    for await (const frame of stream) frames.push(frame);
    return { frames, stream };
  } catch (failure) {
    return { frames, failure };
  } finally {
    for (const socket of server.clients) socket.terminate();
    server.close();
  }
}

const NO_FRAMES = ["", "{", "null", "[]", "7", '"final"', "{}", '{"type":7}', '{"type":"final","segment_end":NaN}', "\u0000", new Uint8Array([1, 2, 3])];
for (const message of NO_FRAMES) {
  test(`a message that is no frame ends the stream: ${JSON.stringify(message)}`, async () => {
    for (const greets of [true, false]) {
      const { failure } = await runServer((say) => say(message), { greets });
      assert.equal(failure.code, "closed");
      assert.equal(failure.message, "The server sent a message that is no frame.");
    }
  });
}

const insight = { type: "insight", stage: "live", summary: [], topics: [], decisions: [], action_items: [], source: { segment_range: [1, 2], start: 0, end: 1 } };
const UNREADABLE = [
  { type: "final" },
  final("1", 0, 1),
  final(1, null, 1),
  '{"type":"final","text":"x","segment_id":1,"segment_start":0,"segment_end":1e999}',
  final(1, 0, 1, { text: { toString: "no" } }),
  final(1, 0, 1, { words: "x" }),
  final(1, 0, 1, { words: [{ word: 1 }] }),
  final(1, 0, 1, { speaker_id: "0" }),
  { type: "partial", text: 7, segment_start: 0 },
  { type: "full_transcript" },
  { type: "diarization_summary", speaker_map: {} },
  { type: "diarization_summary", speaker_map: [null] },
  { type: "insight" },
  { ...insight, topics: "x" },
  { ...insight, source: { segment_range: 7 } },
  { ...insight, action_items: [null] },
  { type: "insight_error" },
  { type: "warning", code: 7 },
  { type: "error", message: null },
  { type: "status", state: "configured", sample_rate: "x" },
];
test("frames in unknown shapes are unreadable, and the stream goes on", async () => {
  const { frames, stream } = await runServer((say, socket) => {
    say(...UNREADABLE, final(1, 0, 1));
    socket.close(1000);
  });
  assert.deepEqual(frames.map(({ type }) => type), [...UNREADABLE.map(() => "unreadable"), "final"]);
  assert.equal(stream.configured.sample_rate, 16000);
});

test("frames of unknown types are delivered", async () => {
  const odd = [{ type: "__proto__" }, { type: "constructor" }, { type: "toString", a: { b: [] } }, { type: "status", state: "valueOf" }];
  const { frames, failure } = await runServer((say, socket) => {
    say(...odd);
    socket.close(1000);
  });
  assert.equal(failure, undefined);
  assert.deepEqual(frames, odd);
});

test("a warning with the code of an error ends nothing", async () => {
  const warning = { type: "warning", code: "draining", message: "Soon." };
  const { frames } = await runServer((say, socket) => {
    say(warning, final(1, 0, 1));
    socket.close(1000);
  });
  assert.deepEqual(frames.map(({ type }) => type), ["warning", "final"]);
});

test("finals beyond the audio drop no unsent message", async () => {
  const { frames } = await runServer((say, socket) => {
    say(...[1, 100, 1000, 1e9, 1e300].map((end, at) => final(at + 1, at, end)));
    let heard = 0;
    socket.on("message", (data, isBinary) => {
      if (isBinary) heard += data.length / 4;
      if (heard === 3 * 16000) socket.close(1000);
    });
  });
  assert.equal(frames.length, 5);
});

for (const code of [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4003, 4401, 4999]) {
  test(`close code ${code} ends the stream or is retried`, async () => {
    const { failure, frames } = await runServer((say, socket) => socket.close(code));
    const isTorn = [1001, 1011, 1012, 1014].includes(code);
    if (code === 1000) assert.equal(failure, undefined);
    else if (isTorn) assert.equal(frames[0].state, "lost");
    else assert.equal(failure.code, "closed");
  });
}

test("retries back off and end if connections are lost at once", async () => {
  let count = 0;
  const hangUp = (_, socket) => count++ < 1000 && socket.close(1011);
  const { failure } = await runServer(hangUp, { retrySeconds: 1 });
  assert.equal(failure.code, "unreachable");
  assert.ok(count > 2 && count < 10, `${count} connections`);
});
