// A client of echoic's streaming protocol for browsers, Node, Deno and Bun: samples in, frames out. It needs a WebSocket
// and the modules replay.js and frames.js: copy all three, or import this one from a server.
//
//   const stream = await connect("wss://host", { key, config: { sample_rate: 48000 } });
//   stream.send(samples);                                  // a Float32Array
//   for await (const frame of stream) console.log(frame.type, frame.text);

import { parseFrame } from "./frames.js";
import { SessionReplay } from "./replay.js";

/**
 * @typedef {{type: string, [key: string]: any}} Frame A frame of docs/protocol.md, or of type `connection`: its `state` is
 *   `lost`, `resumed`, or `anew` (the server had lost the session, and the client continues it in a new one). No word is
 *   missing after either, unless `anew` has an `active_model` (another model than before) or `cut` (the second at which
 *   the server stopped in peace, which may cut a word in two).
 * @typedef {import("./replay.js").Message} Message
 * @typedef {import("./replay.js").Waiter} Waiter
 * @typedef {object} Options
 * @property {string} [key] The server's key, if it needs one.
 * @property {Record<string, any>} [config] Keys of the protocol's `config`.
 * @property {number} [retrySeconds] Seconds for which a lost connection is retried (60).
 * @property {any} [WebSocket] The class, where there is no global one.
 */

/** Bytes in the socket's own buffer above which the next message is not handed to it. */
const MAX_BUFFERED_BYTES = 256 * 1024;
/** Unacknowledged bytes above which `send` waits. */
const MAX_UNACKNOWLEDGED_BYTES = 8 * 1024 * 1024;
/** Bytes or messages after which a ping asks the server what arrived. */
const PING_EVERY_BYTES = 64 * 1024;
const PING_EVERY_MESSAGES = 64;
// Milliseconds.
const WRITE_RETRY = 20; // until the socket's buffer is looked at again
const SILENCE_CHECK = 1000; // between two checks for an answer
const MIN_RETRY = 250;
const MAX_RETRY = 4000;
const ANSWER_TIMEOUT = 20_000; // without any frame while an answer is due: the connection is dead
const CONFIG_TIMEOUT = 120_000; // a server may load a model
/** Close codes: of a stream that is complete; of a connection that this client leaves but will resume. */
const CLOSE_NORMAL = 1000;
const CLOSE_RESUME_LATER = 4000;
/** Close codes after which the session is resumed or re-created. */
const RESUMABLE_CODES = new Set([1001, 1005, 1006, 1011, 1012, 1014]);
/** Codes of errors after which the server closes. */
const CLOSING_ERRORS = new Set(
  ("unauthorized forbidden server_busy draining idle_timeout time_limit resume_failed quota_exceeded " +
    "frame_too_large internal_error").split(" "),
);
const NO_WEBSOCKET =
  "There is no WebSocket here. Use Node 22 or later, or install the package ws (npm install ws) and pass its class: " +
  'import WebSocket from "ws"; connect(address, { WebSocket })';
/** Path of the endpoint if an address has none. */
const STREAM_PATH = "/api/v1/audio/stream/transcribe";
/** Codes of errors on which connecting is tried again. */
const RETRYABLE_ERRORS = new Set(["unreachable", "server_busy", "draining"]);

/** The error that ends a stream: `code` is one of the protocol's table, or `unreachable`, `closed`, `no_websocket`. */
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
 * @returns {Promise<Stream>} Resolves when the config is in force.
 */
export async function connect(address, options = {}) {
  if (typeof (options.WebSocket ?? globalThis.WebSocket) !== "function") throw new StreamError("no_websocket", NO_WEBSOCKET);
  const stream = new Stream(address, options);
  await stream._startSession();
  return stream;
}

/** An open stream, made by `connect`. Iterate it for the server's frames; it throws a StreamError if it ends badly. */
export class Stream {
  /** @param {string | URL} address @param {Options} options */
  constructor(address, { key = "", config = {}, retrySeconds = 60, WebSocket = globalThis.WebSocket }) {
    this._address = new URL(address);
    this._address.protocol = this._address.protocol.replace("http", "ws");
    if (this._address.pathname === "/") this._address.pathname = STREAM_PATH;
    this._key = key;
    this._retryMilliseconds = retrySeconds * 1000;
    this._WebSocket = WebSocket;
    /** `open`, `lost` or `ended`. @type {string} */
    this.state = "lost";
    this._replay = new SessionReplay({ ...config, resumable: true, type: "config" });
    this._pendingConfigs = 0;
    /** @type {Promise<any>} */
    this._lastConfig = Promise.resolve();
    // Numbers of the session's messages: the last recorded, the last acknowledged, the last handed to the socket.
    this._number = this._acknowledged = this._written = 1;
    this._unacknowledgedBytes = this._bytesSincePing = this._lastSeq = this._lastFrameAt = 0;
    this._retryPause = this._retryDeadline = 0; // milliseconds
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
    this._writeTimer = null;
    /** @type {any} */
    this._silenceTimer = null;
    /** @type {(failure: StreamError) => void} */
    this._abortOpening = () => {};
    this._resolveEnded = () => {};
    /** Resolves when the stream has ended. @type {Promise<void>} */
    this.ended = new Promise((resolve) => (this._resolveEnded = resolve));
  }

