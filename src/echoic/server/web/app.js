const STREAM = "/api/v1/audio/stream/transcribe";
const STATUS = "/api/v1/audio/stream/status";
const LIMITS = "/api/v1/audio/stream/limits";
const BUFFERED = 256 * 1024; // bytes on their way above which a file waits

const NEAR_THE_END = 24; // pixels, less than a line, that the end may be out of view and still be followed
// The browser's processing is made for calls: it takes the beginning of speech for noise.
const MICROPHONE = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };

const part = (id) => document.getElementById(id);
const record = part("record");

function say(text, alarm = false) {
  part("state").textContent = text;
  part("state").classList.toggle("alarm", alarm);
}

// Says which model answers, as far as that is known, and which others are here.
function answering(active, names) {
  if (!active) return `Models here: ${names.join(", ")}.`;
  const others = names.filter((name) => name !== active);
  return `${active} transcribes.${others.length ? ` Also here: ${others.join(", ")}.` : ""}`;
}

async function showModels() {
  const line = part("models");
  try {
    const answer = await fetch(STATUS);
    if (answer.status === 401) {
      line.textContent = "This server asks for a key.";
      part("key-field").hidden = false;
      return;
    }
    const status = await answer.json();
    const names = status.available_models;
    const loaded = status.models.filter((model) => model.loaded).map((model) => model.id);
    line.textContent = names.length
      ? answering(loaded.length === 1 ? loaded[0] : "", names)
      : `No model is available here. ${status.models[0]?.reason ?? ""} ${status.models[0]?.install ?? ""}`;
    part("key-field").hidden = (await fetch(LIMITS)).status !== 401; // asked for only where it is needed
  } catch {
    line.textContent = "The server does not answer.";
  }
}

// Shows the live text; its end stays in view unless the user has scrolled away from it.
const live = part("live");
let follows = true;
live.addEventListener("scroll", () => {
  follows = live.scrollHeight - live.scrollTop - live.clientHeight <= NEAR_THE_END;
});

function show(settled, volatile) {
  part("settled").textContent = settled;
  part("volatile").textContent = volatile;
  if (follows) live.scrollTop = live.scrollHeight;
}

// One stream to the server. `ready` resolves when it is configured, `over` when it is closed.
class Stream {
  constructor(sampleRate) {
    const address = new URL(STREAM, location.href);
    address.protocol = address.protocol.replace("http", "ws");
    this.parts = [];
    this.trouble = "";
    this.socket = new WebSocket(address);
    this.socket.onopen = () => this.begin(sampleRate);
    this.socket.onmessage = ({ data }) => this.hear(JSON.parse(data));
    this.ready = new Promise((resolve) => (this.isReady = resolve));
    this.over = new Promise((resolve) => {
      this.socket.onclose = ({ code }) => {
        this.isReady();
        if (code !== 1000 && !this.trouble) this.trouble = `The connection was closed (code ${code}).`;
        resolve(this.trouble);
      };
    });
    follows = true;
    show("", "");
    part("result").hidden = true;
    live.scrollIntoView({ block: "nearest" });
  }

  begin(sampleRate) {
    const key = part("key").value;
    if (key) this.send({ type: "auth", token: key });
    this.send({ type: "config", sample_rate: sampleRate });
  }

  get open() {
    return this.socket.readyState === WebSocket.OPEN;
  }

  send(frame) {
    if (this.open) this.socket.send(JSON.stringify(frame));
  }

  sendAudio(samples) {
    if (this.open) this.socket.send(samples);
  }

  stop() {
    this.send({ type: "stop" });
  }

  hear(frame) {
    if (frame.type === "partial") {
      show(this.parts.join(" "), frame.text);
    } else if (frame.type === "final") {
      this.parts.push(frame.text);
      show(this.parts.join(" "), "");
    } else if (frame.type === "full_transcript") {
      part("transcript").textContent = frame.text || "Nothing was understood.";
      part("result").hidden = false;
    } else if (frame.type === "warning") {
      say(frame.message);
    } else if (frame.type === "error") {
      this.trouble = frame.message;
      say(frame.message, true);
    } else if (frame.state === "configured") {
      part("models").textContent = answering(frame.active_model, []);
      this.isReady();
    }
  }
}

