// Draws the level of the last seconds as bars.

const FLOOR = -54; // decibels below which nothing is drawn
const SILENCE_SECONDS = 4; // after which the user is warned
const SILENT_LEVEL = 0.0008; // of full scale
const BAR_WIDTH = 4; // CSS pixels, half of them gap

export class LevelMeter {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    /** @type {number[]} */
    this.levels = [];
    this.silentFor = 0; // seconds
    this.lastAt = 0; // milliseconds
  }

  /** Add samples. @param {Float32Array} samples @param {number} rate */
  push(samples, rate) {
    this.lastAt = performance.now();
    let sum = 0;
    for (const value of samples) sum += value * value;
    const level = Math.sqrt(sum / (samples.length || 1));
    this.silentFor = level < SILENT_LEVEL ? this.silentFor + samples.length / rate : 0;
    this.levels.push(Math.max(0, 1 - (20 * Math.log10(level || 1e-9)) / FLOOR));
    this.draw();
  }

  clear() {
    this.levels = [];
    this.silentFor = 0;
    this.lastAt = performance.now();
    this.draw();
  }

  draw() {
    const { canvas } = this;
    const scale = devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
    if (canvas.height !== Math.round(height * scale)) canvas.height = Math.round(height * scale);
    const bars = Math.floor(width / BAR_WIDTH);
    this.levels.splice(0, this.levels.length - Math.max(bars, 1));
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    context.fillStyle = getComputedStyle(canvas).color;
    this.levels.forEach((level, at) => {
      const size = Math.max(2, level * height);
      const left = width - (this.levels.length - at) * BAR_WIDTH;
      context.globalAlpha = 0.25 + 0.75 * (at / this.levels.length);
      context.beginPath();
      context.roundRect(left, (height - size) / 2, BAR_WIDTH / 2, size, 1);
      context.fill();
    });
  }

  get isSilent() {
    return this.silentFor > SILENCE_SECONDS || performance.now() - this.lastAt > SILENCE_SECONDS * 1000;
  }
}