  // ---- the interface

  /** The values that the server put into force. */
  get configured() {
    return this._replay.configured;
  }

  /** Seconds of audio that the server has not acknowledged. */
  get backlog() {
    return this._replay.log.reduce((sum, { number, seconds }) => sum + (number > this._acknowledged ? seconds : 0), 0);
  }

  /**
   * Send samples. The promise resolves when more may be sent; a microphone need not wait for it.
   * @param {Float32Array} samples Of -1..1, interleaved if the config has `channels`.
   */
  async send(samples) {
    if (this.state === "ended") throw this._endError;
    const { sample_rate: rate, channels, audio_format: format } = this.configured;
    const bytes = format === "s16le" ? toInt16(samples) : samples.slice().buffer;
    if (samples.length) this._queue("audio", bytes, { seconds: samples.length / rate / channels });
    if (!this._hasRoom) await new Promise((resolve) => this._senders.push(() => resolve(null)));
    if (this._failure) throw this._failure;
  }

  /** Finalize everything sent so far. @returns {Promise<string>} The transcript since the last commit. */
  commit() {
    return this._request("commit").then((frame) => frame.text);
  }

  /** Clear the session on the server: transcript empty, clock at zero. */
  async reset() {
    await this._request("reset");
  }

  /** @returns {Promise<number>} Seconds until the server's answer. */
  async ping() {
    const start = performance.now();
    await this._request("ping");
    return (performance.now() - start) / 1000;
  }

  /** Change the config; rejects if the server refuses it, and the old config stays. @param {Record<string, any>} values */
  async configure(values) {
    // One at a time: a refusal overtakes the answers to earlier configs, and does not say which config it is about.
    const request = () => this._request("config", values).finally(() => this._pendingConfigs--);
    await (this._lastConfig = this._pendingConfigs++ ? this._lastConfig.then(request, request) : request());
  }

  /** Finalize everything and end the stream. @returns {Promise<string>} The transcript since the last commit. */
  async stop() {
    let text = "";
    this._request("stop").then((frame) => (text = frame.text), () => {});
    await this.ended;
    if (this._failure) throw this._failure;
    return text;
  }

  /** Close the connection at once and drop what is pending. */
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

  // ---- sending

  /** Send a control message and wait for its answer. @param {string} kind @param {Record<string, any>} [values] @returns {Promise<Frame>} */
  _request(kind, values = {}) {
    return new Promise((resolve, reject) => {
      if (this.state === "ended") return reject(this._endError);
      const refuse = (/** @type {Frame} */ error) => reject(new StreamError(error.code, error.message, error));
      this._queue(kind, JSON.stringify({ ...values, type: kind }), { waiter: { resolve, refuse, reject }, values });
    });
  }

  /**
   * Record a message and send it as soon as the socket has room.
   * @param {string} kind
   * @param {Message} message
   * @param {{seconds?: number, waiter?: Waiter | null, values?: Record<string, any>}} [more]
   * @returns {void}
   */
  _queue(kind, message, more = {}) {
    if (kind === "ping" && !this._replay.unanswered("ping")) this._lastFrameAt = performance.now();
    const { size } = this._replay.record(++this._number, kind, message, more);
    this._unacknowledgedBytes += size;
    this._bytesSincePing += size + PING_EVERY_BYTES / PING_EVERY_MESSAGES;
    if (kind === "ping") this._bytesSincePing = 0;
    else if (this._bytesSincePing >= PING_EVERY_BYTES) return this._queue("ping", '{"type":"ping"}');
    this._write();
  }

  get _hasRoom() {
    return this.state === "ended" || (this._unacknowledgedBytes <= MAX_UNACKNOWLEDGED_BYTES && this._written === this._number);
  }

