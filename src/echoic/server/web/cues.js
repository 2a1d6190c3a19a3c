// Finals as cues: lines of text and when they are shown. The rules of src/echoic/cues.py. No page in here.

import { LONG, PAUSE as TURNS_PAUSE, endsSentence, labelOf } from "./turns.js";

/**
 * @typedef {{text: string, start: number, end: number, speaker: string | null, joined: boolean, name?: string}} Piece The
 *   first of what one speaks without a long pause bears a name, which stands before it.
 * @typedef {{start: number, end: number, lines: string[], speaker: string | null}} Cue Milliseconds.
 * @typedef {(id: number, label: string) => string} Naming What a speaker is called.
 */

const LINE_LENGTH = 42;
const LINES = 2;
const LONGEST_CUE = 7; // seconds
const PAUSE = 1;
const SHORT_CUE = 1;
const BRIDGED = 2;
const SHORTEST = 833; // milliseconds
const READING = 50; // milliseconds a letter
const LEAD = 500; // milliseconds
const NOBODY = "-"; // in place of a name, where nobody knows who goes on after somebody
// What Python takes for white space.
const SPACE = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/;

/** Return the finals as cues of at most two lines. @param {any[]} finals @param {Naming} naming @param {boolean} [isNamed] Whether a turn's first begins with the name. */
export function cues(finals, naming, isNamed = false) {
  const found = joined(groups(named(attributed(finals.flatMap((final) => piecesOf(final, naming))))));
  const spans = spansOf(found);
  return found.map((group, at) => {
    const [start, end] = spans[at];
    return { start, end, lines: linesOf(isNamed ? [...nameOf(group), ...group] : group), speaker: group[0].speaker };
  });
}

/** Return when each is shown: as long as it takes to read, where there is room. @param {Piece[][]} found */
function spansOf(found) {
  /** @type {[number, number][]} */
  const spans = [];
  for (const group of found) {
    const start = Math.max(milliseconds(group[0].start), spans.at(-1)?.[1] ?? 0);
    spans.push([start, Math.max(milliseconds(lastOf(group).end), start + 1)]);
  }
  found.forEach((group, at) => {
    const letters = linesOf(group).reduce((sum, line) => sum + length(line), 0);
    const span = spans[at];
    span[1] = Math.max(span[1], Math.min(span[0] + Math.max(SHORTEST, letters * READING), spans[at + 1]?.[0] ?? Infinity));
    span[0] = Math.max(Math.min(span[0], span[1] - SHORTEST), span[0] - LEAD, spans[at - 1]?.[1] ?? 0);
  });
  return spans;
}

/** Return the groups without those that are too short to stand alone. @param {Piece[][]} found */
function joined(found) {
  for (let at = 0; at < found.length; ) {
    const fix = isStray(found, at) ? mended(found, at) : null;
    if (!fix) at++;
    else {
      found.splice(fix.first, 2, ...fix.groups);
      at = fix.groups.length > 1 ? at + 1 : fix.first;
    }
  }
  return found;
}

/** @param {Piece[][]} found @param {number} at */
function isStray(found, at) {
  const group = found[at];
  const room = (found[at + 1]?.[0].start ?? Infinity) - group[0].start;
  const isSettled = isSentence(group) && !isLeftOver(found, at);
  return !isWhole(group) && (room * 1000 < SHORTEST || !isSettled);
}

/** Whether a word is alone only because the cue before was full. @param {Piece[][]} found @param {number} at */
function isLeftOver(found, at) {
  const group = found[at];
  if (group.length > 1 || !at || isSentence(found[at - 1])) return false;
  return lastOf(found[at - 1]).speaker === group[0].speaker && gapOf(found[at - 1], group) <= PAUSE;
}

/** @param {Piece[]} group */
const isWhole = (group) => (group.length > 1 || isSentence(group)) && (lastOf(group).end - group[0].start) * 1000 >= SHORTEST;

