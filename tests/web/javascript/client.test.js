// The client against a real server: PLACE is one without a key, GUARDED one whose key is "right".
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import WebSocket from "ws";
import { StreamError, connect } from "./echoic.js";
import { SessionReplay } from "./replay.js";

const path = "/api/v1/audio/stream/transcribe";
const place = `ws://${process.env.PLACE}${path}`;
const guarded = `ws://${process.env.GUARDED}${path}`;
const bytes = readFileSync(process.env.AUDIO); // "one two three four", float32, 16 kHz
const samples = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
const config = { model: "scripted" };

async function heard(stream) {
  const frames = [];
  for await (const frame of stream) frames.push(frame);
  return frames;
}

test("without a WebSocket it is said what to do", async () => {
  const had = Object.getOwnPropertyDescriptor(globalThis, "WebSocket");
  delete globalThis.WebSocket;
  const told = await connect(place, { config }).catch((error) => error);
  if (had) Object.defineProperty(globalThis, "WebSocket", had);
  assert.equal(told.code, "no_websocket");
  assert.match(told.message, /Node 22.*npm install ws/);
});

test("a stream is heard, committed and stopped", async () => {
  const stream = await connect(place, { config, WebSocket });
  const frames = heard(stream);
  await stream.send(samples);
  assert.equal(await stream.commit(), "one two three four");
  await stream.send(samples);
  assert.equal(await stream.stop(), "one two three four");
  const finals = (await frames).filter(({ type }) => type === "final");
  assert.equal(finals.map(({ text }) => text).join(" "), "one two three four one two three four");
});

test("http in an address means a socket", async () => {
  const stream = await connect(place.replace("ws:", "http:"), { config, WebSocket });
  assert.equal(await stream.stop(), "");
});

test("where only a server is named its unified endpoint is meant", async () => {
  for (const address of [`http://${process.env.PLACE}`, `ws://${process.env.PLACE}/`]) {
    const stream = await connect(address, { config, WebSocket });
    assert.equal(await stream.stop(), "");
  }
});

test("integers say the same as floats", async () => {
  const stream = await connect(place, { config: { ...config, audio_format: "s16le" }, WebSocket });
  stream.send(samples);
  assert.equal(await stream.commit(), "one two three four");
  await stream.stop();
});

test("what was sent at once is said in its order, and a ping comes back", async () => {
  const stream = await connect(place, { config, WebSocket });
  for (let at = 0; at < samples.length; at += 1600) stream.send(samples.subarray(at, at + 1600));
  const text = stream.commit();
  assert.ok((await stream.ping()) >= 0);
  assert.equal(await text, "one two three four");
  await stream.stop();
});

test("a reset begins at zero", async () => {
  const stream = await connect(place, { config, WebSocket });
  const frames = heard(stream);
  await stream.send(samples);
  await stream.commit();
  await stream.reset();
  await stream.send(samples);
  assert.equal(await stream.stop(), "one two three four");
  const starts = (await frames).filter(({ type }) => type === "final").map((final) => final.segment_start);
  assert.equal(starts.filter((start) => start === 0).length, 2);
});

test("a config that cannot be is refused, and the one before stays", async () => {
  const stream = await connect(place, { config, WebSocket });
  await assert.rejects(stream.configure({ chunk_duration: -1 }), { code: "invalid_config" });
  await stream.configure({ chunk_duration: 1 });
  assert.equal(stream.configured.chunk_duration, 1);
  await stream.send(samples);
  assert.equal(await stream.stop(), "one two three four");
});

test("a stream that cannot begin says why", async () => {
  const wrong = connect(place, { config: { sample_rate: 7 }, WebSocket });
  await assert.rejects(wrong, (error) => error instanceof StreamError && error.detail.field === "sample_rate");
  await assert.rejects(connect("ws://127.0.0.1:1/", { WebSocket }), { code: "unreachable" });
});

test("a key is needed, and the right one", async () => {
  await assert.rejects(connect(guarded, { key: "wrong", config, WebSocket }), { code: "unauthorized" });
  const stream = await connect(guarded, { key: "right", config, WebSocket });
  await stream.send(samples);
  assert.equal(await stream.stop(), "one two three four");
});

test("a stream that is over takes nothing more", async () => {
  const stream = await connect(place, { config, WebSocket });
  stream.close();
  await assert.rejects(stream.send(samples), { code: "closed" });
  await assert.rejects(stream.commit(), { code: "closed" });
  assert.deepEqual(await heard(stream), []);
});

test("another model than before is told of, the same one is not", () => {
  const replay = new SessionReplay({});
  const told = ["one", "one", "two"].map((active_model) => replay.startSession({ type: "status", state: "configured", active_model }));
  assert.deepEqual(told, [null, { type: "connection", state: "anew" }, { type: "connection", state: "anew", active_model: "two" }]);
  assert.equal(replay.configured.active_model, "two");
});
