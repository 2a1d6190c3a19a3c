// How long after sound was captured its words came. No page in here.

const KEPT = 4000; // blocks, 200 s of a microphone
const OF = 5; // the last finals, of which the median is told

export class Delay {
  constructor() {
    /** @type {{end: number, at: number}[]} */
    this.blocks = [];
    /** @type {number[]} */
    this.last = [];
    this.end = 0;
  }

  /** Note that sound was captured. @param {number} seconds Its length. @param {number} at When its end was, in seconds. */
  captured(seconds, at) {
    this.end += seconds;
    this.blocks.push({ end: this.end, at });
    if (this.blocks.length > KEPT) this.blocks.shift();
  }

  /**
   * Note that the words up to a place came.
   * @param {number} place Seconds of sound.
   * @param {number} now Seconds, of the same clock as `at`.
   */
  came(place, now) {
    const found = this.blocks.find(({ end }) => end >= place - 1e-6);
    if (!found) return;
    this.last = [...this.last, now - (found.at - (found.end - place))].slice(-OF);
  }

  /** Seconds, or null before anything came. */
  get value() {
    if (!this.last.length) return null;
    return [...this.last].sort((one, other) => one - other)[this.last.length >> 1];
  }
}
