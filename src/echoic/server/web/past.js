// What was said to a server, and what came of it: where a session is lost, another is told what it takes to go on.
// It goes with echoic.js. Why it does so is told in docs/decisions/0017-lost-sessions.md.

/**
 * @typedef {import("./echoic.js").Frame} Frame
 * @typedef {string | ArrayBuffer} Message
 * @typedef {{number: number, kind: string, message: Message, size: number, start: number, end: number, base: number,
 *   form: Frame, waits: Waiter | null, values: Record<string, any>, answer: Frame | null}} Said A message: its seconds
 *   on the clock, the second at which those began to hear that hear it, and the config of its samples.
 * @typedef {{resolve: (answer: Frame) => void, refuse: (error: Frame) => void, reject: (failure: Error) => void}} Waiter
 */

/** Seconds before the last final that a new session hears again at least: no utterance of any engine is longer. */
const LEAD = 30;
/** Leads after which something is forgotten, and that are kept then at most, where there is a pause. */
const MOST = 2;
const CHOICE = 1.5;
/** A session begins at a multiple: detectors hear in steps of 32 ms, recognisers of 80 ms. */
const GRID = 0.16;
/** Seconds after which sound that arrived, and that no final came of, is silence. */
const SILENCE = 120;
/** Seconds by which times of one place may differ; seconds on each side of a place that tell how loud it is. */
const ROUNDED = 1e-5;
const AROUND = 0.25;
const REFUSALS = new Set(["invalid_config", "model_unavailable", "bad_json"]);
const MOMENTS = new Set(
  ["segment", "chunk", "spoken"].flatMap((name) => [`${name}_start`, `${name}_end`]).concat("cumulative_audio", "start", "end"),
);
const COUNTS = new Set(["segment_id", "total_segments"]);
const WORD = { word: "", start: 0, end: 0 };
const SOURCE = { segment_range: [0], start: 0, end: 0 };
const INSIGHT = { stage: "", source: SOURCE, summary: [""], topics: [""], decisions: [""], action_items: [{ description: "" }] };
/** What of a frame must be there, and is like this; of `?` what is there must be. @type {Record<string, any>} */
const SHAPES = {
  configured: { sample_rate: 0, channels: 0, audio_format: "", chunk_duration: 0, overlap_duration: 0 },
  resumed: { received_messages: 0 },
  partial: { text: "", segment_start: 0 },
  final: { text: "", segment_id: 0, segment_start: 0, segment_end: 0, "words?": [WORD], "speaker_id?": 0, "speaker_label?": "" },
  full_transcript: { text: "" },
  diarization_summary: { speaker_map: [{ segment_id: 0, speaker_id: 0, speaker_label: "" }] },
  insight: INSIGHT,
  insight_error: { message: "" },
  warning: { code: "", message: "" },
  error: { code: "", message: "" },
};

/**
 * Read a server's message.
 * @param {any} data
 * @returns {Frame | null} Null: it is no frame. One of a known type in a shape that is not known is of type `unreadable`.
 */
export function read(data) {
  let frame;
  try {
    frame = JSON.parse(data);
  } catch {
    return null;
  }
  if (typeof frame?.type !== "string") return null;
  const shape = Object.hasOwn(SHAPES, kindOf(frame)) ? SHAPES[kindOf(frame)] : {};
  return isLike(frame, shape) ? frame : { type: "unreadable", seq: frame.seq, frame };
}

/** @param {Frame} frame */
const kindOf = (frame) => (frame.type === "status" ? String(frame.state) : frame.type);

/** @param {any} value @param {any} like @returns {boolean} */
function isLike(value, like) {
  if (typeof like === "number") return Number.isFinite(value);
  if (Array.isArray(like)) return Array.isArray(value) && value.every((one) => isLike(one, like[0]));
  if (typeof like !== "object") return typeof value === typeof like;
  return typeof value === "object" && value !== null && Object.entries(like).every(([key, one]) => {
    const name = key.replace("?", "");
    return (name !== key && (value[name] ?? null) === null) || isLike(value[name], one);
  });
}

/**
 * What was said since a moment at which a window ended, and what came of it. Another session that is told all of it
 * delivers what the lost one would have: windows fall on the same places, times and ids differ by a constant.
 */
export class Past {
  // From the server's clock and ids to ours.
  shift = 0;
  idShift = 0;
  lastId = 0;
  /** End and start of the last window that is known to be delivered. */
  place = [-1, -1];
  /** Ends of windows. @type {number[]} */
  marks = [];
  /** The last final of which each kind of news told. @type {Record<string, number>} */
  newest = {};

