// Measures the time from when sound is captured until its words arrive. Does not touch the page.

const MAX_BLOCKS = 4000; // 200 s of a microphone
const MEDIAN_OF = 5; // finals

export class LatencyMeter {
  constructor() {
    /** @type {{end: number, at: number}[]} */
    this.blocks = [];
    /** @type {number[]} */
    this.last = [];
    this.end = 0;
  }

  /** Record captured sound. @param {number} seconds Its length. @param {number} at Time at which it ended, in seconds. */
  recordCapture(seconds, at) {
    this.end += seconds;
    this.blocks.push({ end: this.end, at });
    if (this.blocks.length > MAX_BLOCKS) this.blocks.shift();
  }

  /**
   * Record that the words up to a place arrived.
   * @param {number} place Seconds of sound since the beginning.
   * @param {number} now Seconds on the clock of `at`.
   */
  recordWords(place, now) {
    const found = this.blocks.find(({ end }) => end >= place - 1e-6);
    if (!found) return;
    this.last = [...this.last, now - (found.at - (found.end - place))].slice(-MEDIAN_OF);
  }

  /** The median latency in seconds; null before any words arrived. */
  get value() {
    if (!this.last.length) return null;
    return [...this.last].sort((one, other) => one - other)[this.last.length >> 1];
  }
}
