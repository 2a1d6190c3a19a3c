// Runs acts on a stream; prints frames and answers as lines of JSON.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import WebSocket from "ws";
import { connect } from "./echoic.js";

const [address, folder] = process.argv.slice(2);
const { acts, config, pause } = JSON.parse(await readFile(`${folder}/acts.json`, "utf-8"));
const bytes = await readFile(`${folder}/audio.f32`);
const samples = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
const stream = await connect(address, { config, WebSocket });
const print = (frame) => console.log(JSON.stringify(frame));
const answer = (text) => print({ type: "answer", text });

const reading = (async () => {
  for await (const frame of stream) print(frame);
})();
const doing = {
  send: ([start, end]) => stream.send(samples.subarray(start, end)),
  commit: async () => answer(await stream.commit()),
  reset: async () => {
    await stream.commit(); // otherwise timing decides which finals a reset drops
    await stream.reset();
  },
  ping: () => stream.ping(),
  config: (values) => stream.configure(values),
  bad: async () => {
    const good = stream.configure({ language: "en" });
    await assert.rejects(stream.configure({ chunk_duration: -1 }), { code: "invalid_config" });
    await good;
  },
};
for (const [kind, what] of acts) {
  await doing[kind](what);
  if (pause) await new Promise((resolve) => setTimeout(resolve, pause));
}
answer(await stream.stop());
await reading;
