// Re-creates a lost session: keeps the recent audio, replays it, and drops words already delivered. Part of the client
// in echoic.js; the rules and numbers are those of docs/decisions/0017-lost-sessions.md.

import { kindOf } from "./frames.js";

/**
 * @typedef {import("./echoic.js").Frame} Frame
 * @typedef {string | ArrayBuffer} Message
 * @typedef {{resolve: (answer: Frame) => void, refuse: (error: Frame) => void, reject: (failure: Error) => void}} Waiter
 * @typedef {{number: number, kind: string, message: Message, size: number, seconds: number, waiter: Waiter | null,
 *   values: Record<string, any>, isAnswered: boolean}} SentMessage `number` counts the messages of a session from 1,
 *   `size` is in bytes, `seconds` are those of audio.
 * @typedef {{text: string, word: any}} DecodedWord `word` as in a final's `words`, if it has times.
 */

/** Seconds before the last final that are replayed at least: a decoder holds back what later audio may still change. */
const REPLAY_LEAD = 20;
/** Seconds after the last final by which every word before it has been decoded again. */
const SETTLE_SECONDS = 5;
/** Seconds after which audio that arrived, and that gave no final, counts as silence and is dropped. */
const SILENCE_SECONDS = 120;
const REFUSALS = new Set(["invalid_config", "model_unavailable", "bad_json"]);
/** Keys whose values are seconds on the session's clock; keys whose values are ids of finals, or count them. */
const TIME_KEYS = new Set(
  ["segment", "chunk", "spoken"].flatMap((name) => [`${name}_start`, `${name}_end`]).concat("cumulative_audio", "start", "end"),
);
const SEGMENT_ID_KEYS = new Set(["segment_id", "total_segments"]);

/**
 * What is needed to continue a lost session in a new one: recent audio, control messages without an answer, and the words
 * delivered for that audio. Times, ids and transcripts continue those of the lost session.
 */
export class SessionReplay {
  /** Messages that a new session needs. @type {SentMessage[]} */
  log = [];
  /** Seconds on the session's clock at which the log begins. */
  start = 0;
  /** Number of the last message that was answered. */
  answeredNumber = 1;
  /** The last `configured`. @type {Frame} */
  configured = { type: "status" };
  /** Whether the session replaces a lost one. */
  isReplaying = false;
  /** Second at which a server that stopped in peace ended the transcript. @type {number | null} */
  cutAt = null;
  /** Texts of finals since the last commit. @type {string[]} */
  texts = [];
  /** Ends and words of finals in the log. @type {{end: number, words: string[]}[]} */
  delivered = [];
  timeShift = 0; // added to the server's times
  idShift = 0; // added to the server's ids
  lastEnd = 0;
  lastId = 0;
  /** @type {WordMatcher | null} */
  matcher = null;
  /** @type {DecodedWord[]} */
  heldWords = [];
  /** @type {Frame | null} */
  heldFinal = null;

  /** @param {Record<string, any>} values The config in force where the log begins. */
  constructor(values) {
    this.values = values;
  }

  get text() {
    return this.texts.join(" ");
  }

  // ---- sent messages

  /**
   * Record a message.
   * @param {number} number @param {string} kind @param {Message} message
   * @param {{seconds?: number, waiter?: Waiter | null, values?: Record<string, any>}} more
   */
  record(number, kind, message, { seconds = 0, waiter = null, values = {} }) {
    const sent = { number, kind, message, size: sizeOf(message), seconds, waiter, values, isAnswered: false };
    this.log.push(sent);
    return sent;
  }

  /** Return the first message of a kind without an answer. @param {string} kind */
  unanswered(kind) {
    return this.log.find((sent) => sent.kind === kind && !sent.isAnswered);
  }