  /** Hand messages to the socket while it has room, and try again later. */
  _write() {
    while (this.state === "open" && this._written < this._number && this._socket.bufferedAmount < MAX_BUFFERED_BYTES) {
      this._written++; // before it is sent: its answer may come first
      const next = this._replay.log.at(this._written - this._number - 1);
      if (!next) return this._finish(badMessage()); // the server answered messages that were never sent
      this._socket.send(next.message);
    }
    if (this._hasRoom) this._senders.splice(0).forEach((wake) => wake());
    if (this.state !== "open" || this._writeTimer || this._written === this._number) return;
    this._writeTimer = setTimeout(() => {
      this._writeTimer = null;
      this._write();
    }, WRITE_RETRY);
  }

  /** Record that the server has the messages up to a number. @param {number} number */
  _acknowledge(number) {
    this._acknowledged = Math.max(this._acknowledged, number);
    this._unacknowledgedBytes = this._replay.log.reduce((sum, sent) => sum + (sent.number > this._acknowledged ? sent.size : 0), 0);
    this._write();
  }

  // ---- connections

  /** Start a session, and send it all that the log has. */
  _startSession() {
    return this._open(this._replay.values, (first, socket) => {
      if (first.state !== "configured") return false;
      this._token = first.resume_token ?? "";
      this._lastSeq = first.seq ?? 0;
      this._number = this._acknowledged = this._written = 1;
      const news = this._replay.startSession(first);
      for (const sent of this._replay.log) sent.number = ++this._number;
      if (news) this._deliver(news);
      this._acknowledge(1);
      this._useSocket(socket);
      return true;
    });
  }

  /** Resume the session over a new connection. @returns {Promise<boolean>} */
  _resumeSession() {
    const config = { type: "config", resume: this._token, received: this._lastSeq };
    return this._open(config, (first, socket) => {
      if (first.state !== "resumed") return false;
      const arrived = first.received_messages;
      if (arrived > this._acknowledged) this._retryPause = 0;
      for (const { kind, number } of [...this._replay.log]) {
        // The answer may have been lost with the connection.
        if (kind === "ping" && number <= arrived) this._replay.settle("ping", { type: "pong" });
      }
      this._acknowledge(arrived);
      this._written = this._acknowledged;
      this._deliver({ type: "connection", state: "resumed" });
      this._useSocket(socket);
      return true;
    });
  }

  /** Continue over a connection whose config was answered. @param {any} socket */
  _useSocket(socket) {
    this.state = "open";
    this._lastFrameAt = performance.now(); // this clock stands still while most machines sleep
    socket.onmessage = (/** @type {{data: string}} */ { data }) => {
      const frame = parseFrame(data);
      if (frame) this._onFrame(frame);
      else this._finish(badMessage());
    };
    socket.onclose = (/** @type {{code: number}} */ { code }) => this._onClose(code);
    this._silenceTimer = setInterval(() => {
      if (this._replay.unanswered("ping") && performance.now() - this._lastFrameAt > ANSWER_TIMEOUT) this._onClose(1006);
    }, SILENCE_CHECK);
    this._write();
  }

  /**
   * Open a connection with a first message.
   * @param {Record<string, any>} message
   * @param {(first: Frame, socket: any) => boolean} take Receives the answer and the socket; returns whether it takes them.
   * @returns {Promise<boolean>}
   */
  _open(message, take) {
    return new Promise((resolve, reject) => {
      const socket = (this._socket = new this._WebSocket(this._address));
      const fail = (/** @type {StreamError} */ failure) => {
        clearTimeout(timer);
        release(socket, CLOSE_RESUME_LATER);
        reject(failure);
      };
      const unreachable = new StreamError("unreachable", "The server does not answer.");
      const timer = setTimeout(() => fail(unreachable), CONFIG_TIMEOUT);
      this._abortOpening = fail;
      socket.onopen = () => {
        if (this._key) socket.send(JSON.stringify({ type: "auth", token: this._key }));
        socket.send(JSON.stringify(message));
      };
      socket.onclose = () => fail(unreachable);
      socket.onerror = () => {}; // a close follows
      socket.onmessage = (/** @type {{data: string}} */ { data }) => {
        const first = parseFrame(data);
        if (!first || first.type === "unreadable") return fail(badMessage());
        if (first.type === "error") return fail(new StreamError(first.code, first.message, first));
        if (first.type === "warning") return this._deliver(first);
        if (first.state === "authenticated") return;
        if (!take(first, socket)) return fail(unreachable);
        clearTimeout(timer);
        this._abortOpening = () => {};
        resolve(true);
      };
    });
  }

