// The level of the last seconds, as bars.

const FLOOR = -54; // decibels below which nothing is drawn
const SILENT = 0.0008; // of full scale
const BAR = 4; // device-independent pixels, half of them gap

export class Meter {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    /** @type {number[]} */
    this.levels = [];
    this.silentFor = 0; // seconds
    this.heardAt = 0; // milliseconds
  }

  /** @param {Float32Array} samples @param {number} rate */
  hear(samples, rate) {
    this.heardAt = performance.now();
    let sum = 0;
    for (const value of samples) sum += value * value;
    const level = Math.sqrt(sum / (samples.length || 1));
    this.silentFor = level < SILENT ? this.silentFor + samples.length / rate : 0;
    this.levels.push(Math.max(0, 1 - (20 * Math.log10(level || 1e-9)) / FLOOR));
    this.draw();
  }

  clear() {
    this.levels = [];
    this.silentFor = 0;
    this.heardAt = performance.now();
    this.draw();
  }

  draw() {
    const { canvas } = this;
    const scale = devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
    if (canvas.height !== Math.round(height * scale)) canvas.height = Math.round(height * scale);
    const bars = Math.floor(width / BAR);
    this.levels.splice(0, this.levels.length - Math.max(bars, 1));
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    context.fillStyle = getComputedStyle(canvas).color;
    this.levels.forEach((level, at) => {
      const size = Math.max(2, level * height);
      const left = width - (this.levels.length - at) * BAR;
      context.globalAlpha = 0.25 + 0.75 * (at / this.levels.length);
      context.beginPath();
      context.roundRect(left, (height - size) / 2, BAR / 2, size, 1);
      context.fill();
    });
  }

  get isSilent() {
    return this.silentFor > SILENCE || performance.now() - this.heardAt > SILENCE * 1000;
  }
}

const SILENCE = 4; // seconds after which somebody should be told
