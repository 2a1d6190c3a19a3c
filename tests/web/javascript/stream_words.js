// Streams samples and commits halfway; prints each frame as a line of JSON.
import { readFile } from "node:fs/promises";
import WebSocket from "ws";
import { connect } from "./echoic.js";

const [address, file, job] = process.argv.slice(2);
const { pieces, pause, ...config } = JSON.parse(job);
const bytes = await readFile(file);
const samples = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
const stream = await connect(address, { config, WebSocket });
const print = (frame) => console.log(JSON.stringify(frame));
print(stream.configured);

const reading = (async () => {
  for await (const frame of stream) print(frame);
})();
const size = Math.ceil(samples.length / pieces);
for (let piece = 0; piece < pieces; piece++) {
  await stream.send(samples.subarray(piece * size, (piece + 1) * size));
  if (pause) await new Promise((resolve) => setTimeout(resolve, pause));
  if (piece === Math.floor(pieces / 2)) await stream.commit();
}
await stream.stop();
await reading;
