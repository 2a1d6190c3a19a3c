// Finals as turns: paragraphs, each of one who speaks. The rules of src/echoic/turns.py. No page in here.

/**
 * @typedef {{text: string, start: number, speaker: number | null, label: string | null}} Part Words of one speaker in a final.
 * @typedef {{speaker: number | null, label: string | null, start: number, size: number, parts: {id: number, text: string, start: number}[]}} Turn
 */

/** Seconds of silence, and letters at the end of a sentence and anywhere, after which a paragraph ends. */
const PAUSE = 2.5;
const LONG = 420;
const LONGEST = 1500;
const SENTENCE_END = /[.?!…。？！]["'”’)]*$/;

/**
 * Return what is said, turn by turn. Words of which nobody could tell who said them belong to the turn they stand in.
 * @param {any[]} finals Frames, in their order.
 * @param {Set<number>} [breaks] Ids of finals after which the user wanted a paragraph.
 * @returns {Turn[]}
 */
export function turnsOf(finals, breaks = new Set()) {
  const turns = new Turns(breaks);
  for (const final of finals) turns.add(final);
  return turns.all;
}

/** Turns that grow final by final: only the last one changes. */
export class Turns {
  /** @param {Set<number>} breaks As for `turnsOf`. */
  constructor(breaks) {
    this.breaks = breaks;
    /** @type {Turn[]} */
    this.all = [];
    /** @type {any} The last final with words. */
    this.before = null;
  }

  /** @param {any} final */
  add(final) {
    for (const part of partsOf(final)) {
      const last = this.all.at(-1);
      if (!last || isAnother(last, part) || ends(last, this.before, final, this.breaks)) {
        this.all.push({ speaker: part.speaker, label: part.label, start: part.start, size: 0, parts: [] });
      }
      const turn = /** @type {Turn} */ (this.all.at(-1));
      if (turn.speaker === null) Object.assign(turn, { speaker: part.speaker, label: part.label });
      turn.parts.push({ id: final.segment_id, text: part.text, start: part.start });
      turn.size += length(part.text) + 1;
      this.before = final;
    }
  }
}

/** @param {Turn} turn @param {Part} part */
const isAnother = (turn, part) => part.speaker !== null && turn.speaker !== null && turn.speaker !== part.speaker;

/** @param {Turn} turn @param {any} before @param {any} final @param {Set<number>} breaks */
function ends(turn, before, final, breaks) {
  if (before === final) return false;
  return (
    breaks.has(before.segment_id) ||
    final.segment_start - before.segment_end > PAUSE ||
    turn.size > LONGEST ||
    (turn.size > LONG && SENTENCE_END.test(turn.parts.at(-1)?.text ?? ""))
  );
}

/** Return the words of a final by who says them. @param {any} final @returns {Part[]} */
export function partsOf(final) {
  const own = final.speaker_id ?? null;
  const words = final.words ?? [];
  const speakerOf = (/** @type {any} */ word) => word.speaker_id ?? own;
  const part = (/** @type {string} */ text, /** @type {number} */ start, /** @type {number | null} */ speaker) => {
    const label = speaker === own ? final.speaker_label : undefined;
    return { text, start, speaker, label: label ?? (speaker === null ? null : labelOf(speaker)) };
  };
  const speakers = new Set(words.map(speakerOf));
  if (speakers.size < 2) {
    const speaker = speakers.size ? [...speakers][0] : own;
    return final.text ? [part(final.text, words[0]?.start ?? final.segment_start, speaker)] : [];
  }
  /** @type {Part[]} */
  const parts = [];
  for (const word of words) {
    const last = parts.at(-1);
    if (last && last.speaker === speakerOf(word)) last.text += ` ${word.word}`;
    else parts.push(part(word.word, word.start, speakerOf(word)));
  }
  return parts;
}

/** The protocol's label of a speaker. @param {number} id */
export const labelOf = (id) => `SPEAKER_${String(id).padStart(2, "0")}`;

/** @param {string} text */
const length = (text) => [...text].length;
