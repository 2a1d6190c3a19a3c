// Draws a transcript as paragraphs; only changed nodes are touched.

import { endsSentence } from "./turns.js";

/** @typedef {import("./transcript.js").Transcript} Transcript */
/** @typedef {import("./turns.js").Turn} Turn */

export const VOICES = 8; // colours
const FOLLOW_MARGIN = 48; // pixels below the window within which the view still scrolls with the text
const MAX_UNANNOUNCED = 90; // letters that wait for the end of a sentence before a screen reader gets them

export class TranscriptView {
  /** @param {HTMLElement} place @param {HTMLElement} announcer */
  constructor(place, announcer) {
    this.place = place;
    this.announcer = announcer;
    this.volatile = element("span", "volatile");
    this.unannounced = "";
    /** The transcript that is drawn. @type {Transcript | null} */
    this.transcript = null;
    this.revision = 0;
  }

  /** @param {Transcript} transcript */
  draw(transcript) {
    const follows = this._isAtEnd();
    this._drawTurns(transcript);
    this._drawVolatile(transcript);
    if (follows) this._follow();
  }

  /** Draw only the provisional words. @param {Transcript} transcript */
  drawVolatile(transcript) {
    const follows = this._isAtEnd();
    if (!this.place.children.length) this._drawTurns(transcript);
    this._drawVolatile(transcript);
    if (follows) this._follow();
  }

  _follow() {
    this.place.lastElementChild?.lastElementChild?.scrollIntoView({ block: "nearest" });
  }

  /** @param {Transcript} transcript */
  _drawTurns(transcript) {
    const turns = transcript.turns.length || !transcript.volatile ? transcript.turns : [EMPTY_TURN];
    const isOther = transcript !== this.transcript || transcript.revision !== this.revision;
    [this.transcript, this.revision] = [transcript, transcript.revision];
    const first = isOther ? 0 : Math.max(0, this.place.children.length - 2);
    while (this.place.children.length > turns.length) this.place.lastElementChild?.remove();
    for (let at = first; at < turns.length; at++) this._drawTurn(turns[at], at, transcript);
  }

  /** @param {Turn} turn @param {number} at @param {Transcript} transcript */
  _drawTurn(turn, at, transcript) {
    let row = /** @type {HTMLElement | null} */ (this.place.children[at] ?? null);
    if (!row) this.place.append((row = buildRow()));
    const [margin, text] = /** @type {any} */ (row.children);
    const voiced = turn.speaker === null ? "" : ` voiced voice-${turn.speaker % VOICES}`;
    set(row, "className", `turn${voiced}`);
    const name = turn.speaker === null ? "" : transcript.nameOf(turn.speaker);
    set(margin.children[0], "textContent", name);
    set(margin.children[0], "title", name);
    set(margin.children[1], "textContent", turn.parts.length ? clock(turn.start) : "");
    const spans = [...text.querySelectorAll(".part")];
    turn.parts.forEach((part, which) => {
      let span = spans[which];
      if (!span) {
        span = element("span", "part new");
        text.append(span, " ");
      }
      set(span, "textContent", part.text);
      set(span, "title", clock(part.start));
    });
    for (const span of spans.slice(turn.parts.length)) {
      span.nextSibling?.remove();
      span.remove();
    }
  }

  /** @param {Transcript} transcript */
  _drawVolatile(transcript) {
    const text = this.place.lastElementChild?.lastElementChild;
    set(this.volatile, "textContent", transcript.volatile);
    if (!text || !transcript.volatile) this.volatile.remove();
    else if (text.lastChild !== this.volatile) text.append(this.volatile);
  }

  _isAtEnd() {
    const last = this.place.lastElementChild?.lastElementChild;
    if (!last) return true;
    const { bottom } = last.getBoundingClientRect();
    return bottom > 0 && bottom < innerHeight + FOLLOW_MARGIN; // a reader who scrolled elsewhere stays there
  }

  /** Announce final text to screen readers, a sentence at a time. @param {string} text @param {boolean} [atOnce] */
  announce(text, atOnce = false) {
    this.unannounced = `${this.unannounced} ${text}`.trim();
    if (!this.unannounced || !(atOnce || this.unannounced.length > MAX_UNANNOUNCED || endsSentence(this.unannounced))) return;
    const line = element("p", "");
    line.textContent = this.unannounced;
    this.unannounced = "";
    this.announcer.append(line);
    if (this.announcer.children.length > 3) this.announcer.firstElementChild?.remove();
  }
}

/** @type {Turn} */
const EMPTY_TURN = { speaker: null, label: null, heir: null, start: 0, size: 0, parts: [] };

function buildRow() {
  const row = element("div", "turn");
  const margin = element("p", "margin");
  margin.append(element("span", "who"), " ", element("time", ""));
  const text = element("p", "text");
  text.dir = "auto";
  row.append(margin, text);
  return row;
}

/** @param {string} name @param {string} kind */
export function element(name, kind, text = "") {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  if (text) made.textContent = text;
  return made;
}

/** Set a property if it differs: browsers redraw, and screen readers repeat, what is set again. @param {any} node @param {string} key @param {string} value */
function set(node, key, value) {
  if (node[key] !== value) node[key] = value;
}

/** @param {number} seconds */
export function clock(seconds) {
  const whole = Math.floor(seconds);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, String(whole % 60).padStart(2, "0")];
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}