  /** @param {number} code The close code; 1006 if there was no close. */
  _onClose(code) {
    clearInterval(this._silenceTimer);
    release(this._socket, CLOSE_RESUME_LATER);
    const error = this._lastError;
    if (error) this._finish(new StreamError(error.code, error.message, error));
    else if (RESUMABLE_CODES.has(code)) this._reconnect();
    else if (code === CLOSE_NORMAL) this._finish(null);
    else this._finish(new StreamError("closed", `The server closed the stream (code ${code}).`));
  }

  /** Retry with backoff until the stream continues or ends. A connection that brought no frame does not reset the backoff. */
  async _reconnect() {
    this.state = "lost";
    this._deliver({ type: "connection", state: "lost" });
    if (performance.now() - this._lastFrameAt > MAX_RETRY) this._retryPause = 0;
    if (!this._retryPause) this._retryDeadline = performance.now() + this._retryMilliseconds;
    let failure = new StreamError("unreachable", "The server does not answer.");
    while (this.state === "lost") {
      if (this._retryPause && performance.now() > this._retryDeadline) return this._finish(failure);
      // Jitter spreads clients that were disconnected at the same moment.
      if (this._retryPause) await sleep(this._retryPause * (0.5 + Math.random() / 2));
      this._retryPause = Math.min(2 * this._retryPause || MIN_RETRY, MAX_RETRY);
      try {
        if (await this._tryReconnect()) return;
      } catch (error) {
        failure = /** @type {StreamError} */ (error);
        const isRetryable = RETRYABLE_ERRORS.has(failure.code) || failure.detail.quota === "concurrent_streams";
        if (!isRetryable) return this._finish(failure);
      }
    }
  }

  /** @returns {Promise<boolean>} */
  async _tryReconnect() {
    if (this.state === "ended") return true;
    if (this._token) {
      try {
        return await this._resumeSession();
      } catch (error) {
        if (/** @type {StreamError} */ (error).code !== "resume_failed") throw error;
        this._token = "";
      }
    }
    return this.state === "ended" || this._startSession();
  }

  // ---- receiving

  /** @param {Frame} frame */
  _onFrame(frame) {
    this._lastFrameAt = performance.now();
    this._retryPause = 0;
    if (frame.seq) this._lastSeq = frame.seq;
    if (frame.type === "error" && CLOSING_ERRORS.has(frame.code)) return void (this._lastError = frame); // a close follows
    const delivered = this._replay.filterFrame(frame);
    this._acknowledge(this._replay.answeredNumber);
    for (const one of delivered) if (one.type !== "pong") this._deliver(one);
  }

  /** @param {Frame} frame */
  _deliver(frame) {
    this._inbox.push(frame);
    this._readers.splice(0).forEach((wake) => wake());
  }

  get _endError() {
    return this._failure ?? new StreamError("closed", "The stream has ended.");
  }

  /** @param {StreamError | null} failure */
  _finish(failure) {
    if (this.state === "ended") return;
    this._failure = failure;
    this.state = "ended";
    clearTimeout(this._writeTimer);
    clearInterval(this._silenceTimer);
    this._abortOpening(this._endError);
    release(this._socket, CLOSE_NORMAL);
    this._settleRequests();
    [...this._readers.splice(0), ...this._senders.splice(0), this._resolveEnded].forEach((wake) => wake());
  }

  _settleRequests() {
    const stop = this._replay.unanswered("stop");
    const { text, isReplaying } = this._replay;
    if (stop && isReplaying && text && !this._failure) {
      // A new session without words sends no transcript; the words of the lost one are owed.
      const owed = { type: "full_transcript", text };
      this._deliver(owed);
      stop.waiter?.resolve(owed);
    }
    const error = this._endError;
    for (const { waiter } of this._replay.log) waiter?.reject(error);
  }
}

const badMessage = () => new StreamError("closed", "The server sent a message that is no frame.");

/** @param {Float32Array} samples @returns {ArrayBuffer} Little-endian integers of 16 bits. */
function toInt16(samples) {
  const view = new DataView(new ArrayBuffer(2 * samples.length));
  samples.forEach((value, at) => view.setInt16(2 * at, Math.max(-32768, Math.min(32767, Math.round(value * 32768))), true));
  return view.buffer;
}

/** Detach and close a socket, which may notice a dead connection only much later. @param {any} socket @param {number} code */
function release(socket, code) {
  if (!socket) return;
  socket.onmessage = socket.onclose = socket.onopen = null;
  socket.onerror = () => {};
  socket.close(code);
}

/** @param {number} milliseconds */
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
