// Builds subtitle cues from finals: lines of text and their times. The same rules as src/echoic/export/cues.py.

import { LONG, PAUSE as TURNS_PAUSE, endsSentence, labelOf } from "./turns.js";

/**
 * @typedef {{text: string, start: number, end: number, speaker: string | null, joined: boolean, name?: string}} Piece A word,
 *   in seconds. The first word of a turn has a `name`, which stands before it; `joined`: without a space before it.
 * @typedef {{start: number, end: number, lines: string[], speaker: string | null}} Cue Milliseconds.
 * @typedef {(id: number, label: string) => string} Naming Returns the name of a speaker.
 */

const LINE_LENGTH = 42;
const MAX_LINES = 2;
const MAX_CUE_SECONDS = 7; // seconds
const CUE_PAUSE = 1;
const MIN_SENTENCE_SECONDS = 1;
const MAX_JOINED_GAP = 2;
const MIN_CUE_MS = 833; // toMilliseconds
const READING_MS_PER_LETTER = 50; // toMilliseconds a letter
const MAX_EARLY_START_MS = 500; // toMilliseconds
const UNKNOWN_SPEAKER = "-"; // marks a turn whose speaker is unknown
// White space as Python defines it.
const SPACE = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/;

/**
 * Build cues of at most two lines.
 * @param {any[]} finals @param {Naming} naming
 * @param {boolean} [isNamed] Whether the first cue of a turn begins with the name of its speaker.
 */
export function buildCues(finals, naming, isNamed = false) {
  const found = mergeShortGroups(groupPieces(addTurnNames(assignUnknownSpeakers(finals.flatMap((final) => splitFinal(final, naming))))));
  const spans = scheduleCues(found);
  return found.map((group, at) => {
    const [start, end] = spans[at];
    return { start, end, lines: wrapLines(isNamed ? [...findTurnName(group), ...group] : group), speaker: group[0].speaker };
  });
}

/** Return the time of each cue: as long as reading takes, where there is room. @param {Piece[][]} found */
function scheduleCues(found) {
  /** @type {[number, number][]} */
  const spans = [];
  for (const group of found) {
    const start = Math.max(toMilliseconds(group[0].start), spans.at(-1)?.[1] ?? 0);
    spans.push([start, Math.max(toMilliseconds(lastOf(group).end), start + 1)]);
  }
  found.forEach((group, at) => {
    const letters = wrapLines(group).reduce((sum, line) => sum + length(line), 0);
    const span = spans[at];
    span[1] = Math.max(span[1], Math.min(span[0] + Math.max(MIN_CUE_MS, letters * READING_MS_PER_LETTER), spans[at + 1]?.[0] ?? Infinity));
    span[0] = Math.max(Math.min(span[0], span[1] - MIN_CUE_MS), span[0] - MAX_EARLY_START_MS, spans[at - 1]?.[1] ?? 0);
  });
  return spans;
}

/** Join groupPieces that are too short to stand alone with their neighbours. @param {Piece[][]} found */
function mergeShortGroups(found) {
  for (let at = 0; at < found.length; ) {
    const fix = shouldMerge(found, at) ? mergeWithNeighbour(found, at) : null;
    if (!fix) at++;
    else {
      found.splice(fix.first, 2, ...fix.groups);
      at = fix.groups.length > 1 ? at + 1 : fix.first;
    }
  }
  return found;
}

/** @param {Piece[][]} found @param {number} at */
function shouldMerge(found, at) {
  const group = found[at];
  const room = (found[at + 1]?.[0].start ?? Infinity) - group[0].start;
  const isSettled = groupEndsSentence(group) && !isOverflowWord(found, at);
  return !canStandAlone(group) && (room * 1000 < MIN_CUE_MS || !isSettled);
}

/** Return whether a word is alone only because the cue before was full. @param {Piece[][]} found @param {number} at */
function isOverflowWord(found, at) {
  const group = found[at];
  if (group.length > 1 || !at || groupEndsSentence(found[at - 1])) return false;
  return lastOf(found[at - 1]).speaker === group[0].speaker && gapOf(found[at - 1], group) <= CUE_PAUSE;
}

/** @param {Piece[]} group */
const canStandAlone = (group) => (group.length > 1 || groupEndsSentence(group)) && (lastOf(group).end - group[0].start) * 1000 >= MIN_CUE_MS;

/** Join a group with a neighbour, as one group or as two that are split elsewhere. @param {Piece[][]} found @param {number} at */
function mergeWithNeighbour(found, at) {
  const sides = [at - 1, at].filter((first) => first >= 0 && first + 1 < found.length && areNear(found[first], found[first + 1]));
  const far = (/** @type {number} */ first) => Number(groupEndsSentence(found[first])) * MAX_JOINED_GAP + gapOf(found[first], found[first + 1]);
  for (const first of sides.sort((one, other) => far(one) - far(other))) {
    const pieces = [...found[first], ...found[first + 1]];
    const isEnd = first < at && isOverflowWord(found, at);
    const groups = splitEvenly(pieces) ?? (isEnd ? splitNearEnd(pieces) : null);
    if (groups) return { first, groups };
  }
  return null;
}

/** @param {Piece[]} one @param {Piece[]} next */
const areNear = (one, next) => one[0].speaker === next[0].speaker && gapOf(one, next) <= MAX_JOINED_GAP;
/** @param {Piece[]} one @param {Piece[]} next */
const gapOf = (one, next) => next[0].start - lastOf(one).end;

