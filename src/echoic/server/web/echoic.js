// A client of echoic's streaming protocol for browsers, Node, Deno and Bun: samples in, frames out.
// It needs nothing but a WebSocket and past.js beside it: copy both, or import it from a server.
//
//   const stream = await connect("wss://host", { key, config: { sample_rate: 48000 } });
//   stream.send(samples);                                  // a Float32Array
//   for await (const frame of stream) console.log(frame.type, frame.text);

import { Past, read } from "./past.js";

/**
 * @typedef {{type: string, [key: string]: any}} Frame A frame as docs/protocol.md tells it, or of type
 *   `connection`: `state` is `lost`, `resumed` or `anew` (the server knew the session no more, and was told again what
 *   it takes). Nothing is missing in either, unless `anew` has an `active_model`: another than before; where it has
 *   `cut`, a second, the server stopped in peace, which may cut a word in two.
 * @typedef {import("./past.js").Message} Message
 * @typedef {import("./past.js").Waiter} Waiter
 * @typedef {object} Options
 * @property {string} [key] The server's key, where it wants one.
 * @property {Record<string, any>} [config] Keys of the protocol's `config`.
 * @property {number} [patience] Seconds to try for when the connection is lost (60).
 * @property {any} [WebSocket] The class, where there is no global one.
 */

/** Bytes that may be on their way, in the socket's own buffer, before the next message is given to it. */
const BUFFERED = 256 * 1024;
/** Bytes of which nobody knows yet whether they arrived; `send` waits above. */
const UNSURE = 8 * 1024 * 1024;
/** After so many bytes or messages the server is asked what arrived. */
const ASK_BYTES = 64 * 1024;
const ASK_MESSAGES = 64;
/** Milliseconds. */
const LOOK_AGAIN = 20;
const LOOK_ROUND = 1000;
const FIRST_PAUSE = 250;
const LONGEST_PAUSE = 4000;
const DEAF = 20_000; // without a frame though one is due: something in between swallows what is sent
const GREETING = 120_000; // a server may load a model
/** Close codes: over with, to be gone on with; those after which the session may still be there or begin anew. */
const DONE = 1000;
const LATER = 4000;
const TORN = new Set([1001, 1005, 1006, 1011, 1012, 1014]);
const CLOSING = new Set(
  ("unauthorized forbidden server_busy draining idle_timeout time_limit resume_failed quota_exceeded " +
    "frame_too_large internal_error").split(" "),
);
const NO_WEBSOCKET =
  "There is no WebSocket here. Use Node 22 or later, or install the package ws (npm install ws) and hand its class over: " +
  'import WebSocket from "ws"; connect(address, { WebSocket })';
/** Of the endpoint that is meant where only a server is named. */
const PATH = "/api/v1/audio/stream/transcribe";
const PASSING = new Set(["unreachable", "server_busy", "draining"]);

/** What ends a stream: `code` as in the protocol's table, or `unreachable`, `closed`, `no_websocket`. */
export class StreamError extends Error {
  /** @param {string} code @param {string} message @param {Frame | {}} [detail] */
  constructor(code, message, detail = {}) {
    super(message);
    this.name = "StreamError";
    this.code = code;
    this.detail = /** @type {any} */ (detail);
  }
}

/**
 * Open a stream.
 * @param {string | URL} address Of the server, or of an endpoint; `https:` means `wss:`.
 * @param {Options} [options]
 * @returns {Promise<Stream>} When its config is in force.
 */
export async function connect(address, options = {}) {
  if (typeof (options.WebSocket ?? globalThis.WebSocket) !== "function") throw new StreamError("no_websocket", NO_WEBSOCKET);
  const stream = new Stream(address, options);
  await stream._begin();
  return stream;
}

