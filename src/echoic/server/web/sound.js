// Where sound comes from: the microphone, a tab, a file.

/** @typedef {{rate: number, onsamples: (samples: Float32Array) => void, onend: (why: string) => void, start: () => void, stop: () => Promise<void>}} Live */

const FILE_RATE = 16000;
const QUIET = 0.02; // of full scale, at its loudest
const HANDED_OVER = 1000; // milliseconds; a context that is suspended hands nothing over
// The browser's processing is made for calls: it takes the beginning of speech for noise.
const AS_IT_IS = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };

/** Why there is no sound, in a sentence. */
export class NoSound extends Error {}

/** That it is the server who is missing. */
class NoServer extends NoSound {
  code = "unreachable";
}

/** @param {string} device Its id; empty: the usual one. @returns {Promise<Live>} */
export async function openMicrophone(device) {
  if (!navigator.mediaDevices) throw new NoSound("The microphone needs https or localhost."); // hidden over plain http
  const wish = { ...AS_IT_IS, channelCount: 1, ...(device && { deviceId: { ideal: device } }) };
  let media;
  try {
    media = await navigator.mediaDevices.getUserMedia({ audio: wish });
  } catch (error) {
    throw new NoSound(microphoneTrouble(/** @type {Error} */ (error)));
  }
  return openLive(media, "The microphone is gone.");
}

/** @param {Error} error */
function microphoneTrouble({ name, message }) {
  if (name === "NotAllowedError") return "The browser keeps the microphone from this page. Allow it beside the address, then start again.";
  if (name === "NotFoundError") return "No microphone is connected.";
  if (name === "NotReadableError") return "The microphone is in use by another program.";
  return `The microphone cannot be used: ${message}`;
}

/** Whether a tab's sound can be had. */
export const canOpenTab = () => Boolean(navigator.mediaDevices?.getDisplayMedia);

/** @returns {Promise<Live>} */
export async function openTab() {
  let shared;
  try {
    shared = await navigator.mediaDevices.getDisplayMedia({ video: true, audio: AS_IT_IS }); // none is given without a picture
  } catch (error) {
    const isNo = /** @type {Error} */ (error).name === "NotAllowedError";
    throw new NoSound(isNo ? "No tab was chosen." : `No tab can be heard: ${/** @type {Error} */ (error).message}`);
  }
  if (!shared.getAudioTracks().length) {
    for (const track of shared.getTracks()) track.stop();
    throw new NoSound("Its sound was not shared: choose a tab, and tick that its sound is shared too.");
  }
  return openLive(shared, "The tab is no longer shared.");
}

/** @param {MediaStream} media @param {string} gone What is said if it ends by itself. @returns {Promise<Live>} */
async function openLive(media, gone) {
  /** @type {AudioContext | null} */
  let context = null;
  const close = () => {
    for (const track of media.getTracks()) track.stop();
    if (context && context.state !== "closed") context.close();
  };
  try {
    context = new AudioContext();
    return await hear(media, context, gone, close);
  } catch (error) {
    close(); // nobody is listened to who is not shown it
    if (error instanceof NoSound) throw error;
    throw new NoSound(`This browser gives no sound: ${/** @type {Error} */ (error).message}`);
  }
}

/** @param {MediaStream} media @param {AudioContext} context @param {string} gone @param {() => void} close @returns {Promise<Live>} */
async function hear(media, context, gone, close) {
  if (!context.audioWorklet) throw new NoSound("This browser is too old to hand sound to a page.");
  try {
    await context.audioWorklet.addModule(new URL("./recorder.js", import.meta.url));
  } catch {
    throw new NoServer("The server does not answer.");
  }
  // Browsers suspend it when a telephone rings, or another device is chosen.
  context.onstatechange = () => void (context.state !== "closed" && context.resume().catch(() => {}));
  const recorder = new AudioWorkletNode(context, "recorder", { numberOfOutputs: 0 });
  const source = context.createMediaStreamSource(new MediaStream(media.getAudioTracks()));
  let handedOver = () => {};
  const last = new Promise((resolve) => (handedOver = () => resolve(null)));
  /** @type {Live} */
  const live = {
    rate: context.sampleRate,
    onsamples: () => {},
    onend: () => {},
    start: () => {
      source.connect(recorder);
      context.resume().catch(() => {}); // closed meanwhile
    },
    stop: async () => {
      recorder.port.postMessage("hand over"); // what was heard since the last block
      await Promise.race([last, new Promise((resolve) => setTimeout(resolve, HANDED_OVER))]);
      close();
    },
  };
  recorder.port.onmessage = ({ data }) => {
    if (data.samples.length) live.onsamples(data.samples);
    if (data.isLast) handedOver();
  };
  for (const track of media.getTracks()) track.onended = () => live.onend(gone);
  return live;
}

/**
 * @param {File} file
 * @returns {Promise<{rate: number, seconds: number, samples: Float32Array, isQuiet: boolean}>} Mono.
 */
export async function readFile(file) {
  if (!file.size) throw new NoSound(`${file.name} is empty.`);
  const context = new OfflineAudioContext(1, 1, FILE_RATE); // decodes to that rate
  const audio = await file.arrayBuffer().then((bytes) => context.decodeAudioData(bytes)).catch(() => null);
  if (!audio && file.type.startsWith("video/")) throw new NoSound(`${file.name} has no sound that this browser can read.`);
  if (!audio) throw new NoSound(`${file.name} cannot be read as sound by this browser.`);
  const samples = mono(audio);
  const loudest = loudestOf(samples);
  if (!loudest) throw new NoSound(`${file.name} is silent throughout.`);
  return { rate: audio.sampleRate, seconds: audio.duration, samples, isQuiet: loudest < QUIET };
}

/** @param {AudioBuffer} audio */
function mono(audio) {
  const sum = audio.getChannelData(0);
  for (let channel = 1; channel < audio.numberOfChannels; channel++) {
    const other = audio.getChannelData(channel);
    for (let at = 0; at < sum.length; at++) sum[at] += other[at];
  }
  for (let at = 0; at < sum.length; at++) sum[at] /= audio.numberOfChannels;
  return sum;
}

/** @param {Float32Array} samples */
function loudestOf(samples) {
  let most = 0;
  for (let at = 0; at < samples.length; at++) most = Math.max(most, Math.abs(samples[at]));
  return most;
}

/** The microphones there are, once one was allowed. */
export async function microphones() {
  const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  return devices.filter(({ kind, label }) => kind === "audioinput" && label);
}
