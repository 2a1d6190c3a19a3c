// One recording: sound on its way to the server, and what comes back. No page in here.

import { Delay } from "./delay.js";
import { connect } from "./echoic.js";

const PATIENCE = 600; // seconds for which what is said is kept when the server is away
const FILE_PIECE = 0.5; // seconds of a message
const DONE_WITH = new Set(["resumed", "anew"]);

export class Recording {
  /**
   * @param {string | URL} address
   * @param {string} key
   * @param {Record<string, any>} config
   * @param {{frame: (frame: any) => void, connection: (frame: any) => void}} hears What is told of it.
   */
  constructor(address, key, config, hears) {
    this.hears = hears;
    this.delay = new Delay();
    this.seconds = 0; // captured
    this.rate = config.sample_rate;
    /** @type {Float32Array[] | null} What was captured before the server was there. */
    this.waiting = [];
    /** @type {import("./echoic.js").Stream | null} */
    this.stream = null;
    this.isOver = false;
    const options = { key, config: { ...config, audio_format: "s16le" }, patience: PATIENCE };
    /** Resolves when the server listens. */
    this.ready = connect(address, options).then((stream) => this._begin(stream));
    /** Resolves when it is over; rejects with a StreamError. */
    this.over = this.ready.then(() => this._read());
    this.over.catch(() => {}); // who wants to know looks at it later
  }

  /** @param {Float32Array} samples */
  hear(samples) {
    this.seconds += samples.length / this.rate;
    this.delay.captured(samples.length / this.rate, performance.now() / 1000);
    if (this.waiting) this.waiting.push(samples);
    else this._send(samples);
  }

  /** Send a whole file as fast as it is taken. @param {Float32Array} samples */
  async hearAll(samples) {
    await this.ready;
    const size = Math.round(this.rate * FILE_PIECE);
    for (let at = 0; at < samples.length && !this.isOver; at += size) {
      await this.stream?.send(samples.subarray(at, at + size));
      this.seconds = Math.min(at + size, samples.length) / this.rate;
    }
  }

  /** Have the last words delivered, and end. */
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
    this.delay = new Delay();
    this.seconds = 0;
    await this.stream?.reset();
  }

  /** Hang up. */
  async drop() {
    this.isOver = true;
    this.stream?.close();
    await this.ready.then(() => this.stream?.close(), () => {});
  }

  /** @param {import("./echoic.js").Stream} stream */
  _begin(stream) {
    this.stream = stream;
    for (const samples of this.waiting ?? []) this._send(samples);
    this.waiting = null;
  }

  /** @param {Float32Array} samples */
  _send(samples) {
    this.stream?.send(samples).catch(() => {}); // `over` tells
  }

  async _read() {
    for await (const frame of /** @type {any} */ (this.stream)) {
      if (frame.type === "final") this.delay.came(frame.segment_end, performance.now() / 1000);
      if (frame.type === "connection") this.hears.connection(frame);
      else this.hears.frame(frame);
      if (DONE_WITH.has(frame.state)) this.delay.last = []; // what waited says nothing of now
    }
  }
}
