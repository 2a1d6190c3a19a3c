// The client with a real server: ADDRESS has no key, the key of KEYED_ADDRESS is "right".
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import WebSocket from "ws";
import { StreamError, connect } from "./echoic.js";
import { SessionReplay } from "./replay.js";

const path = "/api/v1/audio/stream/transcribe";
const address = `ws://${process.env.ADDRESS}${path}`;
const keyed = `ws://${process.env.KEYED_ADDRESS}${path}`;
const bytes = readFileSync(process.env.AUDIO); // "one two three four", float32, 16 kHz
const samples = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
const config = { model: "scripted" };

async function collectFrames(stream) {
  const frames = [];
  for await (const frame of stream) frames.push(frame);
  return frames;
}

test("an error without a WebSocket says what to do", async () => {
  const had = Object.getOwnPropertyDescriptor(globalThis, "WebSocket");
  delete globalThis.WebSocket;
  const failure = await connect(address, { config }).catch((error) => error);
  if (had) Object.defineProperty(globalThis, "WebSocket", had);
  assert.equal(failure.code, "no_websocket");
  assert.match(failure.message, /Node 22.*npm install ws/);
});

test("audio is transcribed by commit and stop", async () => {
  const stream = await connect(address, { config, WebSocket });
  const frames = collectFrames(stream);
  await stream.send(samples);
  assert.equal(await stream.commit(), "one two three four");
  await stream.send(samples);
  assert.equal(await stream.stop(), "one two three four");
  const finals = (await frames).filter(({ type }) => type === "final");
  assert.equal(finals.map(({ text }) => text).join(" "), "one two three four one two three four");
});

test("http in an address means ws", async () => {
  const stream = await connect(address.replace("ws:", "http:"), { config, WebSocket });
  assert.equal(await stream.stop(), "");
});

test("the default path is the unified endpoint", async () => {
  for (const address of [`http://${process.env.ADDRESS}`, `ws://${process.env.ADDRESS}/`]) {
    const stream = await connect(address, { config, WebSocket });
    assert.equal(await stream.stop(), "");
  }
});

test("s16le gives the same words as f32le", async () => {
  const stream = await connect(address, { config: { ...config, audio_format: "s16le" }, WebSocket });
  stream.send(samples);
  assert.equal(await stream.commit(), "one two three four");
  await stream.stop();
});

test("messages sent at once keep their order", async () => {
  const stream = await connect(address, { config, WebSocket });
  for (let at = 0; at < samples.length; at += 1600) stream.send(samples.subarray(at, at + 1600));
  const text = stream.commit();
  assert.ok((await stream.ping()) >= 0);
  assert.equal(await text, "one two three four");
  await stream.stop();
});

test("a reset sets the clock to zero", async () => {
  const stream = await connect(address, { config, WebSocket });
  const frames = collectFrames(stream);
  await stream.send(samples);
  await stream.commit();
  await stream.reset();
  await stream.send(samples);
  assert.equal(await stream.stop(), "one two three four");
  const starts = (await frames).filter(({ type }) => type === "final").map((final) => final.segment_start);
  assert.equal(starts.filter((start) => start === 0).length, 2);
});

test("a refused config leaves the old one in force", async () => {
  const stream = await connect(address, { config, WebSocket });
  await assert.rejects(stream.configure({ chunk_duration: -1 }), { code: "invalid_config" });
  await stream.configure({ chunk_duration: 1 });
  assert.equal(stream.configured.chunk_duration, 1);
  await stream.send(samples);
  assert.equal(await stream.stop(), "one two three four");
});

test("a stream that cannot open says why", async () => {
  const wrong = connect(address, { config: { sample_rate: 7 }, WebSocket });
  await assert.rejects(wrong, (error) => error instanceof StreamError && error.detail.field === "sample_rate");
  await assert.rejects(connect("ws://127.0.0.1:1/", { WebSocket }), { code: "unreachable" });
});

test("a wrong key is refused", async () => {
  await assert.rejects(connect(keyed, { key: "wrong", config, WebSocket }), { code: "unauthorized" });
  const stream = await connect(keyed, { key: "right", config, WebSocket });
  await stream.send(samples);
  assert.equal(await stream.stop(), "one two three four");
});

test("calls on an ended stream reject", async () => {
  const stream = await connect(address, { config, WebSocket });
  stream.close();
  await assert.rejects(stream.send(samples), { code: "closed" });
  await assert.rejects(stream.commit(), { code: "closed" });
  assert.deepEqual(await collectFrames(stream), []);
});

test("only another model is reported by a new session", () => {
  const replay = new SessionReplay({});
  const news = ["one", "one", "two"].map((active_model) => replay.startSession({ type: "status", state: "configured", active_model }));
  assert.deepEqual(news, [null, { type: "connection", state: "anew" }, { type: "connection", state: "anew", active_model: "two" }]);
  assert.equal(replay.configured.active_model, "two");
});
