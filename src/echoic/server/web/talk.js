// What was said in one recording, as the frames tell it: turns to show, finals to save. No page in here.

import { Turns, labelOf } from "./turns.js";

export class Talk {
  constructor() {
    /** How often what was there already changed. */
    this.revision = 0;
    this._turns = new Turns(new Set());
    /** For how long each one spoke. @type {Map<number, number>} */
    this.seconds = new Map();
    /** When it began. */
    this.began = new Date();
    /** What it is of, where that is a file. */
    this.title = "";
    this.empty();
  }

  empty() {
    /** @type {any[]} */
    this.finals = [];
    /** Names that the user gave. @type {Map<number, string>} */
    this.names = new Map();
    /** Ids of finals after which the user wanted a paragraph. @type {Set<number>} */
    this.breaks = new Set();
    /** Insights of commits, and the live one after them. @type {any[]} */
    this.insights = [];
    this.trouble = "";
    this.volatile = "";
    this.heard = 0; // seconds of which finals told
    this.isSaved = true;
    this._begin();
  }

  _begin() {
    this.revision++;
    this._turns = new Turns(this.breaks);
    this.seconds.clear();
  }

  get isEmpty() {
    return !this.finals.length && !this.volatile;
  }

  /** Note a frame. @param {any} frame @returns {string} What of it is to be drawn: `volatile`, `text`, `turns`, `notes` or nothing. */
  note(frame) {
    if (frame.type === "partial") {
      this.volatile = frame.text;
      return "volatile";
    }
    if (frame.type === "final") return this._final(frame);
    if (frame.type === "full_transcript") {
      this.volatile = "";
      this.paragraph();
      return "text";
    }
    if (frame.type === "diarization_summary") return this._correct(frame);
    if (frame.type === "insight") return this._insight(frame);
    if (frame.type === "insight_error") {
      this.trouble = frame.message;
      return "notes";
    }
    return "";
  }

  /** Have what is said next begin a paragraph. */
  paragraph() {
    const last = this.finals.at(-1);
    if (last) this.breaks.add(last.segment_id);
  }

  /** @param {any} final */
  _final(final) {
    this.finals.push(final);
    this.volatile = "";
    this.isSaved = false;
    this.heard = final.segment_end;
    const before = this.seconds.size;
    this._count(final);
    return this.seconds.size > before ? "turns" : "text";
  }

  /** @param {any} final */
  _count(final) {
    this._turns.add(final);
    const { segment_start: start, segment_end: end, speaker_id: own, text } = final;
    const pieces = final.words?.length ? final.words : text ? [{ start, end }] : [];
    for (const { speaker_id: id = own, start, end } of pieces) {
      if (id !== undefined) this.seconds.set(id, (this.seconds.get(id) ?? 0) + end - start);
    }
  }

  /** Take the second look at who spoke. @param {any} summary */
  _correct(summary) {
    const found = new Map(summary.speaker_map.map((/** @type {any} */ row) => [row.segment_id, row]));
    for (const final of this.finals) {
      const row = found.get(final.segment_id);
      if (!row || row.speaker_id === final.speaker_id) continue;
      const before = final.speaker_id;
      final.speaker_id = row.speaker_id;
      final.speaker_label = row.speaker_label;
      for (const word of final.words ?? []) if (word.speaker_id === before) word.speaker_id = row.speaker_id;
    }
    this._begin();
    for (const final of this.finals) this._count(final);
    return "turns";
  }

  /** @param {any} insight */
  _insight(insight) {
    this.trouble = "";
    if (this.insights.at(-1)?.stage === "live") this.insights.pop();
    this.insights.push(insight);
    return "notes";
  }

  /** Their numbers. */
  get speakers() {
    return [...this.seconds.keys()].sort((one, other) => one - other);
  }

  /** Give a speaker a name. @param {number} id @param {string} name */
  call(id, name) {
    this.names.set(id, name);
    this.revision++;
  }

  /** What a speaker is called here. @param {number} id */
  nameOf(id) {
    return this.names.get(id) || `Speaker ${id + 1}`;
  }

  /**
   * What one is called in a file: as on the page; in JSON by the protocol's label unless a name was given.
   * @param {string} form @returns {import("./cues.js").Naming}
   */
  naming(form) {
    return (id, label) => this.names.get(id) || (form === "json" || !Number.isInteger(id) ? label : this.nameOf(id));
  }

  /** Put names in place of labels in a text of an insight. @param {string} text */
  named(text) {
    let told = text;
    for (const id of this.speakers) told = told.replaceAll(labelOf(id), () => this.nameOf(id));
    return told;
  }

  /** @returns {import("./turns.js").Turn[]} Of them only the last two change, until there is another revision. */
  get turns() {
    return this._turns.all;
  }
}
