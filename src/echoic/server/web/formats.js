// Renders finals as text, SubRip, WebVTT and JSON: the same files as src/echoic/export/formats.py.

import { buildCues, oneLine } from "./cues.js";
import { groupTurns } from "./turns.js";

/** @typedef {import("./cues.js").Cue} Cue */
/** @typedef {import("./cues.js").Naming} Naming */

/** @type {Naming} */
const byLabel = (_, label) => label;

/**
 * Render finals in a format: `txt`, `srt`, `vtt` or `json`.
 * @param {any[]} finals In the order of their times.
 * @param {string} form
 * @param {{naming?: Naming, insights?: any[], breaks?: Set<number>}} [more] `breaks`: as `groupTurns` takes them.
 */
export function render(finals, form, { naming = byLabel, insights = [], breaks } = {}) {
  if (form === "srt") return srt(finals, naming);
  if (form === "vtt") return vtt(finals, naming);
  if (form === "json") return asJson(finals, naming, insights);
  return text(finals, naming, breaks);
}

/** @param {any[]} finals */
const transcript = (finals) => finals.map(({ text }) => text).filter(Boolean).join(" ");

/** @param {any[]} finals @param {Naming} naming @param {Set<number>} [breaks] */
function text(finals, naming, breaks) {
  const paragraphs = groupTurns(finals, breaks).map(({ speaker, label, parts }) => {
    const name = label === null ? "" : oneLine(naming(/** @type {number} */ (speaker), label));
    const said = oneLine(parts.map(({ text }) => text).join(" "));
    return said && name ? `${name}: ${said}` : said;
  });
  return paragraphs.filter(Boolean).join("\n\n") + "\n";
}

/** @param {any[]} finals @param {Naming} naming */
function srt(finals, naming) {
  const block = (/** @type {Cue} */ cue, /** @type {number} */ at) =>
    `${at + 1}\n${clock(cue.start, ",")} --> ${clock(cue.end, ",")}\n${escapeSubRip(cue.lines.join("\n"))}\n`;
  return buildCues(finals, naming, true).map(block).join("\n");
}

/** @param {any[]} finals @param {Naming} naming */
function vtt(finals, naming) {
  const block = (/** @type {Cue} */ cue) => {
    const voice = cue.speaker ? `<v ${escape(cue.speaker)}>` : "";
    return `${clock(cue.start, ".")} --> ${clock(cue.end, ".")}\n${voice}${escape(cue.lines.join("\n"))}\n`;
  };
  return ["WEBVTT\n", ...buildCues(finals, naming).map(block)].join("\n");
}

/** @param {any[]} finals @param {Naming} naming @param {any[]} insights */
function asJson(finals, naming, insights) {
  const segments = finals.map((final) => ({
    id: final.segment_id,
    start: final.segment_start,
    end: final.segment_end,
    ...(final.spoken_start !== undefined && { spoken_start: final.spoken_start, spoken_end: final.spoken_end }),
    text: final.text,
    ...(final.words && { words: final.words }),
    ...(final.speaker_label !== undefined && { speaker: naming(final.speaker_id, final.speaker_label) }),
    ...(final.speaker_id !== undefined && { speaker_id: final.speaker_id }),
  }));
  const body = { text: transcript(finals), segments, ...(insights.length && { insights }) };
  return JSON.stringify(body, null, 2) + "\n";
}

/** @param {number} value Milliseconds. @param {string} mark */
function clock(value, mark) {
  const seconds = Math.floor(value / 1000);
  const two = (/** @type {number} */ part) => String(part).padStart(2, "0");
  const rest = String(value % 1000).padStart(3, "0");
  return `${two(Math.floor(seconds / 3600))}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}${mark}${rest}`;
}

/** Replace tags and arrows, which SubRip cannot escape. @param {string} text */
const escapeSubRip = (text) => text.replaceAll("-->", "→").replaceAll("<", "‹").replaceAll(">", "›");
/** @param {string} text */
const escape = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
