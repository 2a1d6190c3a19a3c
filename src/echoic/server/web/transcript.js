// The transcript of one recording, built from frames: turns to show, finals to save. Does not touch the page.

import { Turns, labelOf } from "./turns.js";

export class Transcript {
  constructor() {
    /** Counts changes of turns other than the last two. */
    this.revision = 0;
    this._turns = new Turns(new Set());
    /** Seconds that each speaker spoke. @type {Map<number, number>} */
    this.seconds = new Map();
    /** Time at which the recording began. */
    this.began = new Date();
    /** The name of the file, if it is one. */
    this.title = "";
    this.clear();
  }

  clear() {
    /** @type {any[]} */
    this.finals = [];
    /** Names typed by the user. @type {Map<number, string>} */
    this.names = new Map();
    /** Ids of finals after which a paragraph ends. @type {Set<number>} */
    this.breaks = new Set();
    /** Insights of commits, and the live one after them. @type {any[]} */
    this.insights = [];
    this.trouble = "";
    this.volatile = "";
    this.duration = 0; // seconds, up to the last final
    this.isSaved = true;
    this._restartTurns();
  }

  _restartTurns() {
    this.revision++;
    this._turns = new Turns(this.breaks);
    this.seconds.clear();
  }

  get isEmpty() {
    return !this.finals.length && !this.volatile;
  }

  /** Add a frame. @param {any} frame @returns {string} The part to redraw: `volatile`, `text`, `turns`, `notes` or none. */
  addFrame(frame) {
    if (frame.type === "partial") {
      this.volatile = frame.text;
      return "volatile";
    }
    if (frame.type === "final") return this._addFinal(frame);
    if (frame.type === "full_transcript") {
      this.volatile = "";
      this.endParagraph();
      return "text";
    }
    if (frame.type === "diarization_summary") return this._applySummary(frame);
    if (frame.type === "insight") return this._addInsight(frame);
    if (frame.type === "insight_error") {
      this.trouble = frame.message;
      return "notes";
    }
    return "";
  }

  /** End the paragraph after the last final. */
  endParagraph() {
    const last = this.finals.at(-1);
    if (last) this.breaks.add(last.segment_id);
  }

  /** @param {any} final */
  _addFinal(final) {
    this.finals.push(final);
    this.volatile = "";
    this.isSaved = false;
    this.duration = final.segment_end;
    const before = this.seconds.size;
    this._addToTurns(final);
    return this.seconds.size > before ? "turns" : "text";
  }

  /** @param {any} final */
  _addToTurns(final) {
    this._turns.add(final);
    const { segment_start: start, segment_end: end, speaker_id: own, text } = final;
    const pieces = final.words?.length ? final.words : text ? [{ start, end }] : [];
    for (const { speaker_id: id = own, start, end } of pieces) {
      if (id !== undefined) this.seconds.set(id, (this.seconds.get(id) ?? 0) + end - start);
    }
  }

  /** Apply a summary, which may correct the speakers of finals. @param {any} summary */
  _applySummary(summary) {
    const found = new Map(summary.speaker_map.map((/** @type {any} */ row) => [row.segment_id, row]));
    for (const final of this.finals) {
      const row = found.get(final.segment_id);
      if (!row || row.speaker_id === final.speaker_id) continue;
      const before = final.speaker_id;
      final.speaker_id = row.speaker_id;
      final.speaker_label = row.speaker_label;
      for (const word of final.words ?? []) if (word.speaker_id === before) word.speaker_id = row.speaker_id;
    }
    this._restartTurns();
    for (const final of this.finals) this._addToTurns(final);
    return "turns";
  }

  /** @param {any} insight */
  _addInsight(insight) {
    this.trouble = "";
    if (this.insights.at(-1)?.stage === "live") this.insights.pop();
    this.insights.push(insight);
    return "notes";
  }

  /** Ids of the speakers, ascending. */
  get speakers() {
    return [...this.seconds.keys()].sort((one, other) => one - other);
  }

  /** Name a speaker. @param {number} id @param {string} name */
  setName(id, name) {
    this.names.set(id, name);
    this.revision++;
  }

  /** Return the name shown for a speaker. @param {number} id */
  nameOf(id) {
    return this.names.get(id) || `Speaker ${id + 1}`;
  }

  /**
   * Return the naming of speakers in a file: as on the page; in JSON the protocol's label unless a name was typed.
   * @param {string} form @returns {import("./cues.js").Naming}
   */
  naming(form) {
    return (id, label) => this.names.get(id) || (form === "json" || !Number.isInteger(id) ? label : this.nameOf(id));
  }

  /** Replace labels by names in a text of an insight. @param {string} text */
  replaceLabels(text) {
    let result = text;
    for (const id of this.speakers) result = result.replaceAll(labelOf(id), () => this.nameOf(id));
    return result;
  }

  /** @returns {import("./turns.js").Turn[]} Only the last two change while `revision` stays the same. */
  get turns() {
    return this._turns.all;
  }
}
