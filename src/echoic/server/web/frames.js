// Parses messages of the server and checks their shapes. Part of the client in echoic.js.

/** @typedef {import("./echoic.js").Frame} Frame */

const WORD = { word: "", start: 0, end: 0 };
const SOURCE = { segment_range: [0], start: 0, end: 0 };
const INSIGHT = { stage: "", source: SOURCE, summary: [""], topics: [""], decisions: [""], action_items: [{ description: "" }] };
/** Keys that a frame must have, with an example of their type; a key with `?` may be missing. @type {Record<string, any>} */
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
 * Parse a message of the server.
 * @param {any} data
 * @returns {Frame | null} Null if it is no frame. A frame of a known type in an unknown shape has the type `unreadable`.
 */
export function parseFrame(data) {
  let frame;
  try {
    frame = JSON.parse(data);
  } catch {
    return null;
  }
  if (typeof frame?.type !== "string") return null;
  const shape = Object.hasOwn(SHAPES, kindOf(frame)) ? SHAPES[kindOf(frame)] : {};
  return hasShape(frame, shape) ? frame : { type: "unreadable", seq: frame.seq, frame };
}

/** Return a frame's type, or the state of a `status`. @param {Frame} frame */
export const kindOf = (frame) => (frame.type === "status" ? String(frame.state) : frame.type);

/** @param {any} value @param {any} example @returns {boolean} */
function hasShape(value, example) {
  if (typeof example === "number") return Number.isFinite(value);
  if (Array.isArray(example)) return Array.isArray(value) && value.every((one) => hasShape(one, example[0]));
  if (typeof example !== "object") return typeof value === typeof example;
  return typeof value === "object" && value !== null && Object.entries(example).every(([key, one]) => {
    const name = key.replace("?", "");
    return (name !== key && (value[name] ?? null) === null) || hasShape(value[name], one);
  });
}