/** An open stream, made by `connect`. Iterate it for the server's frames; it throws a StreamError if it ends badly. */
export class Stream {
  /** @param {string | URL} address @param {Options} options */
  constructor(address, { key = "", config = {}, patience = 60, WebSocket = globalThis.WebSocket }) {
    this._address = new URL(address);
    this._address.protocol = this._address.protocol.replace("http", "ws");
    if (this._address.pathname === "/") this._address.pathname = PATH;
    this._key = key;
    this._patience = patience * 1000;
    this._WebSocket = WebSocket;
    /** `open`, `lost` or `ended`. @type {string} */
    this.state = "lost";
    this._past = new Past({ ...config, resumable: true, type: "config" });
    this._configs = 0; // that wait for their turn or an answer
    /** @type {Promise<any>} */
    this._configuring = Promise.resolve();
    this._number = this._arrived = this._given = 1; // messages of this session: said, known to be there, on their way
    this._unsure = this._sinceAsked = this._received = this._heardAt = 0;
    this._wait = this._until = 0; // milliseconds before the next attempt at a connection, and when the last may be
    this._token = "";
    /** @type {Frame[]} */
    this._inbox = [];
    /** @type {(() => void)[]} */
    this._readers = [];
    /** @type {(() => void)[]} */
    this._senders = [];
    /** @type {StreamError | null} */
    this._failure = null;
    /** @type {Frame | null} */
    this._lastError = null;
    /** @type {any} */
    this._socket = null;
    /** @type {any} */
    this._timer = null;
    /** @type {any} */
    this._rounds = null;
    /** @type {(failure: StreamError) => void} */
    this._giveUp = () => {};
    this._end = () => {};
    /** Resolves when it is over. @type {Promise<void>} */
    this.ended = new Promise((resolve) => (this._end = resolve));
  }

  // ---- what a user does

  /** The values that the server put into force. */
  get configured() {
    return this._past.configured;
  }

  /** Seconds of sound that the server is not known to have. */
  get backlog() {
    return this._past.log.reduce((sum, { number, start, end }) => sum + (number > this._arrived ? end - start : 0), 0);
  }

  /**
   * Send samples; resolves when more may be sent, for which a microphone need not wait.
   * @param {Float32Array} samples Of -1..1, interleaved if the config says `channels`.
   */
  async send(samples) {
    if (this.state === "ended") throw this._late;
    const { sample_rate: rate, channels, audio_format: format } = this.configured;
    const bytes = format === "s16le" ? asIntegers(samples) : samples.slice().buffer;
    if (samples.length) this._put("audio", bytes, { seconds: samples.length / rate / channels });
    if (!this._hasRoom) await new Promise((resolve) => this._senders.push(() => resolve(null)));
    if (this._failure) throw this._failure;
  }

  /** Have everything finalised. @returns {Promise<string>} The transcript since the last commit. */
  commit() {
    return this._ask("commit").then((frame) => frame.text);
  }

  /** Have the server forget everything: its clock is at zero then. */
  async reset() {
    await this._ask("reset");
  }

  /** @returns {Promise<number>} Seconds to the server and back. */
  async ping() {
    const start = performance.now();
    await this._ask("ping");
    return (performance.now() - start) / 1000;
  }

  /** Change the config; rejects if the server cannot take it, and the old one stays. @param {Record<string, any>} values */
  async configure(values) {
    // One after the other: what is wrong with one is told before the answer to those that are still to be heard.
    const ask = () => this._ask("config", values).finally(() => this._configs--);
    await (this._configuring = this._configs++ ? this._configuring.then(ask, ask) : ask());
  }

  /** Have what is pending delivered. @returns {Promise<string>} The transcript since the last commit. */
  async stop() {
    let text = "";
    this._ask("stop").then((frame) => (text = frame.text), () => {});
    await this.ended;
    if (this._failure) throw this._failure;
    return text;
  }

  /** Hang up at once, whatever is pending. */
  close() {
    this._finish(null);
  }

  async *[Symbol.asyncIterator]() {
    for (;;) {
      while (this._inbox.length) yield /** @type {Frame} */ (this._inbox.shift());
      if (this.state === "ended") break;
      await new Promise((resolve) => this._readers.push(() => resolve(null)));
    }
    if (this._failure) throw this._failure;
  }

  // ---- what is said

  /** @param {string} kind @param {Record<string, any>} [values] @returns {Promise<Frame>} */
  _ask(kind, values = {}) {
    return new Promise((resolve, reject) => {
      if (this.state === "ended") return reject(this._late);
      const refuse = (/** @type {Frame} */ error) => reject(new StreamError(error.code, error.message, error));
      this._put(kind, JSON.stringify({ ...values, type: kind }), { waits: { resolve, refuse, reject }, values });
    });
  }

