// A client of echoic's streaming protocol for browsers, Node, Deno and Bun: samples in, frames out.
// It needs nothing but a WebSocket, and no other file: copy it, or import it from a server.
//
//   const stream = await connect("wss://host/api/v1/audio/stream/transcribe", { key, config: { sample_rate: 48000 } });
//   stream.send(samples);                                  // a Float32Array
//   for await (const frame of stream) console.log(frame.type, frame.text);

/**
 * @typedef {{type: string, [key: string]: any}} Frame A frame as docs/protocol.md tells it, or of type
 *   `connection`: `state` is `lost`, `resumed` (nothing is missing) or `anew` (the server knew the session no more:
 *   a few words before `at`, in seconds, may be missing; speakers are counted afresh).
 * @typedef {string | ArrayBuffer} Message
 * @typedef {{number: number, kind: string, message: Message, size: number, start: number, end: number,
 *   waits: Waiter | null, values: Record<string, any>}} Said
 * @typedef {{resolve: (answer: any) => void, reject: (failure: Error) => void}} Waiter
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
/** Seconds of sound, sent and of which no words came, that are kept for a new beginning. */
const KEPT = 60;

/** Close codes: over with, to be gone on with; those after which the session may still be there or begin anew. */
const DONE = 1000;
const LATER = 4000;
const TORN = new Set([1001, 1005, 1006, 1011, 1012, 1014]);
const CLOSING = new Set(
  ("unauthorized forbidden server_busy draining idle_timeout time_limit resume_failed quota_exceeded " +
    "frame_too_large internal_error").split(" "),
);
const PASSING = new Set(["unreachable", "server_busy", "draining"]);
const OF_AUDIO = new Set(["bad_audio", "decode_failed"]);
const MOMENTS = new Set(["segment_start", "segment_end", "chunk_start", "chunk_end", "cumulative_audio", "start", "end"]);
const COUNTS = new Set(["segment_id", "total_segments"]);

/** What ends a stream: `code` as in the protocol's table, or `unreachable`, `closed`. */
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
 * @param {string | URL} address Of the endpoint; `https:` means `wss:`.
 * @param {Options} [options]
 * @returns {Promise<Stream>} When its config is in force.
 */