let microphone = null;

async function startMicrophone() {
  if (!navigator.mediaDevices) {
    say("The microphone needs https or localhost.", true); // browsers hide it from pages that came over plain http
    return;
  }
  record.disabled = true;
  say("Waiting for the microphone…");
  try {
    const source = await navigator.mediaDevices.getUserMedia({ audio: MICROPHONE });
    const context = new AudioContext();
    await context.audioWorklet.addModule("/recorder.js");
    const stream = new Stream(context.sampleRate);
    const recorder = new AudioWorkletNode(context, "recorder", { numberOfOutputs: 0 });
    recorder.port.onmessage = ({ data }) => stream.sendAudio(data);
    microphone = { source, context, stream, recorder };
    stream.over.then(endMicrophone);
    await stream.ready;
    if (!stream.open) return;
    context.createMediaStreamSource(source).connect(recorder);
    say("Listening. Press the button again to stop.");
    record.textContent = "Stop";
    record.setAttribute("aria-pressed", "true");
  } catch (error) {
    say(`The microphone cannot be used: ${error.message}`, true);
    endMicrophone();
  }
  record.disabled = false;
}

function stopMicrophone() {
  record.disabled = true;
  say("Waiting for the last words…");
  const { recorder, stream } = microphone;
  const pass = recorder.port.onmessage;
  recorder.port.onmessage = (message) => {
    pass(message); // what was heard since the last tenth of a second
    stream.stop();
  };
  recorder.port.postMessage("hand over");
}

function endMicrophone(trouble = "") {
  microphone?.source.getTracks().forEach((track) => track.stop());
  microphone?.context.close();
  if (microphone) say(trouble || "Stopped.", Boolean(trouble));
  microphone = null;
  record.textContent = "Start the microphone";
  record.setAttribute("aria-pressed", "false");
  record.disabled = false;
}

async function transcribeFile(file) {
  record.disabled = true;
  say(`Reading ${file.name}…`);
  try {
    const context = new OfflineAudioContext(1, 1, 16000); // decodes to 16 kHz
    const audio = await context.decodeAudioData(await file.arrayBuffer());
    const stream = new Stream(audio.sampleRate);
    await stream.ready;
    say(`Transcribing ${file.name} (${Math.round(audio.duration)} s)…`);
    await sendAll(stream, mono(audio), audio.sampleRate);
    stream.stop();
    const trouble = await stream.over;
    say(trouble || `Finished ${file.name}.`, Boolean(trouble));
  } catch (error) {
    say(`${file.name} cannot be read as audio: ${error.message}`, true);
  }
  record.disabled = false;
}

function mono(audio) {
  const sum = audio.getChannelData(0).slice();
  for (let channel = 1; channel < audio.numberOfChannels; channel++) {
    audio.getChannelData(channel).forEach((value, at) => (sum[at] += value));
  }
  return sum.map((value) => value / audio.numberOfChannels);
}

async function sendAll(stream, samples, block) {
  for (let at = 0; at < samples.length && stream.open; at += block) {
    stream.sendAudio(samples.slice(at, at + block));
    while (stream.socket.bufferedAmount > BUFFERED && stream.open) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

record.addEventListener("click", () => (microphone ? stopMicrophone() : startMicrophone()));
part("file").addEventListener("change", ({ target }) => target.files[0] && transcribeFile(target.files[0]));
part("copy").addEventListener("click", () => navigator.clipboard.writeText(part("transcript").textContent));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
document.addEventListener("dragleave", () => document.body.classList.remove("dropping"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  const [file] = event.dataTransfer.files;
  if (file && !microphone) transcribeFile(file);
});

showModels();
