// What was said in one recording, as the frames tell it: turns to show, finals to save. No page in here.

import { labelOf, partsOf, turnsOf } from "./turns.js";

export class Talk {
  constructor() {
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
    /** @type {Set<number>} */
    this.speakers = new Set();
    /** Ids of finals after which the user wanted a paragraph. @type {Set<number>} */
    this.breaks = new Set();
    /** Insights of commits, and the live one after them. @type {any[]} */
    this.insights = [];
    this.trouble = "";
    this.volatile = "";
    this.heard = 0; // seconds of which finals told
    this.isSaved = true;
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
    const before = this.speakers.size;
    for (const { speaker } of partsOf(final)) if (speaker !== null) this.speakers.add(speaker);
    return this.speakers.size > before ? "turns" : "text";
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
    this.speakers = new Set(this.finals.flatMap(partsOf).flatMap(({ speaker }) => (speaker === null ? [] : [speaker])));
    return "turns";
  }

  /** @param {any} insight */
  _insight(insight) {
    this.trouble = "";
    if (this.insights.at(-1)?.stage === "live") this.insights.pop();
    this.insights.push(insight);
    return "notes";
  }

  /** What a speaker is called here. @param {number} id */
  nameOf(id) {
    return this.names.get(id) || `Speaker ${id + 1}`;
  }

  /** What one is called in a file: the label of the protocol unless a name was given. */
  get naming() {
    return (/** @type {number} */ id, /** @type {string} */ label) => this.names.get(id) || label;
  }

  /** Put names in place of labels in a text of an insight. @param {string} text */
  named(text) {
    let told = text;
    for (const id of this.speakers) told = told.replaceAll(labelOf(id), () => this.nameOf(id));
    return told;
  }

  /** @returns {import("./turns.js").Turn[]} */
  turns() {
    return turnsOf(this.finals, this.breaks);
  }
}