  // Seconds: where the log begins, where it ends, the last change of rate or model.
  start = 0;
  clock = 0;
  base = 0;
  /** @type {Said[]} */
  log = [];
  /** Number of the last message that was answered. */
  answered = 1;
  /** Answers that come once more. @type {Record<string, number>} */
  again = {};
  /** Finals since the last commit. @type {string[]} */
  texts = [];
  isNew = false;
  /** Whether the last transcript came once more. */
  repeats = false;
  /** Where the server stopped in peace, since the session began; seconds. @type {number | null} */
  cutAt = null;
  /** Insights of commits whose transcripts were told. */
  due = 0;
  /** The answer to the config in force where the log begins. @type {Frame} */
  first = { type: "status" };
  /** The last answer. */
  configured = this.first;

  /** @param {Record<string, any>} values The config in force where the log begins. */
  constructor(values) {
    this.values = values;
  }

  get text() {
    return this.texts.join(" ");
  }

  /** @param {string} kind @returns {Said | undefined} The first that has no answer. */
  waiting(kind) {
    return this.log.find((said) => said.kind === kind && !said.answer);
  }

  /** @param {string} kind */
  waits(kind) {
    return this.waiting(kind) !== undefined;
  }

  /**
   * Note a message.
   * @param {number} number @param {string} kind @param {Message} message
   * @param {{seconds?: number, waits?: Waiter | null, values?: Record<string, any>}} more
   */
  put(number, kind, message, { seconds = 0, waits = null, values = {} }) {
    const [size, start, end] = [sizeOf(message), this.clock, this.clock + seconds];
    /** @type {Said} */
    const said = { number, kind, message, size, start, end, base: this.base, form: this.configured, waits, values, answer: null };
    this.log.push(said);
    this.clock = end;
    if (kind === "reset") this.clock = this.base = 0;
    return said;
  }

  /**
   * Note that a session began, to which all of the log is said.
   * @param {Frame} first Its answer.
   * @returns {Frame | null} What there is to tell of it: nothing of the very first.
   */
  begin(first) {
    const before = this.first;
    const cut = this.cutAt;
    this.cutAt = null;
    this.isNew = Boolean(before.state);
    if (!this.isNew) this.configured = first;
    this.first = first;
    this.values = inForce(this.values, first);
    this.again = {};
    for (const { kind, answer } of this.log) if (answer) this.again[kind] = (this.again[kind] ?? 0) + 1;
    if (!this.again.config) this.configured = { ...this.configured, active_model: first.active_model };
    this.shift = this.start;
    this.idShift = this.lastId;
    this.answered = 1;
    const isOther = before.active_model !== first.active_model;
    const news = { ...(isOther && { active_model: first.active_model }), ...(cut !== null && { cut }) };
    return this.isNew ? { type: "connection", state: "anew", ...news } : null;
  }

  /** Note the answer to the first message of its kind that has none. @param {string} kind @param {Frame} frame */
  answer(kind, frame) {
    const said = this.waiting(kind);
    if (!said) return;
    const isError = frame.type === "error";
    if (isError) said.waits?.refuse(frame);
    else said.waits?.resolve(frame);
    said.waits = null;
    said.answer = frame;
    this.answered = Math.max(this.answered, said.number);
    if (isError || kind === "ping") this.log.splice(this.log.indexOf(said), 1); // is not said again
    return said;
  }

  // ---- what is heard

  /** Note a frame. @param {Frame} frame @returns {Frame | null} As it is to be told; null: it was. */
  hear(frame) {
    if (this.isNew) this.move(frame);
    switch (kindOf(frame)) {
      case "final":
        return this.final(frame);
      case "partial":
        return this.isNew && frame.segment_start < this.place[0] - ROUNDED ? null : frame;
      case "warning":
        return this.again.config ? null : frame;
      case "full_transcript":
        return this.transcript(frame);
      case "configured":
        return this.config(frame);
      case "reset":
        return this.reset(frame);
      case "pong":
        return this.pong(frame);
      case "error":
        return this.error(frame);
      case "diarization_summary":
        return this.summary(frame);
      case "insight":
        if (frame.stage !== "final") return this.isNews(frame.stage, frame.source.segment_range[1]) ? frame : null;
        return this.due-- > 0 || !this.isNew ? frame : null;
    }
    return frame;
  }

  /** Bring a frame's times and ids to the first session's. @param {any} body */
  move(body) {
    for (const [key, value] of Object.entries(body)) {
      if (key === "segment_range") body[key] = value.map((/** @type {number} */ id) => id + this.idShift);
      else if (typeof value === "object" && value) this.move(value);
      else if (typeof value !== "number") continue;
      else if (MOMENTS.has(key)) body[key] = this.moved(value);
      else if (COUNTS.has(key)) body[key] = value + this.idShift;
    }
  }

