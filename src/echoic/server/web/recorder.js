// Audio worklet: passes captured audio to the page in blocks of 1/20 s, channels averaged.
class Recorder extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Float32Array(Math.round(sampleRate / 20));
    this.filled = 0;
    this.port.onmessage = () => this.postBlock(true);
  }

  process([channels]) {
    const length = channels[0]?.length ?? 0;
    for (let at = 0; at < length; at++) {
      let sum = 0;
      for (const channel of channels) sum += channel[at];
      this.block[this.filled++] = sum / channels.length;
      if (this.filled === this.block.length) this.postBlock(false);
    }
    return true;
  }

  postBlock(isLast) {
    this.port.postMessage({ samples: this.block.slice(0, this.filled), isLast });
    this.filled = 0;
  }
}

registerProcessor("recorder", Recorder);
