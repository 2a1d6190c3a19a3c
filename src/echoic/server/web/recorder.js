// Hands the microphone's first channel to the page, a tenth of a second at a time.
class Recorder extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Float32Array(Math.round(sampleRate / 10));
    this.filled = 0;
    this.port.onmessage = () => this.handOver();
  }

  process(inputs) {
    const heard = inputs[0][0];
    for (let at = 0; heard && at < heard.length; ) {
      const part = heard.subarray(at, at + this.block.length - this.filled);
      this.block.set(part, this.filled);
      this.filled += part.length;
      at += part.length;
      if (this.filled === this.block.length) this.handOver();
    }
    return true;
  }

  handOver() {
    this.port.postMessage(this.block.slice(0, this.filled));
    this.filled = 0;
  }
}

registerProcessor("recorder", Recorder);
