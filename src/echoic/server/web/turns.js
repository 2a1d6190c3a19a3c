// Groups finals into turns: paragraphs of one speaker each. The same rules as src/echoic/export/turns.py.

/**
 * @typedef {{text: string, start: number, speaker: number | null, label: string | null}} Part Words of one speaker in a final.
 * @typedef {{speaker: number | null, label: string | null, heir: number | null, start: number, size: number,
 *   parts: {id: number, text: string, start: number}[]}} Turn `heir`: the speaker just before a turn without a
 *   speaker, which joins the turn before if the same speaker follows.
 */

/**
 * A paragraph ends after PAUSE seconds of silence, with a sentence after LONG letters, and anywhere after LONGEST letters.
 * A turn without a speaker that is longer than LONG joins no other.
 */
export const PAUSE = 2.5;
export const LONG = 420;
const LONGEST = 1500;
const SENTENCE_END = /[.?!…。？！]["'”’)]*$/;
/** Abbreviations and initials, whose full stop ends no sentence; "I." is seldom an initial. */
const ABBREVIATION = /(?<![\p{L}\p{N}_.])(?:Mr|Mrs|Ms|Dr|St|Prof|vs|[A-HJ-Z])\.$/u;
const NUMBER = /(?<![\p{L}\p{N}_.])No\.$/u;

/**
 * Group finals into turns. A few words without a speaker join a turn if the same speaker speaks before and after them;
 * otherwise they are a turn of their own.
 * @param {any[]} finals In the order of their times.
 * @param {Set<number>} [breaks] Ids of finals after which a paragraph ends.
 * @returns {Turn[]}
 */
export function groupTurns(finals, breaks = new Set()) {
  const turns = new Turns(breaks);
  for (const final of finals) turns.add(final);
  return turns.all;
}

/** Turns that grow with each final: only the last two change. */
export class Turns {
  /** @param {Set<number>} breaks As for `groupTurns`. */
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
      const paused = isFirst && this.before !== null && isParagraphBreak(this.before, final, this.breaks);
      const { speaker, label, start } = part;
      const known = this.all.at(-1);
      if (known && !paused && isBetweenSame(known, part)) this._join();
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

  /** Join the last two turns. */
  _join() {
    const { parts, size } = /** @type {Turn} */ (this.all.pop());
    const turn = /** @type {Turn} */ (this.all.at(-1));
    turn.parts.push(...parts);
    turn.size += size;
  }
}

/** Return whether a text ends a sentence; "No." before a number does not. @param {string} text @param {string} [following] */
export function endsSentence(text, following = "") {
  if (!SENTENCE_END.test(text) || ABBREVIATION.test(text)) return false;
  return !(/^\p{Nd}/u.test(following) && NUMBER.test(text));
}

/** Return whether a turn without a speaker lies between two parts of one speaker. @param {Turn} turn @param {Part} part */
const isBetweenSame = (turn, part) => turn.speaker === null && turn.heir !== null && turn.heir === part.speaker && turn.size <= LONG;

/** @param {any} before @param {any} final @param {Set<number>} breaks */
const isParagraphBreak = (before, final, breaks) => breaks.has(before.segment_id) || final.segment_start - before.segment_end > PAUSE;

/** @param {Turn} turn @param {Part} part */
const isFull = ({ size, parts }, part) => size > LONGEST || (size > LONG && endsSentence(parts.at(-1)?.text ?? "", part.text));

/** Split a final by speakers. @param {any} final @returns {Part[]} */
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

/** Return the protocol's label of a speaker. @param {number} id */
export const labelOf = (id) => `SPEAKER_${String(id).padStart(2, "0")}`;

/** @param {string} text */
const length = (text) => [...text].length;
