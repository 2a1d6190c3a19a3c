// Finals as text, SubRip, WebVTT and JSON: the rules of src/echoic/subtitles.py, and the same files.

/**
 * @typedef {{text: string, start: number, end: number, speaker: string | null, joined: boolean}} Piece
 * @typedef {{start: number, end: number, lines: string[], speaker: string | null}} Cue Milliseconds.
 * @typedef {(id: number, label: string) => string} Naming What a speaker is called.
 */

const LINE_LENGTH = 42;
const LINES = 2;
const LONGEST_CUE = 7; // seconds
const PAUSE = 1;
const SHORT_CUE = 1;
const SENTENCE_ENDS = [".", "?", "!", "…", "。", "？", "！"];
// What Python takes for white space.
const SPACE = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/;

/** @type {Naming} */
const byLabel = (_, label) => label;

/**
 * Return the finals in a format: `txt`, `srt`, `vtt` or `json`.
 * @param {any[]} finals Frames, in their order.
 * @param {string} form
 * @param {{naming?: Naming, insights?: any[]}} [more]
 */
export function render(finals, form, { naming = byLabel, insights = [] } = {}) {
  if (form === "srt") return srt(finals, naming);
  if (form === "vtt") return vtt(finals, naming);
  if (form === "json") return asJson(finals, naming, insights);
  return turns(finals, naming).join("\n") + "\n";
}

/** @param {any[]} finals */
export const transcript = (finals) => finals.map(({ text }) => text).filter(Boolean).join(" ");

/** Return a line for each turn, `NAME: …`, or one text where nobody is known. @param {any[]} finals @param {Naming} [naming] */
export function turns(finals, naming = byLabel) {
  const pieces = finals.flatMap((final) => piecesOf(final, naming));
  if (!pieces.some(({ speaker }) => speaker)) return [transcript(finals)];
  /** @type {{speaker: string | null, text: string}[]} */
  const found = [];
  for (const { speaker, text, joined } of pieces) {
    if (found.at(-1)?.speaker !== speaker) found.push({ speaker, text: "" });
    const turn = /** @type {{text: string}} */ (found.at(-1));
    turn.text += joined ? text : ` ${text}`;
  }
  return found.map(({ speaker, text }) => (speaker ? `${speaker}: ${strip(text)}` : strip(text)));
}

/** @param {any[]} finals @param {Naming} naming */
function srt(finals, naming) {
  const block = (/** @type {Cue} */ cue, /** @type {number} */ at) =>
    `${at + 1}\n${clock(cue.start, ",")} --> ${clock(cue.end, ",")}\n${cue.lines.join("\n").replaceAll("-->", "→")}\n`;
  return cues(finals, naming, true).map(block).join("\n");
}

/** @param {any[]} finals @param {Naming} naming */
function vtt(finals, naming) {
  const block = (/** @type {Cue} */ cue) => {
    const voice = cue.speaker ? `<v ${escape(cue.speaker)}>` : "";
    return `${clock(cue.start, ".")} --> ${clock(cue.end, ".")}\n${voice}${escape(cue.lines.join("\n"))}\n`;
  };
  return ["WEBVTT\n", ...cues(finals, naming).map(block)].join("\n");
}

/** @param {any[]} finals @param {Naming} naming @param {any[]} insights */
function asJson(finals, naming, insights) {
  const segments = finals.map((final) => ({
    id: final.segment_id,
    start: final.segment_start,
    end: final.segment_end,
    text: final.text,
    ...(final.words && { words: final.words }),
    ...(final.speaker_label !== undefined && { speaker: naming(final.speaker_id, final.speaker_label) }),
    ...(final.speaker_id !== undefined && { speaker_id: final.speaker_id }),
  }));
  const body = { text: transcript(finals), segments, ...(insights.length && { insights }) };
  return JSON.stringify(body, null, 2) + "\n";
}

/** Return the finals as cues of at most two lines. @param {any[]} finals @param {Naming} [naming] @param {boolean} [named] */
export function cues(finals, naming = byLabel, named = false) {
  /** @type {Cue[]} */
  const found = [];
  for (const group of groups(finals.flatMap((final) => piecesOf(final, naming)))) {
    const start = Math.max(milliseconds(group[0].start), found.at(-1)?.end ?? 0);
    const end = Math.max(milliseconds(/** @type {Piece} */ (group.at(-1)).end), start + 1);
    found.push({ start, end, lines: linesOf(named ? [...nameOf(group), ...group] : group), speaker: group[0].speaker });
  }
  return found;
}