  /**
   * @param {string} kind
   * @param {Message} message
   * @param {{seconds?: number, waits?: Waiter | null, values?: Record<string, any>}} [more]
   * @returns {void}
   */
  _put(kind, message, more = {}) {
    if (kind === "ping" && !this._past.waits("ping")) this._heardAt = performance.now();
    const { size } = this._past.put(++this._number, kind, message, more);
    this._unsure += size;
    this._sinceAsked += size + ASK_BYTES / ASK_MESSAGES;
    if (kind === "ping") this._sinceAsked = 0;
    else if (this._sinceAsked >= ASK_BYTES) return this._put("ping", '{"type":"ping"}');
    this._write();
  }

  get _hasRoom() {
    return this.state === "ended" || (this._unsure <= UNSURE && this._given === this._number);
  }

  /** Give the socket what it has room for, and look again later. */
  _write() {
    while (this.state === "open" && this._given < this._number && this._socket.bufferedAmount < BUFFERED) {
      this._given++; // before it is sent: its answer may come first
      const next = this._past.log.at(this._given - this._number - 1);
      if (!next) return this._finish(garbled()); // finals of what nobody said yet
      this._socket.send(next.message);
    }
    if (this._hasRoom) this._senders.splice(0).forEach((wake) => wake());
    if (this.state !== "open" || this._timer || this._given === this._number) return;
    this._timer = setTimeout(() => {
      this._timer = null;
      this._write();
    }, LOOK_AGAIN);
  }

  /** Note that the server has the messages up to a number. @param {number} number */
  _note(number) {
    this._arrived = Math.max(this._arrived, number);
    this._unsure = this._past.log.reduce((sum, said) => sum + (said.number > this._arrived ? said.size : 0), 0);
    this._write();
  }

  // ---- connections

  /** Begin a session, and say to it what is in the log. */
  _begin() {
    return this._greet(this._past.values, (first, socket) => {
      if (first.state !== "configured") return false;
      this._token = first.resume_token ?? "";
      this._received = first.seq ?? 0;
      this._number = this._arrived = this._given = 1;
      const news = this._past.begin(first);
      for (const said of this._past.log) said.number = ++this._number;
      if (news) this._tell(news);
      this._note(1);
      this._adopt(socket);
      return true;
    });
  }

  /** @returns {Promise<boolean>} Take the session up where it was lost. */
  _resume() {
    const wish = { type: "config", resume: this._token, received: this._received };
    return this._greet(wish, (first, socket) => {
      if (first.state !== "resumed") return false;
      const has = first.received_messages;
      if (has > this._arrived) this._wait = 0;
      for (const { kind, number } of [...this._past.log]) {
        // An answer may have been lost with the connection.
        if (kind === "ping" && number <= has) this._past.answer("ping", { type: "pong" });
      }
      this._note(has);
      this._given = this._arrived;
      this._tell({ type: "connection", state: "resumed" });
      this._adopt(socket);
      return true;
    });
  }

  /** Go on over a connection. @param {any} socket */
  _adopt(socket) {
    this.state = "open";
    this._heardAt = performance.now(); // stands still with most machines that sleep
    socket.onmessage = (/** @type {{data: string}} */ { data }) => {
      const frame = read(data);
      if (frame) this._hear(frame);
      else this._finish(garbled());
    };
    socket.onclose = (/** @type {{code: number}} */ { code }) => this._lose(code);
    this._rounds = setInterval(() => {
      if (this._past.waits("ping") && performance.now() - this._heardAt > DEAF) this._lose(1006);
    }, LOOK_ROUND);
    this._write();
  }

  /**
   * Open a connection with a first message.
   * @param {Record<string, any>} message
   * @param {(first: Frame, socket: any) => boolean} take Is given the answer, and takes the socket over or not.
   * @returns {Promise<boolean>}
   */
  _greet(message, take) {
    return new Promise((resolve, reject) => {
      const socket = (this._socket = new this._WebSocket(this._address));
      const refuse = (/** @type {StreamError} */ failure) => {
        clearTimeout(alarm);
        drop(socket, LATER);
        reject(failure);
      };
      const away = new StreamError("unreachable", "The server does not answer.");
      const alarm = setTimeout(() => refuse(away), GREETING);
      this._giveUp = refuse;
      socket.onopen = () => {
        if (this._key) socket.send(JSON.stringify({ type: "auth", token: this._key }));
        socket.send(JSON.stringify(message));
      };
      socket.onclose = () => refuse(away);
      socket.onerror = () => {}; // a close follows
      socket.onmessage = (/** @type {{data: string}} */ { data }) => {
        const first = read(data);
        if (!first || first.type === "unreadable") return refuse(garbled());
        if (first.type === "error") return refuse(new StreamError(first.code, first.message, first));
        if (first.type === "warning") return this._tell(first);
        if (first.state === "authenticated") return;
        if (!take(first, socket)) return refuse(away);
        clearTimeout(alarm);
        this._giveUp = () => {};
        resolve(true);
      };
    });
  }