  /** @param {number} value Seconds. @returns {number} A sample's, if it is that but for rounding. */
  moved(value) {
    const rate = this.configured.sample_rate;
    const nearest = Math.round((value + this.shift) * rate) / rate;
    return round(Math.abs(nearest - value - this.shift) < 2e-6 ? nearest : value + this.shift);
  }

  /** @param {Frame} frame */
  final(frame) {
    const { segment_id: id, segment_start: start, segment_end: end, text } = frame;
    if (this.isNew && end <= this.place[0] + ROUNDED && start <= this.place[1] + ROUNDED) {
      this.idShift -= id - this.lastId;
      return null;
    }
    this.lastId = id;
    this.texts.push(text);
    this.delivered(end, start);
    return frame;
  }

  /** @param {Frame} frame */
  transcript(frame) {
    this.repeats = this.isRepeated("commit") || this.isRepeated("stop");
    if (this.repeats) return null;
    this.due = Math.max(this.due, 0) + 1;
    if (this.isNew) frame.text = this.text;
    this.texts = [];
    const said = this.answer("commit", frame);
    if (said) this.delivered(said.start, said.start);
    else if (!this.answer("stop", frame)) this.cut();
    return frame.text || said || !this.isNew ? frame : null;
  }

  /** Note that the server is about to close, and delivered what it heard as if by a commit. */
  cut() {
    const [end] = this.place;
    if (end < this.start) return; // nothing was heard since
    const before = this.take(end);
    this.log.unshift(...before, seam(end, before.at(-1)?.base ?? this.base, this.configured));
    this.cutAt = end;
  }

  /** @param {Frame} frame */
  config(frame) {
    if (this.isRepeated("config")) {
      if (!this.again.config) this.configured = { ...this.configured, active_model: frame.active_model };
      return null;
    }
    const [before, said] = [this.configured, this.answer("config", frame)];
    this.configured = frame;
    if (!said) return frame;
    this.reached(said.start, said.start);
    const isSame = before.sample_rate === frame.sample_rate && before.active_model === frame.active_model;
    if (isSame || this.waits("reset")) return frame;
    this.base = round(said.start); // the server counts on from there
    if (this.clock === said.start) this.clock = this.base;
    return frame;
  }

  /** @param {Frame} frame */
  reset(frame) {
    const said = this.answer("reset", frame);
    if (said) for (const gone of this.log.splice(0, this.log.indexOf(said) + 1)) this.putInForce(gone);
    this.start = this.shift = this.idShift = this.lastId = 0;
    this.place = [-1, -1];
    [this.marks, this.texts, this.newest] = [[], [], {}];
    return frame;
  }

  /** @param {Frame} frame */
  pong(frame) {
    const said = this.answer("ping", frame);
    if (said && !this.waits("reset")) this.passSilence(said.start);
    return frame;
  }

  /** Note an error, which may refuse a config: one that is asked for now, for such are told at once. @param {Frame} frame */
  error(frame) {
    if (REFUSALS.has(frame.code)) {
      const isInOrder = frame.code === "model_unavailable" || !this.waits("config");
      if (!(isInOrder && this.isRepeated("config")) && this.answer("config", frame)) return null;
    }
    const isOld = this.isNew && frame.code === "decode_failed" && frame.end <= this.place[0] + ROUNDED;
    return isOld ? null : frame;
  }

  /** @param {Frame} frame */
  summary(frame) {
    const ids = frame.speaker_map.map((/** @type {any} */ one) => one.segment_id);
    const isOld = this.repeats || !this.isNews("speakers", ids.length ? Math.max(...ids) : this.lastId);
    return isOld ? null : frame;
  }

  /** @param {string} kind */
  isRepeated(kind) {
    return Boolean(this.again[kind]) && this.again[kind]-- > 0;
  }

  /** @param {string} kind @param {number} last The last final that is told of. */
  isNews(kind, last) {
    const before = this.newest[kind] ?? 0;
    this.newest[kind] = Math.max(before, last);
    return !this.isNew || last > before;
  }

  // ---- what can be forgotten

  /** @param {number} end @param {number} start */
  reached(end, start) {
    if (end > this.place[0] || (end === this.place[0] && start > this.place[1])) this.place = [end, start];
  }

  /** Note that everything up to here was delivered. @param {number} end @param {number} start */
  delivered(end, start) {
    this.reached(end, start);
    this.marks.push(end);
    if (this.start >= end - MOST * LEAD) return;
    const before = this.marks.filter((mark) => mark <= end - LEAD);
    const recent = before.filter((mark) => mark >= end - CHOICE * LEAD);
    const choice = (recent.length ? recent : before.slice(-1)).map((mark) => ({ mark, level: this.loudness(mark) }));
    if (choice.length) this.forget(choice.reduce((best, one) => (one.level < best.level ? one : best)).mark);
  }

