// One recording: sends sound to the server and receives its frames. Does not touch the page.

import { LatencyMeter } from "./latency.js";
import { connect } from "./echoic.js";

const RETRY_SECONDS = 600; // seconds for which sound is kept while the server is away
const FILE_CHUNK_SECONDS = 0.5;
const RECONNECTED = new Set(["resumed", "anew"]);

export class Recording {
  /**
   * @param {string | URL} address
   * @param {string} key
   * @param {Record<string, any>} config
   * @param {{frame: (frame: any) => void, connection: (frame: any) => void}} listeners Called with the frames.
   */
  constructor(address, key, config, listeners) {
    this.listeners = listeners;
    this.latency = new LatencyMeter();
    this.seconds = 0; // captured
    this.rate = config.sample_rate;
    /** @type {Float32Array[] | null} Sound captured before the stream was open. */
    this.unsent = [];
    /** @type {import("./echoic.js").Stream | null} */
    this.stream = null;
    this.isOver = false;
    const options = { key, config: { ...config, audio_format: "s16le" }, retrySeconds: RETRY_SECONDS };
    /** Resolves when the stream is open. */
    this.ready = connect(address, options).then((stream) => this._start(stream));
    /** Resolves when the recording has ended; rejects with a StreamError. */
    this.over = this.ready.then(() => this._read());
    this.over.catch(() => {}); // callers may look at it later
  }

  /** Send captured samples. @param {Float32Array} samples */
  push(samples) {
    this.seconds += samples.length / this.rate;
    this.latency.recordCapture(samples.length / this.rate, performance.now() / 1000);
    if (this.unsent) this.unsent.push(samples);
    else this._send(samples);
  }

  /** Send a whole file as fast as the server takes it. @param {Float32Array} samples */
  async pushAll(samples) {
    await this.ready;
    const size = Math.round(this.rate * FILE_CHUNK_SECONDS);
    for (let at = 0; at < samples.length && !this.isOver; at += size) {
      await this.stream?.send(samples.subarray(at, at + size));
      this.seconds = Math.min(at + size, samples.length) / this.rate;
    }
  }

  /** Wait for the last words, and end. */
  async stop() {
    this.isOver = true;
    await this.ready;
    await this.stream?.stop();
    await this.over;
  }

  async commit() {
    await this.stream?.commit();
  }

  async reset() {
    this.latency = new LatencyMeter();
    this.seconds = 0;
    await this.stream?.reset();
  }

  /** Close the connection. */
  async close() {
    this.isOver = true;
    this.stream?.close();
    await this.ready.then(() => this.stream?.close(), () => {});
  }

  /** @param {import("./echoic.js").Stream} stream */
  _start(stream) {
    this.stream = stream;
    for (const samples of this.unsent ?? []) this._send(samples);
    this.unsent = null;
  }

  /** @param {Float32Array} samples */
  _send(samples) {
    this.stream?.send(samples).catch(() => {}); // `over` rejects too
  }

  async _read() {
    for await (const frame of /** @type {any} */ (this.stream)) {
      if (frame.type === "final") this.latency.recordWords(frame.segment_end, performance.now() / 1000);
      if (frame.type === "connection") this.listeners.connection(frame);
      else this.listeners.frame(frame);
      if (RECONNECTED.has(frame.state)) this.latency.last = []; // audio that waited says nothing about the latency now
    }
  }
}
