// A talk, drawn as paragraphs. What is there already is left alone.

import { endsSentence } from "./turns.js";

/** @typedef {import("./talk.js").Talk} Talk */
/** @typedef {import("./turns.js").Turn} Turn */

export const VOICES = 8; // colours
const NEAR = 48; // pixels below the dock's edge within which the end is still followed
const SPOKEN = 90; // letters after which a screen reader is told without the end of a sentence

export class Sheet {
  /** @param {HTMLElement} place @param {HTMLElement} announcer */
  constructor(place, announcer) {
    this.place = place;
    this.announcer = announcer;
    this.volatile = element("span", "volatile");
    this.unsaid = "";
    /** What is drawn. @type {Talk | null} */
    this.talk = null;
    this.revision = 0;
  }

  /** @param {Talk} talk */
  draw(talk) {
    const follows = this._isAtEnd();
    this._drawTurns(talk);
    this._drawVolatile(talk);
    if (follows) this._follow();
  }

  /** Draw what may still change, and nothing else. @param {Talk} talk */
  drawVolatile(talk) {
    const follows = this._isAtEnd();
    if (!this.place.children.length) this._drawTurns(talk);
    this._drawVolatile(talk);
    if (follows) this._follow();
  }

  _follow() {
    this.place.lastElementChild?.lastElementChild?.scrollIntoView({ block: "nearest" });
  }

  /** @param {Talk} talk */
  _drawTurns(talk) {
    const turns = talk.turns.length || !talk.volatile ? talk.turns : [NOBODY];
    const isOther = talk !== this.talk || talk.revision !== this.revision;
    [this.talk, this.revision] = [talk, talk.revision];
    const first = isOther ? 0 : Math.max(0, this.place.children.length - 2);
    while (this.place.children.length > turns.length) this.place.lastElementChild?.remove();
    for (let at = first; at < turns.length; at++) this._drawTurn(turns[at], at, talk);
  }

  /** @param {Turn} turn @param {number} at @param {Talk} talk */
  _drawTurn(turn, at, talk) {
    let row = /** @type {HTMLElement | null} */ (this.place.children[at] ?? null);
    if (!row) this.place.append((row = blank()));
    const [margin, text] = /** @type {any} */ (row.children);
    const voiced = turn.speaker === null ? "" : ` voiced voice-${turn.speaker % VOICES}`;
    set(row, "className", `turn${voiced}`);
    const name = turn.speaker === null ? "" : talk.nameOf(turn.speaker);
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

  /** @param {Talk} talk */
  _drawVolatile(talk) {
    const text = this.place.lastElementChild?.lastElementChild;
    set(this.volatile, "textContent", talk.volatile);
    if (!text || !talk.volatile) this.volatile.remove();
    else if (text.lastChild !== this.volatile) text.append(this.volatile);
  }

  _isAtEnd() {
    const last = this.place.lastElementChild?.lastElementChild;
    if (!last) return true;
    const { bottom } = last.getBoundingClientRect();
    return bottom > 0 && bottom < innerHeight + NEAR; // whoever looks at what stands further down stays there
  }

  /** Tell a screen reader what is final, a sentence at a time. @param {string} text @param {boolean} [atOnce] */
  announce(text, atOnce = false) {
    this.unsaid = `${this.unsaid} ${text}`.trim();
    if (!this.unsaid || !(atOnce || this.unsaid.length > SPOKEN || endsSentence(this.unsaid))) return;
    const line = element("p", "");
    line.textContent = this.unsaid;
    this.unsaid = "";
    this.announcer.append(line);
    if (this.announcer.children.length > 3) this.announcer.firstElementChild?.remove();
  }
}

/** @type {Turn} */
const NOBODY = { speaker: null, label: null, heir: null, start: 0, size: 0, parts: [] };

function blank() {
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

/** Set what differs: what is set anew is drawn anew, and read out anew. @param {any} node @param {string} key @param {string} value */
function set(node, key, value) {
  if (node[key] !== value) node[key] = value;
}

/** @param {number} seconds */
export function clock(seconds) {
  const whole = Math.floor(seconds);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, String(whole % 60).padStart(2, "0")];
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}