  /** Forget sound of which no words came. @param {number} arrived Seconds. */
  passSilence(arrived) {
    const { chunk_duration: chunk, overlap_duration: overlap } = this.configured;
    const first = Math.max(this.place[0], 0) || overlap;
    const windows = Math.floor((arrived - SILENCE - first) / (chunk - overlap));
    const second = first + windows * (chunk - overlap);
    if (windows > 0 && second > this.start + LEAD) this.forget(second);
  }

  /** Begin shortly before a second at which a window ended, with a commit that ends it again there. @param {number} second */
  forget(second) {
    const later = this.log.findIndex(({ start }) => start >= second - ROUNDED);
    const { base } = this.log[Math.max(0, (later < 0 ? this.log.length : later) - 1)] ?? this;
    const start = base + (Math.ceil((second - base) / GRID - ROUNDED) - 1) * GRID;
    const isOpen = this.log.some((said) => said.kind !== "audio" && !said.answer && said.start <= second);
    if (start <= this.start || isOpen || this.waits("reset") || second > this.clock + ROUNDED) return;
    this.marks = this.marks.filter((mark) => mark > second);
    for (const said of this.take(start)) this.putInForce(said);
    this.start = this.log[0]?.start ?? second;
    const lead = this.take(second);
    this.log.unshift(...lead, seam(second, base, this.configured));
  }

  /** Take what was said before a second; a message is cut there. @param {number} second */
  take(second) {
    const count = this.log.findIndex(({ end }) => end > second + ROUNDED);
    const taken = this.log.splice(0, count < 0 ? this.log.length : count);
    const [first] = this.log;
    if (!first || first.start >= second - ROUNDED) return taken;
    const samples = Math.round((second - first.start) * first.form.sample_rate);
    const [middle, place] = [first.start + samples / first.form.sample_rate, samples * bytesOf(first.form)];
    const [before, after] = [[0, place], [place]].map((range) => /** @type {ArrayBuffer} */ (first.message).slice(...range));
    taken.push({ ...first, message: before, size: sizeOf(before), end: middle });
    this.log[0] = { ...first, message: after, size: sizeOf(after), start: middle };
    return taken;
  }

  /** Take a config that is said no more into the one that a session begins with. @param {Said} said */
  putInForce({ kind, values, answer }) {
    if (kind !== "config" || !answer) return;
    const given = Object.entries(values).filter(([, value]) => value !== null && value !== undefined);
    const { model_variant, variant, ...others } = this.values;
    const names = given.some(([key]) => key === "model" || key === "model_variant" || key === "variant");
    this.values = inForce({ ...(names ? others : this.values), ...Object.fromEntries(given) }, answer);
    this.first = answer;
  }

  /** How much there is to hear around a second. @param {number} second */
  loudness(second) {
    let sum = 0;
    for (const { kind, message, start, end, form } of this.log) {
      if (kind !== "audio" || end <= second - AROUND || start >= second + AROUND) continue;
      const isWhole = form.audio_format === "s16le";
      const values = new (isWhole ? Int16Array : Float32Array)(/** @type {ArrayBuffer} */ (message));
      const [from, to] = [-AROUND, AROUND].map((by) => Math.max(0, Math.round((second + by - start) * form.sample_rate)) * form.channels);
      for (const value of values.subarray(from, to)) sum += (value * value) / (isWhole ? 2 ** 30 : 1) / form.sample_rate;
    }
    return sum;
  }
}

/** A commit that is taken for answered. @param {number} second @param {number} base @param {Frame} form @returns {Said} */
function seam(second, base, form) {
  const [message, answer] = ['{"type":"commit"}', { type: "full_transcript" }];
  const empty = { number: 0, size: message.length, base, waits: null, values: {} };
  return { ...empty, kind: "commit", message, start: second, end: second, form, answer };
}

/** A config with the durations that came of it: one by one they might not fit. @param {Record<string, any>} values @param {Frame} configured */
const inForce = (values, { chunk_duration, overlap_duration }) => ({ ...values, chunk_duration, overlap_duration });
/** @param {Message} message */
const sizeOf = (message) => (typeof message === "string" ? message.length : message.byteLength);
/** Of a sample of all channels. @param {Frame} form */
const bytesOf = ({ channels, audio_format }) => channels * (audio_format === "s16le" ? 2 : 4);

/** Round to the microsecond as the server does: halves go to the even neighbour. @param {number} seconds */
function round(seconds) {
  const millionths = seconds * 1e6;
  const isHalf = Number.isInteger(seconds * 128) && millionths % 1 === 0.5;
  return isHalf ? (2 * Math.round(millionths / 2)) / 1e6 : Number(seconds.toFixed(6));
}