  /**
   * Start a session, to which all of the log is sent.
   * @param {Frame} first The answer to its config.
   * @returns {Frame | null} What to tell the user; null for the first session.
   */
  startSession(first) {
    const { cutAt, configured } = this;
    const isOther = configured.active_model !== first.active_model;
    this.isReplaying = Boolean(configured.state);
    this.configured = this.isReplaying ? { ...configured, active_model: first.active_model } : first;
    this.values = withDurations(this.values, first);
    this.answeredNumber = 1;
    this.cutAt = null;
    this.timeShift = this.start;
    this.idShift = this.lastId;
    const words = this.delivered.flatMap((final) => final.words);
    this._stopMatching(words.length ? new WordMatcher(words) : null);
    const news = { ...(isOther && { active_model: first.active_model }), ...(cutAt !== null && { cut: cutAt }) };
    return this.isReplaying ? { type: "connection", state: "anew", ...news } : null;
  }

  /**
   * Settle the first message of a kind with its answer, and remove it from the log. A `stop` stays there: a new session
   * must be stopped too.
   * @param {string} kind @param {Frame} frame
   * @returns {number | null} Its second on the clock; null if there is no such message.
   */
  settle(kind, frame) {
    const sent = this.unanswered(kind);
    if (!sent) return null;
    const index = this.log.indexOf(sent);
    const second = this.start + this.log.slice(0, index).reduce((sum, { seconds }) => sum + seconds, 0);
    if (frame.type === "error") sent.waiter?.refuse(frame);
    else sent.waiter?.resolve(frame);
    sent.waiter = null;
    sent.isAnswered = true;
    this.answeredNumber = Math.max(this.answeredNumber, sent.number);
    if (kind !== "stop") this.log.splice(index, 1);
    return second;
  }

  /** Drop everything before a message of the log. @param {SentMessage} sent */
  _discardUntil(sent) {
    const gone = this.log.splice(0, this.log.indexOf(sent));
    this.start = round(gone.reduce((sum, { seconds }) => sum + seconds, this.start));
    this._dropDelivered();
  }

  /** Drop audio before a second on the clock, in whole samples. @param {number} second @param {number} [last] Number of the last message to touch. */
  _discardBefore(second, last = this.answeredNumber) {
    const rate = this.configured.sample_rate;
    let samples = Math.round((second - this.start) * rate);
    while (samples > 0 && this.log[0]?.kind === "audio" && this.log[0].number <= last) {
      const sent = /** @type {SentMessage} */ (this.log.shift());
      const all = Math.round(sent.seconds * rate);
      const taken = Math.min(samples, all);
      if (taken < all) {
        const message = /** @type {ArrayBuffer} */ (sent.message).slice((sent.size / all) * taken);
        this.log.unshift({ ...sent, message, size: sizeOf(message), seconds: (all - taken) / rate });
      }
      samples -= taken;
      this.start += taken / rate;
    }
    this._dropDelivered();
  }

  _dropDelivered() {
    this.delivered = this.delivered.filter(({ end }) => end > this.start);
  }

  // ---- received frames

  /** Record a frame and return the frames to deliver: none if they were delivered before. @param {Frame} frame @returns {Frame[]} */
  filterFrame(frame) {
    if (this.isReplaying) this._shiftTimes(frame);
    switch (kindOf(frame)) {
      case "final":
        return this._onFinal(frame);
      case "partial":
        return this.matcher ? [] : [frame];
      case "full_transcript":
        return this._onFullTranscript(frame);
      case "configured":
        return this._onConfigured(frame);
      case "reset":
        return this._onReset(frame);
      case "pong":
        return this._onPong(frame);
      case "error":
        return this._onError(frame);
    }
    return [frame];
  }

  /** Change the times and ids in a frame to those of the first session, in place. @param {any} body */
  _shiftTimes(body) {
    for (const [key, value] of Object.entries(body)) {
      if (key === "segment_range") body[key] = value.map((/** @type {number} */ id) => id + this.idShift);
      else if (typeof value === "object" && value) this._shiftTimes(value);
      else if (typeof value !== "number") continue;
      else if (TIME_KEYS.has(key)) body[key] = round(value + this.timeShift);
      else if (SEGMENT_ID_KEYS.has(key)) body[key] = value + this.idShift;
    }
  }

