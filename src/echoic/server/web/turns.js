// Finals as turns: paragraphs, each of one who speaks. The rules of src/echoic/turns.py. No page in here.

/**
 * @typedef {{text: string, start: number, speaker: number | null, label: string | null}} Part Words of one speaker in a final.
 * @typedef {{speaker: number | null, label: string | null, heir: number | null, start: number, size: number,
 *   parts: {id: number, text: string, start: number}[]}} Turn `heir`: who spoke just before; one of whom nobody is known
 *   goes on in that turn if the same speaks next.
 */

/**
 * Seconds of silence, and letters at the end of a sentence and anywhere, after which a paragraph ends. Of more than LONG
 * nobody is taken to be the speaker who is not told.
 */
export const PAUSE = 2.5;
export const LONG = 420;
const LONGEST = 1500;
const SENTENCE_END = /[.?!…。？！]["'”’)]*$/;
/** Words whose full stop ends no sentence, and initials; "I." is seldom one. */
const ABBREVIATION = /(?<![\p{L}\p{N}_.])(?:Mr|Mrs|Ms|Dr|St|Prof|vs|[A-HJ-Z])\.$/u;
const NUMBER = /(?<![\p{L}\p{N}_.])No\.$/u;

/**
 * Return what is said, turn by turn. A few words of which nobody could tell who said them go on in a turn where the same
 * speaks before and after them; else they are one alone.
 * @param {any[]} finals Frames, in their order.
 * @param {Set<number>} [breaks] Ids of finals after which the user wanted a paragraph.
 * @returns {Turn[]}
 */
export function turnsOf(finals, breaks = new Set()) {
  const turns = new Turns(breaks);
  for (const final of finals) turns.add(final);
  return turns.all;
}

/** Turns that grow final by final: only the last two change. */
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
      const isFirst = this.before !== final;
      const paused = isFirst && this.before !== null && pauses(this.before, final, this.breaks);
      const { speaker, label, start } = part;
      const known = this.all.at(-1);
      if (known && !paused && goesOn(known, part)) this._join();
      const last = this.all.at(-1);
      if (!last || last.speaker !== speaker || paused || (isFirst && isFull(last, part))) {
        const heir = last && speaker === null && !paused ? last.speaker : null;
        this.all.push({ speaker, label, heir, start, size: 0, parts: [] });
      }
      const turn = /** @type {Turn} */ (this.all.at(-1));
      turn.parts.push({ id: final.segment_id, text: part.text, start });
      turn.size += length(part.text) + 1;
      this.before = final;
    }
  }

  /** Make the last two one. */
  _join() {
    const { parts, size } = /** @type {Turn} */ (this.all.pop());
    const turn = /** @type {Turn} */ (this.all.at(-1));
    turn.parts.push(...parts);
    turn.size += size;
  }
}

/** Whether a sentence ends with a text; "No." does not where a number is following. @param {string} text @param {string} [following] */
export function endsSentence(text, following = "") {
  if (!SENTENCE_END.test(text) || ABBREVIATION.test(text)) return false;
  return !(/^\p{Nd}/u.test(following) && NUMBER.test(text));
}

/** Whether a turn of nobody known is of who speaks before it and in the part. @param {Turn} turn @param {Part} part */
const goesOn = (turn, part) => turn.speaker === null && turn.heir !== null && turn.heir === part.speaker && turn.size <= LONG;

/** @param {any} before @param {any} final @param {Set<number>} breaks */
const pauses = (before, final, breaks) => breaks.has(before.segment_id) || final.segment_start - before.segment_end > PAUSE;

/** @param {Turn} turn @param {Part} part */
const isFull = ({ size, parts }, part) => size > LONGEST || (size > LONG && endsSentence(parts.at(-1)?.text ?? "", part.text));

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
