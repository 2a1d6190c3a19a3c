// Audio sources: the microphone, a browser tab, a file.

/** @typedef {{rate: number, onsamples: (samples: Float32Array) => void, onend: (why: string) => void, start: () => void, stop: () => Promise<void>}} Live */

const FILE_RATE = 16000;
const QUIET_PEAK = 0.02; // of full scale
const LAST_BLOCK_TIMEOUT = 1000; // milliseconds; a suspended context posts no block
// The browser's processing is made for calls: it removes the beginning of speech as noise.
const UNPROCESSED = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };

/** There is no sound; the message says why. */
export class AudioSourceError extends Error {}

/** There is no sound because the server does not answer. */
class ServerUnreachable extends AudioSourceError {
  code = "unreachable";
}

/** @param {string} device The id of a device; empty for the default. @returns {Promise<Live>} */
export async function openMicrophone(device) {
  if (!navigator.mediaDevices) throw new AudioSourceError("The microphone needs https or localhost."); // hidden over plain http
  const constraints = { ...UNPROCESSED, channelCount: 1, ...(device && { deviceId: { ideal: device } }) };
  let media;
  try {
    media = await navigator.mediaDevices.getUserMedia({ audio: constraints });
  } catch (error) {
    throw new AudioSourceError(describeMicrophoneError(/** @type {Error} */ (error)));
  }
  return openLive(media, "The microphone is gone.");
}

/** @param {Error} error */
function describeMicrophoneError({ name, message }) {
  if (name === "NotAllowedError") return "The browser keeps the microphone from this page. Allow it beside the address, then start again.";
  if (name === "NotFoundError") return "No microphone is connected.";
  if (name === "NotReadableError") return "The microphone is in use by another program.";
  return `The microphone cannot be used: ${message}`;
}

/** Return whether this browser can capture the sound of a tab. */
export const canOpenTab = () => Boolean(navigator.mediaDevices?.getDisplayMedia);

/** @returns {Promise<Live>} */
export async function openTab() {
  let shared;
  try {
    shared = await navigator.mediaDevices.getDisplayMedia({ video: true, audio: UNPROCESSED }); // browsers share sound only together with video
  } catch (error) {
    const isNo = /** @type {Error} */ (error).name === "NotAllowedError";
    throw new AudioSourceError(isNo ? "No tab was chosen." : `No tab can be heard: ${/** @type {Error} */ (error).message}`);
  }
  if (!shared.getAudioTracks().length) {
    for (const track of shared.getTracks()) track.stop();
    throw new AudioSourceError("Its sound was not shared: choose a tab, and tick that its sound is shared too.");
  }
  return openLive(shared, "The tab is no longer shared.");
}

/** @param {MediaStream} media @param {string} endMessage Passed to `onend` if the source ends by itself. @returns {Promise<Live>} */
async function openLive(media, endMessage) {
  /** @type {AudioContext | null} */
  let context = null;
  const close = () => {
    for (const track of media.getTracks()) track.stop();
    if (context && context.state !== "closed") context.close();
  };
  try {
    context = new AudioContext();
    return await startCapture(media, context, endMessage, close);
  } catch (error) {
    close(); // the browser must not show that it records
    if (error instanceof AudioSourceError) throw error;
    throw new AudioSourceError(`This browser gives no sound: ${/** @type {Error} */ (error).message}`);
  }
}

/** @param {MediaStream} media @param {AudioContext} context @param {string} endMessage @param {() => void} close @returns {Promise<Live>} */
async function startCapture(media, context, endMessage, close) {
  if (!context.audioWorklet) throw new AudioSourceError("This browser is too old to hand sound to a page.");
  try {
    await context.audioWorklet.addModule(new URL("./recorder.js", import.meta.url));
  } catch {
    throw new ServerUnreachable("The server does not answer.");
  }
  // Browsers suspend the context when a telephone rings or another device is chosen.
  context.onstatechange = () => void (context.state !== "closed" && context.resume().catch(() => {}));
  const recorder = new AudioWorkletNode(context, "recorder", { numberOfOutputs: 0 });
  const source = context.createMediaStreamSource(new MediaStream(media.getAudioTracks()));
  let resolveLast = () => {};
  const last = new Promise((resolve) => (resolveLast = () => resolve(null)));
  /** @type {Live} */
  const live = {
    rate: context.sampleRate,
    onsamples: () => {},
    onend: () => {},
    start: () => {
      source.connect(recorder);
      context.resume().catch(() => {}); // it may be closed by now
    },
    stop: async () => {
      recorder.port.postMessage("post the last block");
      await Promise.race([last, new Promise((resolve) => setTimeout(resolve, LAST_BLOCK_TIMEOUT))]);
      close();
    },
  };
  recorder.port.onmessage = ({ data }) => {
    if (data.samples.length) live.onsamples(data.samples);
    if (data.isLast) resolveLast();
  };
  for (const track of media.getTracks()) track.onended = () => live.onend(endMessage);
  return live;
}

/**
 * Decode a file.
 * @param {File} file
 * @returns {Promise<{rate: number, seconds: number, samples: Float32Array, isQuiet: boolean}>} Mono samples.
 */
export async function readFile(file) {
  if (!file.size) throw new AudioSourceError(`${file.name} is empty.`);
  const context = new OfflineAudioContext(1, 1, FILE_RATE); // decodes to that rate
  const audio = await file.arrayBuffer().then((bytes) => context.decodeAudioData(bytes)).catch(() => null);
  if (!audio && file.type.startsWith("video/")) throw new AudioSourceError(`${file.name} has no sound that this browser can read.`);
  if (!audio) throw new AudioSourceError(`${file.name} cannot be read as sound by this browser.`);
  const samples = toMono(audio);
  const peak = peakOf(samples);
  if (!peak) throw new AudioSourceError(`${file.name} is silent throughout.`);
  return { rate: audio.sampleRate, seconds: audio.duration, samples, isQuiet: peak < QUIET_PEAK };
}

/** @param {AudioBuffer} audio */
function toMono(audio) {
  const sum = audio.getChannelData(0);
  for (let channel = 1; channel < audio.numberOfChannels; channel++) {
    const other = audio.getChannelData(channel);
    for (let at = 0; at < sum.length; at++) sum[at] += other[at];
  }
  for (let at = 0; at < sum.length; at++) sum[at] /= audio.numberOfChannels;
  return sum;
}

/** @param {Float32Array} samples */
function peakOf(samples) {
  let most = 0;
  for (let at = 0; at < samples.length; at++) most = Math.max(most, Math.abs(samples[at]));
  return most;
}

/** Return the listMicrophones; empty until the user has allowed one. */
export async function listMicrophones() {
  const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  return devices.filter(({ kind, label }) => kind === "audioinput" && label);
}
