// The client against servers that make no sense: it says so or goes on, and is never stuck.
import assert from "node:assert/strict";
import { test } from "node:test";
import WebSocket, { WebSocketServer } from "ws";
import { connect } from "./echoic.js";

const CONFIGURED = { type: "status", state: "configured", sample_rate: 16000, channels: 1, audio_format: "f32le", chunk_duration: 2, overlap_duration: 0.5, active_model: "one" };
const final = (id, start, end, more = {}) => ({ type: "final", text: `word ${id}`, segment_id: id, segment_start: start, segment_end: end, ...more });

/** Serve what `play` does with a socket whose config was answered; return what a stream was told, and how it ended. */
async function told(play, { greets = true, patience = 0 } = {}) {
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
    const stream = await connect(`ws://127.0.0.1:${server.address().port}/`, { WebSocket, patience });
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
  test(`what is no frame ends a stream with a sentence: ${JSON.stringify(message)}`, async () => {
    for (const greets of [true, false]) {
      const { failure } = await told((say) => say(message), { greets });
      assert.equal(failure.code, "closed");
      assert.equal(failure.message, "The server sent a message that is no frame.");
    }
  });
}

const insight = { type: "insight", stage: "live", summary: [], topics: [], decisions: [], action_items: [], source: { segment_range: [1, 2], start: 0, end: 1 } };
const BENT = [
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
test("frames in shapes that are not known are told as such, and the stream goes on", async () => {
  const { frames, stream } = await told((say, socket) => {
    say(...BENT, final(1, 0, 1));
    socket.close(1000);
  });
  assert.deepEqual(frames.map(({ type }) => type), [...BENT.map(() => "unreadable"), "final"]);
  assert.equal(stream.configured.sample_rate, 16000);
});

test("frames of types that are not known are handed on", async () => {
  const odd = [{ type: "__proto__" }, { type: "constructor" }, { type: "toString", a: { b: [] } }, { type: "status", state: "valueOf" }];
  const { frames, failure } = await told((say, socket) => {
    say(...odd);
    socket.close(1000);
  });
  assert.equal(failure, undefined);
  assert.deepEqual(frames, odd);
});

test("a warning with the name of an error ends nothing", async () => {
  const warning = { type: "warning", code: "draining", message: "Soon." };
  const { frames } = await told((say, socket) => {
    say(warning, final(1, 0, 1));
    socket.close(1000);
  });
  assert.deepEqual(frames.map(({ type }) => type), ["warning", "final"]);
});

test("finals of what nobody said yet forget nothing that is to be sent", async () => {
  const { frames } = await told((say, socket) => {
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
  test(`a close with ${code} ends the stream, or it is tried again`, async () => {
    const { failure, frames } = await told((say, socket) => socket.close(code));
    const isTorn = [1001, 1011, 1012, 1014].includes(code);
    if (code === 1000) assert.equal(failure, undefined);
    else if (isTorn) assert.equal(frames[0].state, "lost");
    else assert.equal(failure.code, "closed");
  });
}

test("a server that takes a stream and hangs up at once is tried ever more rarely, and not for ever", async () => {
  let count = 0;
  const hangUp = (_, socket) => count++ < 1000 && socket.close(1011);
  const { failure } = await told(hangUp, { patience: 1 });
  assert.equal(failure.code, "unreachable");
  assert.ok(count > 2 && count < 10, `${count} connections`);
});