export async function connect(address, options = {}) {
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
    this._key = key;
    this._patience = patience * 1000;
    this._WebSocket = WebSocket;
    /** The values that the server put into force. @type {Frame} */
    this.configured = { type: "status" };
    /** `open`, `lost` or `ended`. @type {string} */
    this.state = "lost";
    /** @type {Record<string, any>} */
    this._values = { ...config, resumable: true, type: "config" };
    /** What was said and is still needed, by number: not known to have arrived, unanswered, no words yet. @type {Said[]} */
    this._log = [];
    /** Who waits for which answer, in the order of asking. @type {Record<string, (Waiter | null)[]>} */
    this._waiting = {};
    this._number = this._arrived = this._given = 1; // messages of this session: said, known to be there, on their way
    this._unsure = this._sinceAsked = this._received = this._heardAt = 0;
    this._token = "";
    this._clock = 0; // seconds of audio put, on the clock of the first session
    this._shift = this._idShift = this._lastId = this._lastEnd = 0;
    /** Finals since the last commit. @type {string[]} */
    this._texts = [];
    this._isNew = this._isStopped = false;
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

  /** Seconds of sound that the server is not known to have. */
  get backlog() {
    const first = this._log.find((said) => said.number > this._arrived && said.kind === "audio");
    return first ? this._clock - first.start : 0;
  }

  /**
   * Send samples; resolves when more may be sent, for which a microphone need not wait.
   * @param {Float32Array} samples Of -1..1, interleaved if the config says `channels`.
   */
  async send(samples) {
    if (this.state === "ended") throw this._late;
    const { sample_rate: rate, channels, audio_format: format } = this.configured;
    const bytes = format === "s16le" ? asIntegers(samples) : samples.slice().buffer;
    const sampleSize = channels * (format === "s16le" ? 2 : 4);
    if (samples.length) this._put("audio", bytes, { seconds: samples.length / rate / channels, values: { sampleSize } });
    if (!this._hasRoom) await new Promise((resolve) => this._senders.push(() => resolve(null)));
    if (this._failure) throw this._failure;
  }

  /** Have everything finalised. @returns {Promise<string>} The transcript since the last commit. */
  commit() {
    return this._ask("commit").then((frame) => frame.text);
  }

  /** Have the server forget everything: its clock is at zero then. */
  async reset() {
    const asked = this._ask("reset");
    this._clock = 0;
    await asked;
  }

  /** @returns {Promise<number>} Seconds to the server and back. */
  async ping() {
    const start = performance.now();
    await this._ask("ping");
    return (performance.now() - start) / 1000;
  }

  /** Change the config; rejects if the server cannot take it, and the old one stays. @param {Record<string, any>} values */
  async configure(values) {
    await this._ask("config", values);
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
      this._put(kind, JSON.stringify({ ...values, type: kind }), { waits: { resolve, reject }, values });
    });
  }

  /**
   * @param {string} kind
   * @param {Message} message
   * @param {{seconds?: number, waits?: Waiter | null, values?: Record<string, any>}} [more]
   * @returns {void}
   */
  _put(kind, message, { seconds = 0, waits = null, values = {} } = {}) {
    const size = typeof message === "string" ? message.length : message.byteLength;
    const start = this._clock;
    this._clock += seconds;
    this._log.push({ number: ++this._number, kind, message, size, start, end: this._clock, waits, values });
    if (kind !== "audio") this._expect(kind, waits);
    this._unsure += size;
    this._sinceAsked += size + ASK_BYTES / ASK_MESSAGES;
    if (kind === "ping") this._sinceAsked = 0;
    else if (this._sinceAsked >= ASK_BYTES) return this._put("ping", '{"type":"ping"}');
    this._write();
  }

  /** @param {string} kind @param {Waiter | null} waits */
  _expect(kind, waits) {
    const waiting = (this._waiting[kind] ??= []);
    if (kind === "ping" && !waiting.length) this._heardAt = Date.now();
    waiting.push(waits);
  }

  get _hasRoom() {
    return this.state === "ended" || (this._unsure <= UNSURE && this._given === this._number);
  }

  /** Give the socket what it has room for, and look again later. */
  _write() {
    while (this.state === "open" && this._given < this._number && this._socket.bufferedAmount < BUFFERED) {
      this._given++; // before it is sent: its answer may come first
      this._socket.send(this._log[this._given - this._log[0].number].message);
    }
    if (this._hasRoom) this._senders.splice(0).forEach((wake) => wake());
    if (this.state !== "open" || this._timer || this._given === this._number) return;
    this._timer = setTimeout(() => {
      this._timer = null;
      this._write();
    }, LOOK_AGAIN);
  }

  /** Note that the server has the messages up to a number, and forget what is not needed. @param {number} number */
  _note(number) {
    this._arrived = Math.max(this._arrived, number);
    this._unsure = this._log.reduce((sum, said) => sum + (said.number > this._arrived ? said.size : 0), 0);
    const kept = Math.max(this._lastEnd, this._clock - KEPT);
    const isNeeded = (/** @type {Said} */ said) =>
      said.number > this._arrived || said.waits || (said.kind === "audio" && said.end > kept);
    const first = this._log.findIndex(isNeeded);
    this._log.splice(0, first < 0 ? this._log.length : first);
    this._write();
  }

  // ---- connections

  /** Begin a session, and say to it what is not known to have become words. */
  _begin() {
    return this._greet(this._values, (first, socket) => {
      if (first.state !== "configured") return false;
      this.configured = first;
      this._token = first.resume_token ?? "";
      this._received = first.seq ?? 0;
      this._sayAgain();
      this._adopt(socket);
      return true;
    });
  }

  /** Number afresh what a new session must hear: audio behind the last final, and what was not answered. */
  _sayAgain() {
    const reset = this._log.map((said) => said.kind === "reset" && Boolean(said.waits)).lastIndexOf(true);
    const from = reset < 0 ? this._lastEnd : 0;
    this._log = this._log.filter((said, at) => said.waits || (at > reset && said.kind === "audio" && said.end > from));
    const sound = this._log.find((said) => said.kind === "audio");
    if (sound && sound.start < from) cut(sound, from, this.configured.sample_rate);
    this._shift = reset < 0 ? (sound?.start ?? this._clock) : 0;
    this._idShift = reset < 0 ? this._lastId : 0;
    this._waiting = {};
    this._number = this._arrived = this._given = 1;
    for (const said of this._log) {
      said.number = ++this._number;
      if (said.kind !== "audio") this._expect(said.kind, said.waits);
    }
    this._note(1);
  }

  /** @returns {Promise<boolean>} Take the session up where it was lost. */
  _resume() {
    const wish = { type: "config", resume: this._token, received: this._received };
    return this._greet(wish, (first, socket) => {
      if (first.state !== "resumed") return false;
      const has = first.received_messages;
      for (const { kind, number } of [...this._log]) {
        // An answer may have been lost with the connection.
        if (kind === "ping" && number > this._arrived && number <= has) this._answer("ping", { type: "pong" });
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
    this._heardAt = Date.now();
    socket.onmessage = (/** @type {{data: string}} */ { data }) => this._hear(JSON.parse(data));
    socket.onclose = (/** @type {{code: number}} */ { code }) => this._lose(code);
    this._rounds = setInterval(() => {
      if (this._waiting.ping?.length && Date.now() - this._heardAt > DEAF) this._lose(1006);
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
        const first = JSON.parse(data);
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

  /** Try until it goes on, or cannot. */
  async _mend() {
    this.state = "lost";
    this._tell({ type: "connection", state: "lost" });
    const until = Date.now() + this._patience;
    for (let wait = FIRST_PAUSE; this.state === "lost"; wait = Math.min(2 * wait, LONGEST_PAUSE)) {
      try {
        if (await this._attempt()) return;
      } catch (error) {
        const failure = /** @type {StreamError} */ (error);
        const passes = PASSING.has(failure.code) || failure.detail.quota === "concurrent_streams";
        if (!passes || Date.now() > until) return this._finish(failure);
      }
      await pause(wait * (0.5 + Math.random() / 2)); // clients that were lost together come back one by one
    }
  }

  /** @returns {Promise<boolean>} */
  async _attempt() {
    if (this._token) {
      try {
        return await this._resume();
      } catch (error) {
        if (/** @type {StreamError} */ (error).code !== "resume_failed") throw error;
        this._token = "";
      }
    }
    if (this._isStopped) this._finish(null); // only its close was missed
    if (this.state === "ended") return true;
    this._isNew = true;
    await this._begin();
    this._tell({ type: "connection", state: "anew", at: this._shift });
    return true;
  }

  // ---- what is heard

  /** @param {Frame} frame */
  _hear(frame) {
    this._heardAt = Date.now();
    if (frame.seq) this._received = frame.seq;
    if (this._shift || this._idShift) this._move(frame);
    switch (frame.type === "status" ? frame.state : frame.type) {
      case "pong":
        return this._answer("ping", frame);
      case "error":
        return this._refuse(frame);
      case "final":
        this._lastId = frame.segment_id;
        this._lastEnd = frame.segment_end;
        this._texts.push(frame.text);
        break;
      case "full_transcript":
        this._transcribe(frame);
        break;
      case "reset":
        this._answer("reset", frame);
        this._shift = this._idShift = this._lastId = this._lastEnd = 0;
        this._texts = [];
        break;
      case "configured":
        this.configured = frame;
        this._answer("config", frame);
        break;
    }
    this._tell(frame);
  }

  /** @param {Frame} frame */
  _transcribe(frame) {
    if (this._isNew) frame.text = this._texts.join(" ");
    this._texts = [];
    const kind = ["commit", "stop"].find((one) => this._waiting[one]?.length);
    this._isStopped ||= kind === "stop";
    if (kind) this._answer(kind, frame); // else the server is about to close, and delivers what it heard
  }

  /** @param {string} kind @param {Frame} frame */
  _answer(kind, frame) {
    const waits = this._waiting[kind]?.shift();
    const said = this._log.find((one) => one.kind === kind && (waits ? one.waits === waits : one.number > this._arrived));
    if (said) this._settle(said);
    if (said && kind === "config") Object.assign(this._values, said.values);
    waits?.resolve(frame);
  }

  /** Note that a message was answered, and so everything before it is done with. @param {Said} said */
  _settle(said) {
    said.waits = null;
    if (said.kind !== "ping") this._lastEnd = Math.max(this._lastEnd, said.start);
    this._note(said.number);
  }

  /** Note an error: it ends the stream, or refuses a config, or is for whoever reads. @param {Frame} frame */
  _refuse(frame) {
    if (CLOSING.has(frame.code)) return void (this._lastError = frame);
    const waits = OF_AUDIO.has(frame.code) ? null : this._waiting.config?.shift();
    if (!waits) return this._tell(frame);
    for (const said of this._log) if (said.waits === waits) said.waits = null;
    waits.reject(new StreamError(frame.code, frame.message, frame));
  }

  /** Bring a frame's times and ids to the first session's. @param {any} body */
  _move(body) {
    for (const [key, value] of Object.entries(body)) {
      if (key === "segment_range") body[key] = value.map((/** @type {number} */ id) => id + this._idShift);
      else if (typeof value === "object" && value) this._move(value);
      else if (typeof value !== "number") continue;
      else if (MOMENTS.has(key)) body[key] = Math.round((value + this._shift) * 1e6) / 1e6;
      else if (COUNTS.has(key)) body[key] = value + this._idShift;
    }
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
    const [stop] = this._waiting.stop ?? [];
    if (stop && this._isNew && this._texts.length && !this._failure) {
      // The new session knew of no words; those of the one before are owed.
      this._tell({ type: "full_transcript", text: this._texts.join(" ") });
      stop.resolve({ text: this._texts.join(" ") });
    }
    const late = this._late;
    for (const waits of Object.values(this._waiting).flat()) waits?.reject(late);
  }
}

/** Cut a message so that it begins at a second. @param {Said} said @param {number} second @param {number} rate */
function cut(said, second, rate) {
  const samples = Math.round((second - said.start) * rate);
  said.message = /** @type {ArrayBuffer} */ (said.message).slice(samples * said.values.sampleSize);
  said.size = said.message.byteLength;
  said.start += samples / rate;
}

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