  /** @param {Frame} frame @returns {Frame[]} */
  _onFinal(frame) {
    const words = wordsOf(frame);
    const { matcher, lastEnd } = this;
    if (!matcher) return [this._deliverFinal(frame, words)];
    for (const { text } of words) matcher.pushWord(text);
    this.heldWords.push(...words);
    this.heldFinal = frame;
    const isNew = frame.segment_end > lastEnd && matcher.isComplete;
    if (isNew || frame.segment_start >= lastEnd + SETTLE_SECONDS) return this._releaseFinal();
    this.idShift -= frame.segment_id - this.lastId;
    return [];
  }

  /** Return the words of the held finals that are new, as one final; later finals are all new. @returns {Frame[]} */
  _releaseFinal() {
    const { heldFinal: frame, matcher, heldWords } = this;
    this._stopMatching();
    if (!frame || !matcher) return [];
    const words = heldWords.slice(matcher.repeatedCount);
    if (!words.length) {
      this.idShift -= frame.segment_id - this.lastId;
      return [];
    }
    const text = words.map((one) => one.text).join(" ");
    return [this._deliverFinal({ ...frame, text, ...(frame.words && { words: words.map(({ word }) => word) }) }, words)];
  }

  /** @param {WordMatcher | null} [next] */
  _stopMatching(next = null) {
    this.matcher = next;
    this.heldWords = [];
    this.heldFinal = null;
  }

  /** @param {Frame} frame @param {DecodedWord[]} words */
  _deliverFinal(frame, words) {
    let final = frame;
    if (this.isReplaying) {
      const start = Math.max(frame.segment_start, this.lastEnd);
      const end = Math.max(frame.segment_end, start);
      const place = { segment_start: start, segment_end: end, new_audio_duration: round(end - start), cumulative_audio: end };
      this.idShift += this.lastId + 1 - frame.segment_id;
      final = { ...frame, ...place, segment_id: this.lastId + 1 };
    }
    this.lastId = final.segment_id;
    this.lastEnd = final.segment_end;
    this.texts.push(final.text);
    this.delivered.push({ end: final.segment_end, words: words.map(({ text }) => text) });
    const begin = this.delivered.filter(({ end }) => end <= this.lastEnd - REPLAY_LEAD).at(-1);
    if (begin && !this.unanswered("reset")) this._discardBefore(begin.end);
    return final;
  }

  /** @param {Frame} frame @returns {Frame[]} */
  _onFullTranscript(frame) {
    const late = this._releaseFinal();
    if (this.isReplaying) frame.text = this.text;
    this.texts = [];
    const second = this.settle("commit", frame);
    const stop = this.unanswered("stop");
    if (second !== null) this.lastEnd = Math.max(this.lastEnd, second);
    else if (stop) {
      this.settle("stop", frame);
      this._discardUntil(stop);
    } else this._cut();
    return frame.text || second !== null || !this.isReplaying ? [...late, frame] : late;
  }

  /** Handle a transcript that was not asked for: the server is stopping, and has delivered every word. */
  _cut() {
    if (this.lastEnd < this.start) return;
    this.cutAt = this.lastEnd;
    this._discardBefore(this.lastEnd, Infinity);
    this.delivered = [];
  }

  /** @param {Frame} frame @returns {Frame[]} */
  _onConfigured(frame) {
    const late = this._releaseFinal();
    const sent = this.unanswered("config");
    if (sent) {
      this.values = withDurations(mergeConfigs(this.values, sent.values), frame);
      if (!hasSameFormat(frame, this.configured)) this._discardUntil(sent); // a session is replayed in one format
      this.settle("config", frame);
    }
    this.configured = frame;
    return [...late, frame];
  }

  /** @param {Frame} frame @returns {Frame[]} */
  _onReset(frame) {
    const sent = this.unanswered("reset");
    if (sent) {
      this._discardUntil(sent);
      this.settle("reset", frame);
    }
    this.start = this.timeShift = this.idShift = this.lastId = this.lastEnd = 0;
    [this.delivered, this.texts] = [[], []];
    this._stopMatching();
    return [frame];
  }