/** @param {Piece[]} pieces */
function groups(pieces) {
  /** @type {Piece[][]} */
  const found = [];
  for (const piece of pieces) {
    const group = found.at(-1);
    if (!group || isOver(group, piece)) found.push([piece]);
    else group.push(piece);
  }
  return found;
}

/** @param {Piece[]} group @param {Piece} piece */
function isOver(group, piece) {
  const first = group[0];
  const last = /** @type {Piece} */ (group.at(-1));
  return (
    piece.speaker !== first.speaker ||
    piece.start - last.end > PAUSE ||
    piece.end - first.start > LONGEST_CUE ||
    (SENTENCE_ENDS.some((end) => last.text.endsWith(end)) && last.end - first.start >= SHORT_CUE) ||
    linesOf([...nameOf(group), ...group, piece]).length > LINES
  );
}

/** The name before a cue's text; room is left for it wherever it is shown. @param {Piece[]} group */
const nameOf = ([first]) => (first.speaker ? [{ ...first, text: `${first.speaker}:`, joined: false }] : []);

/** @param {Piece[]} group */
function linesOf(group) {
  /** @type {string[]} */
  const lines = [];
  for (const { text, joined } of group) {
    const more = (joined ? "" : " ") + text;
    const last = lines.at(-1);
    if (last !== undefined && length(last) + length(more) <= LINE_LENGTH) lines[lines.length - 1] += more;
    else lines.push(text);
  }
  return lines;
}

/** @param {any} final @param {Naming} naming @returns {Piece[]} */
function piecesOf(final, naming) {
  let at = 0;
  return timed(final, naming).flatMap((word) => {
    const start = Math.max(word.start, at);
    at = Math.max(word.end, start);
    return split({ ...word, start, end: at });
  });
}

/** @param {any} final @param {Naming} naming @returns {Piece[]} */
function timed(final, naming) {
  const named = final.speaker_label === undefined ? null : naming(final.speaker_id, final.speaker_label);
  if (final.words?.length) {
    return final.words
      .map((/** @type {any} */ word) => {
        const isFinals = word.speaker_id === undefined || word.speaker_id === final.speaker_id;
        const speaker = isFinals ? named : naming(word.speaker_id, labelOf(word.speaker_id));
        return { text: wordsOf(word.word).join(" "), start: word.start, end: word.end, speaker, joined: false };
      })
      .filter((/** @type {Piece} */ { text }) => text);
  }
  const words = wordsOf(final.text);
  const size = words.reduce((sum, word) => sum + length(word) + 1, 0) || 1;
  const speed = (final.segment_end - final.segment_start) / size;
  let at = final.segment_start;
  return words.map((text) => {
    const start = at;
    at = start + (length(text) + 1) * speed;
    return { text, start, end: at, speaker: named, joined: false };
  });
}

/** Cut what fits no line. @param {Piece} piece @returns {Piece[]} */
function split(piece) {
  const letters = [...piece.text];
  const speed = (piece.end - piece.start) / letters.length;
  const parts = [];
  for (let first = 0; first < letters.length; first += LINE_LENGTH) {
    const text = letters.slice(first, first + LINE_LENGTH).join("");
    const start = piece.start + first * speed;
    parts.push({ ...piece, text, start, end: start + length(text) * speed, joined: first > 0 });
  }
  return parts;
}

/** The label of a speaker of whom only the number is known. @param {number} id */
export const labelOf = (id) => `SPEAKER_${String(id).padStart(2, "0")}`;

/** @param {number} value Milliseconds. @param {string} mark */
function clock(value, mark) {
  const seconds = Math.floor(value / 1000);
  const two = (/** @type {number} */ part) => String(part).padStart(2, "0");
  const rest = String(value % 1000).padStart(3, "0");
  return `${two(Math.floor(seconds / 3600))}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}${mark}${rest}`;
}

/** Halves go to the even neighbour, as in Python. @param {number} seconds */
function milliseconds(seconds) {
  const value = seconds * 1000;
  const below = Math.floor(value);
  if (value - below !== 0.5) return Math.round(value);
  return below % 2 ? below + 1 : below;
}

/** @param {string} text */
const length = (text) => [...text].length;
/** @param {string} text */
const wordsOf = (text) => text.split(SPACE).filter(Boolean);
/** @param {string} text */
const strip = (text) => text.replace(new RegExp(`^${SPACE.source}|${SPACE.source}$`, "g"), "");
/** @param {string} text */
const escape = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