  /** @param {number} code With which the connection was closed; 1006: it was not. */
  _lose(code) {
    clearInterval(this._rounds);
    drop(this._socket, LATER);
    const error = this._lastError;
    if (error) this._finish(new StreamError(error.code, error.message, error));
    else if (TORN.has(code)) this._mend();
    else if (code === DONE) this._finish(null);
    else this._finish(new StreamError("closed", `The server closed the stream (code ${code}).`));
  }

  /** Try until it goes on, or cannot. A connection over which nothing came is none: it is waited on, ever longer. */
  async _mend() {
    this.state = "lost";
    this._tell({ type: "connection", state: "lost" });
    if (performance.now() - this._heardAt > LONGEST_PAUSE) this._wait = 0;
    if (!this._wait) this._until = performance.now() + this._patience;
    let failure = new StreamError("unreachable", "The server does not answer.");
    while (this.state === "lost") {
      if (this._wait && performance.now() > this._until) return this._finish(failure);
      // Clients that were lost together come back one by one.
      if (this._wait) await pause(this._wait * (0.5 + Math.random() / 2));
      this._wait = Math.min(2 * this._wait || FIRST_PAUSE, LONGEST_PAUSE);
      try {
        if (await this._attempt()) return;
      } catch (error) {
        failure = /** @type {StreamError} */ (error);
        const passes = PASSING.has(failure.code) || failure.detail.quota === "concurrent_streams";
        if (!passes) return this._finish(failure);
      }
    }
  }

  /** @returns {Promise<boolean>} */
  async _attempt() {
    if (this.state === "ended") return true;
    if (this._token) {
      try {
        return await this._resume();
      } catch (error) {
        if (/** @type {StreamError} */ (error).code !== "resume_failed") throw error;
        this._token = "";
      }
    }
    return this.state === "ended" || this._begin();
  }

  // ---- what is heard

  /** @param {Frame} frame */
  _hear(frame) {
    this._heardAt = performance.now();
    this._wait = 0;
    if (frame.seq) this._received = frame.seq;
    if (frame.type === "error" && CLOSING.has(frame.code)) return void (this._lastError = frame); // a close follows
    const told = this._past.hear(frame);
    this._note(this._past.answered);
    if (told && told.type !== "pong") this._tell(told);
  }

  /** @param {Frame} frame */
  _tell(frame) {
    this._inbox.push(frame);
    this._readers.splice(0).forEach((wake) => wake());
  }

  get _late() {
    return this._failure ?? new StreamError("closed", "The stream has ended.");
  }

  /** @param {StreamError | null} failure */
  _finish(failure) {
    if (this.state === "ended") return;
    this._failure = failure;
    this.state = "ended";
    clearTimeout(this._timer);
    clearInterval(this._rounds);
    this._giveUp(this._late);
    drop(this._socket, DONE);
    this._settleAll();
    [...this._readers.splice(0), ...this._senders.splice(0), this._end].forEach((wake) => wake());
  }

  _settleAll() {
    const stop = this._past.waiting("stop");
    const text = this._past.text;
    if (stop && this._past.isNew && text && !this._failure) {
      // The new session knew of no words; those of the one before are owed.
      const owed = { type: "full_transcript", text };
      this._tell(owed);
      stop.waits?.resolve(owed);
    }
    const late = this._late;
    for (const { waits } of this._past.log) waits?.reject(late);
  }
}

const garbled = () => new StreamError("closed", "The server sent a message that is no frame.");

/** @param {Float32Array} samples @returns {ArrayBuffer} Little-endian integers of 16 bits. */
function asIntegers(samples) {
  const view = new DataView(new ArrayBuffer(2 * samples.length));
  samples.forEach((value, at) => view.setInt16(2 * at, Math.max(-32768, Math.min(32767, Math.round(value * 32768))), true));
  return view.buffer;
}

/** Let go of a socket: it may not notice for a long time that nobody is there. @param {any} socket @param {number} code */
function drop(socket, code) {
  if (!socket) return;
  socket.onmessage = socket.onclose = socket.onopen = null;
  socket.onerror = () => {};
  socket.close(code);
}

/** @param {number} milliseconds */
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