  /** @param {Frame} frame @returns {Frame[]} */
  _onPong(frame) {
    const second = this.settle("ping", frame);
    if (second !== null && !this.unanswered("reset")) {
      const silentSince = second - SILENCE_SECONDS;
      if (silentSince > Math.max(this.lastEnd, this.start + REPLAY_LEAD)) this._discardBefore(silentSince);
    }
    return [frame];
  }

  /** @param {Frame} frame @returns {Frame[]} */
  _onError(frame) {
    if (REFUSALS.has(frame.code) && this.settle("config", frame) !== null) return [];
    const isOld = this.matcher && frame.code === "decode_failed" && frame.end <= this.lastEnd;
    return isOld ? [] : [frame];
  }
}

/**
 * Finds how many of the words of a new session were delivered by the lost one. All delivered words are aligned with the
 * beginning of the decoded ones by edit distance, so a word that is decoded differently the second time does not matter
 * (P. H. Sellers, "The theory and computation of evolutionary distances", 1980).
 */
export class WordMatcher {
  /** How many of the decoded words are repetitions, as far as is known. */
  repeatedCount = 0;

  /** @param {string[]} delivered Words of the lost session since the replayed audio begins. */
  constructor(delivered) {
    this._delivered = delivered.map(normalize);
    /** Distance of each prefix of the delivered words to all decoded words. */
    this._distances = [0, ...delivered.map((_, at) => at + 1)];
    this._lowest = delivered.length;
    this._count = 0;
  }

  /** Add the next decoded word. @param {string} word */
  pushWord(word) {
    const decoded = normalize(word);
    const before = this._distances;
    this._distances = [++this._count];
    this._delivered.forEach((delivered, at) => {
      const substituted = before[at] + Number(delivered !== decoded);
      this._distances.push(Math.min(substituted, before[at + 1] + 1, this._distances[at] + 1));
    });
    const distance = /** @type {number} */ (this._distances.at(-1));
    if (distance < this._lowest) [this._lowest, this.repeatedCount] = [distance, this._count];
  }

  /** Whether the decoded words are more likely to go beyond the delivered ones than not. */
  get isComplete() {
    return this._lowest <= Math.min(...this._distances.slice(0, -1));
  }
}

/** @param {string} word */
const normalize = (word) => word.toLowerCase().replace(/[^\p{L}\p{N}]/gu, "");

/** @param {Frame} final @returns {DecodedWord[]} */
const wordsOf = (final) =>
  final.words?.map((/** @type {any} */ word) => ({ text: word.word, word })) ??
  final.text.split(/\s+/).filter(Boolean).map((/** @type {string} */ text) => ({ text, word: null }));

/** Return a config with changes; one that names a model and no variant drops the old variant. @param {Record<string, any>} values @param {Record<string, any>} changes */
function mergeConfigs(values, changes) {
  const given = Object.entries(changes).filter(([, value]) => value !== null && value !== undefined);
  const { model_variant, variant, ...others } = values;
  const namesModel = given.some(([key]) => key === "model" || key === "model_variant" || key === "variant");
  return { ...(namesModel ? others : values), ...Object.fromEntries(given) };
}

/** Return a config with the durations in force: one of them alone might not fit the other's default. @param {Record<string, any>} values @param {Frame} configured */
const withDurations = (values, { chunk_duration, overlap_duration }) => ({ ...values, chunk_duration, overlap_duration });
/** @param {Frame} one @param {Frame} other */
const hasSameFormat = (one, other) => ["sample_rate", "channels", "audio_format"].every((key) => one[key] === other[key]);
/** @param {Message} message */
const sizeOf = (message) => (typeof message === "string" ? message.length : message.byteLength);
/** Round to the microsecond. @param {number} seconds */
const round = (seconds) => Number(seconds.toFixed(6));