/** Return the pieces as one group, or as two complete groupPieces of similar length. @param {Piece[]} pieces */
function splitEvenly(pieces) {
  if (fitsCue(pieces)) return [pieces];
  /** @type {Piece[][] | null} */
  let best = null;
  let least = Infinity;
  for (let at = 1; at < pieces.length; at++) {
    const halves = [pieces.slice(0, at), pieces.slice(at)];
    const uneven = Math.abs(countLetters(halves[0]) - countLetters(halves[1]));
    if (uneven < least && halves.every((half) => fitsCue(half) && canStandAlone(half))) [best, least] = [halves, uneven];
  }
  return best;
}

/** Return the pieces as two groupPieces of which the second has few words, but more than one. @param {Piece[]} pieces */
function splitNearEnd(pieces) {
  for (let at = pieces.length - 2; at > 1; at--) {
    const halves = [pieces.slice(0, at), pieces.slice(at)];
    if (halves.every(fitsCue)) return halves;
  }
  return null;
}

/** @param {Piece[]} group */
const countLetters = (group) => group.reduce((sum, { text }) => sum + length(text), 0);
/** @param {Piece[]} group */
const fitsCue = (group) => lastOf(group).end - group[0].start <= MAX_CUE_SECONDS && wrapLines([...findTurnName(group), ...group]).length <= MAX_LINES;
/** @param {Piece[]} group */
const groupEndsSentence = (group) => endsSentence(lastOf(group).text);
/** @param {Piece[]} group */
const lastOf = (group) => /** @type {Piece} */ (group.at(-1));

/** Give a few pieces without a speaker to the speaker before and after them. @param {Piece[]} pieces */
function assignUnknownSpeakers(pieces) {
  let before = -1;
  pieces.forEach(({ speaker }, at) => {
    if (speaker === null) return;
    if (before >= 0 && isOneTurn(pieces.slice(before, at + 1))) {
      for (const one of pieces.slice(before, at)) one.speaker = speaker;
    }
    before = at;
  });
  return pieces;
}

/** Return whether the first and last piece have one speaker, with little text and no long pause between them. @param {Piece[]} pieces */
function isOneTurn(pieces) {
  const isShort = countLetters(pieces.slice(1, -1)) + pieces.length - 2 <= LONG;
  const isUnbroken = pieces.every(({ start }, at) => !at || start - pieces[at - 1].end <= TURNS_PAUSE);
  return pieces[0].speaker === lastOf(pieces).speaker && isShort && isUnbroken;
}

/** Add the name to the first piece of each turn. @param {Piece[]} pieces */
function addTurnNames(pieces) {
  pieces.forEach((piece, at) => {
    const before = pieces[at - 1];
    if (before && piece.speaker === before.speaker && piece.start - before.end <= TURNS_PAUSE) return;
    if (piece.speaker) piece.name = `${piece.speaker}:`;
    else if (before?.speaker) piece.name = UNKNOWN_SPEAKER;
  });
  return pieces;
}

/** @param {Piece[]} pieces */
function groupPieces(pieces) {
  /** @type {Piece[][]} */
  const found = [];
  for (const piece of pieces) {
    const group = found.at(-1);
    if (!group || shouldStartCue(group, piece)) found.push([piece]);
    else group.push(piece);
  }
  return found;
}

/** @param {Piece[]} group @param {Piece} piece */
function shouldStartCue(group, piece) {
  const [first, last] = [group[0], lastOf(group)];
  return (
    piece.speaker !== first.speaker ||
    piece.start - last.end > CUE_PAUSE ||
    (last.end - first.start >= MIN_SENTENCE_SECONDS && endsSentence(last.text, piece.text)) ||
    !fitsCue([...group, piece])
  );
}

/** Return the name before the text of a cue that begins a turn. @param {Piece[]} group */
const findTurnName = ([first]) => (first.name ? [{ ...first, text: first.name, joined: false }] : []);

/** @param {Piece[]} group */
function wrapLines(group) {
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
function splitFinal(final, naming) {
  let at = 0;
  return timeWords(final, naming).flatMap((word) => {
    const start = Math.max(word.start, at);
    at = Math.max(word.end, start);
    return splitLongWord({ ...word, start, end: at });
  });
}

/** @param {any} final @param {Naming} naming @returns {Piece[]} */
function timeWords(final, naming) {
  const named = final.speaker_label === undefined ? null : oneLine(naming(final.speaker_id, final.speaker_label)) || null;
  if (final.words?.length) {
    return final.words
      .map((/** @type {any} */ word) => {
        const isFinals = word.speaker_id === undefined || word.speaker_id === final.speaker_id;
        const speaker = isFinals ? named : oneLine(naming(word.speaker_id, labelOf(word.speaker_id)));
        return { text: oneLine(word.word), start: word.start, end: word.end, speaker, joined: false };
      })
      .filter((/** @type {Piece} */ { text }) => text);
  }
  const words = wordsOf(final.text);
  const size = words.reduce((sum, word) => sum + length(word) + 1, 0) || 1;
  let at = final.spoken_start ?? final.segment_start;
  const speed = ((final.spoken_end ?? final.segment_end) - at) / size;
  return words.map((text) => {
    const start = at;
    at = start + (length(text) + 1) * speed;
    return { text, start, end: at, speaker: named, joined: false };
  });
}

/** Split a word that is longer than a line. @param {Piece} piece @returns {Piece[]} */
function splitLongWord(piece) {
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

/** Round to toMilliseconds, halves to even as Python does. @param {number} seconds */
function toMilliseconds(seconds) {
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
export const oneLine = (text) => wordsOf(text).join(" ");