/** Return a group with its neighbour, as one or cut anew. @param {Piece[][]} found @param {number} at */
function mended(found, at) {
  const sides = [at - 1, at].filter((first) => first >= 0 && first + 1 < found.length && areNear(found[first], found[first + 1]));
  const far = (/** @type {number} */ first) => Number(isSentence(found[first])) * BRIDGED + gapOf(found[first], found[first + 1]);
  for (const first of sides.sort((one, other) => far(one) - far(other))) {
    const pieces = [...found[first], ...found[first + 1]];
    const isEnd = first < at && isLeftOver(found, at);
    const groups = recut(pieces) ?? (isEnd ? recutLate(pieces) : null);
    if (groups) return { first, groups };
  }
  return null;
}

/** @param {Piece[]} one @param {Piece[]} next */
const areNear = (one, next) => one[0].speaker === next[0].speaker && gapOf(one, next) <= BRIDGED;
/** @param {Piece[]} one @param {Piece[]} next */
const gapOf = (one, next) => next[0].start - lastOf(one).end;

/** Return the pieces as one group, or two that are whole and much alike. @param {Piece[]} pieces */
function recut(pieces) {
  if (fits(pieces)) return [pieces];
  /** @type {Piece[][] | null} */
  let best = null;
  let least = Infinity;
  for (let at = 1; at < pieces.length; at++) {
    const halves = [pieces.slice(0, at), pieces.slice(at)];
    const uneven = Math.abs(sizeOf(halves[0]) - sizeOf(halves[1]));
    if (uneven < least && halves.every((half) => fits(half) && isWhole(half))) [best, least] = [halves, uneven];
  }
  return best;
}

/** Return the pieces as two groups of which the second has few words, but more than one. @param {Piece[]} pieces */
function recutLate(pieces) {
  for (let at = pieces.length - 2; at > 1; at--) {
    const halves = [pieces.slice(0, at), pieces.slice(at)];
    if (halves.every(fits)) return halves;
  }
  return null;
}

/** @param {Piece[]} group */
const sizeOf = (group) => group.reduce((sum, { text }) => sum + length(text), 0);
/** @param {Piece[]} group */
const fits = (group) => lastOf(group).end - group[0].start <= LONGEST_CUE && linesOf([...nameOf(group), ...group]).length <= LINES;
/** @param {Piece[]} group */
const isSentence = (group) => endsSentence(lastOf(group).text);
/** @param {Piece[]} group */
const lastOf = (group) => /** @type {Piece} */ (group.at(-1));

/** Have the few that nobody is known to have said be of who speaks before and after them. @param {Piece[]} pieces */
function attributed(pieces) {
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

/** Whether the first and last are of one speaker, and little and no long pause is between them. @param {Piece[]} pieces */
function isOneTurn(pieces) {
  const isShort = sizeOf(pieces.slice(1, -1)) + pieces.length - 2 <= LONG;
  const isUnbroken = pieces.every(({ start }, at) => !at || start - pieces[at - 1].end <= TURNS_PAUSE);
  return pieces[0].speaker === lastOf(pieces).speaker && isShort && isUnbroken;
}

/** Give the first of each turn its name. @param {Piece[]} pieces */
function named(pieces) {
  pieces.forEach((piece, at) => {
    const before = pieces[at - 1];
    if (before && piece.speaker === before.speaker && piece.start - before.end <= TURNS_PAUSE) return;
    if (piece.speaker) piece.name = `${piece.speaker}:`;
    else if (before?.speaker) piece.name = NOBODY;
  });
  return pieces;
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
  const [first, last] = [group[0], lastOf(group)];
  return (
    piece.speaker !== first.speaker ||
    piece.start - last.end > PAUSE ||
    (last.end - first.start >= SHORT_CUE && endsSentence(last.text, piece.text)) ||
    !fits([...group, piece])
  );
}

/** The name before a cue's text, if it is the first of a turn. @param {Piece[]} group */
const nameOf = ([first]) => (first.name ? [{ ...first, text: first.name, joined: false }] : []);

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
export const oneLine = (text) => wordsOf(text).join(" ");
