// The page: connects recordings, the transcript and the buttons. Its parts: header.js, transcript_view.js, sidebar.js,
// controls.js.

import { drawEarlier, drawNotes, drawSpeakers, updateSidebarLink } from "./sidebar.js";
import { showHint, offerToSkipWaiting, byId, showStatus, showPhase, showProgress } from "./controls.js";
import { listenForFiles } from "./file_input.js";
import { Header, showModel } from "./header.js";
import { LevelMeter } from "./level_meter.js";
import { Options } from "./options.js";
import { Recording } from "./recording.js";
import { save } from "./save.js";
import { STREAM, key } from "./server_api.js";
import { TranscriptView, clock } from "./transcript_view.js";
import { AudioSourceError, canOpenTab, listMicrophones, openMicrophone, openTab, readFile } from "./audio_sources.js";
import { Transcript } from "./transcript.js";

// Milliseconds.
const STOP_TIMEOUT = 3000; // after which stopping without the last words is offered
const CONFIRM_TIMEOUT = 4000; // within which a second press clears
/** Warnings that are not shown if the user left the model to the server. */
const EXPECTED_WARNINGS = new Set(["model_fallback", "word_timestamps_unavailable"]);
const LAG_WARNING = "falling_behind";

const view = new TranscriptView(byId("transcript"), byId("announcer"));
const levelMeter = new LevelMeter(byId("meter"));
const options = new Options(changeOptions);
const header = new Header(showServerStatus);

let transcript = new Transcript();
/** @type {Transcript[]} */
let earlier = [];
/** @type {Recording | null} */
let recording = null;
/** @type {import("./audio_sources.js").Live | null} */
let live = null;
/** `idle`, `starting`, `live`, `file` or `stopping`. @type {string} */
let phase = "idle";
let attempts = 0; // recordings started; an older one must not change the page
let fileSeconds = 0; // length of the file
const isPhase = (/** @type {string} */ name) => phase === name;
let isLost = false;
let lagWarning = { message: "", lag: 0 };

// ---- drawing

/** @param {string} next */
function setPhase(next) {
  const held = document.activeElement;
  phase = next;
  showPhase(phase);
  draw();
  if (held?.closest("[hidden]")) byId("record").focus();
}

function draw() {
  view.draw(transcript);
  byId("empty").hidden = !transcript.isEmpty || !isPhase("idle");
  byId("heading").classList.toggle("unseen", transcript.isEmpty);
  byId("save").hidden = !transcript.finals.length;
  byId("clear").hidden = transcript.isEmpty || isPhase("stopping") || isPhase("file");
  byId("title").textContent = byId("title").title = transcript.title || "Transcript";
}

function drawVoices() {
  drawSpeakers(byId("speakers"), transcript, () => {
    view.draw(transcript);
    drawNotes(byId("notes"), transcript);
  });
}

function drawSidebar() {
  drawVoices();
  drawNotes(byId("notes"), transcript);
  drawEarlier(byId("earlier"), earlier, selectTranscript);
  updateSidebarLink();
}

function drawProgress() {
  if (!isPhase("file") || isLost) return;
  showProgress(transcript.duration / fileSeconds);
  showStatus(`Transcribing ${transcript.title}:`, false, `${clock(transcript.duration)} of ${clock(fileSeconds)}`);
}

/** @param {Recording} mine */
const showActive = (mine) => showModel(mine.stream?.configured.active_model ?? "");

// ---- recordings

/** Move the transcript to the earlier ones, and start an empty one. @param {string} title */
function startTranscript(title) {
  if (transcript.finals.length) earlier = [transcript, ...earlier.filter((one) => one !== transcript)];
  transcript = new Transcript();
  transcript.title = title;
  isLost = false;
  showHint(options.replacementErrors && `Replacements: ${options.replacementErrors}`);
  levelMeter.clear();
  drawSidebar();
}

/** @param {number} rate Samples a second. */
function createRecording(rate) {
  recording = new Recording(STREAM, key.value, { ...options.config, sample_rate: rate }, { frame: onFrame, connection: onConnection });
  return recording;
}

/** @param {() => Promise<import("./audio_sources.js").Live>} open @param {string} doing */
async function recordLive(open, doing) {
  const attempt = ++attempts;
  setPhase("starting");
  showStatus(doing);
  try {
    const opened = await open();
    await header.wait();
    if (attempt !== attempts) return void opened.stop(); // stopped while the browser asked the user
    live = opened;
    startTranscript("");
    const mine = createRecording(live.rate);
    live.onsamples = (samples) => {
      mine.push(samples);
      levelMeter.push(samples, mine.rate);
    };
    live.onend = stop;
    live.start();
    showStatus("Listening; the server is getting ready.");
    await mine.ready;
    if (!isPhase("starting")) return;
    showActive(mine);
    setPhase("live");
    options.showDevices(await listMicrophones());
    stayAwake(mine);
    mine.over.then(
      () => attempt === attempts && isPhase("live") && finish("The server ended the recording.", true),
      (failure) => attempt === attempts && !isPhase("stopping") && finishWithError(failure),
    );
  } catch (error) {
    if (attempt === attempts) finishWithError(error);
  }
}

/** @param {File} file */
async function transcribeFile(file) {
  if (!isPhase("idle")) return showHint("Stop first, then drop the file.");
  setPhase("file");
  const attempt = ++attempts;
  const isOver = () => attempt !== attempts;
  showStatus(`Reading ${file.name}…`);
  try {
    const { samples, rate, seconds, isQuiet } = await readFile(file);
    await header.wait();
    if (isOver()) return;
    startTranscript(file.name);
    fileSeconds = seconds;
    setPhase("file");
    const mine = createRecording(rate);
    drawProgress();
    await mine.ready;
    if (isOver()) return;
    showActive(mine);
    await mine.pushAll(samples);
    if (isOver()) return;
    await mine.stop();
    const none = isQuiet ? `Nothing was understood: ${file.name} is very quiet.` : "Nothing was understood.";
    if (!isOver()) finish(transcript.finals.length ? `Transcribed: ${clock(mine.seconds)}.` : none);
  } catch (error) {
    if (!isOver()) finishWithError(error);
  }
}

function cancelFile() {
  finish(transcript.finals.length && fileSeconds ? `Cancelled. The transcript up to ${clock(transcript.duration)} is here.` : "Cancelled.");
}

async function stop(why = "") {
  if (isPhase("idle") || isPhase("stopping")) return;
  const attempt = attempts;
  setPhase("stopping");
  showStatus("Waiting for the last words…");
  setTimeout(() => attempt === attempts && offerToSkipWaiting(), STOP_TIMEOUT);
  try {
    await live?.stop();
    await recording?.stop();
    const told = transcript.finals.length ? `Recorded: ${clock(recording?.seconds ?? 0)}.` : "Nothing was understood.";
    if (attempt === attempts) finish(`${why} ${told}`.trim());
  } catch (error) {
    if (attempt === attempts) finishWithError(error);
  }
}

/** @param {string} text */
function finish(text, alarm = false) {
  const last = recording;
  live?.stop(); // also if the server ended the recording
  recording = live = null;
  attempts++;
  last?.close();
  fileSeconds = 0;
  transcript.volatile = "";
  if (transcript.isEmpty) transcript.title = "";
  view.announce("", true);
  setPhase("idle");
  drawSidebar();
  showStatus(text, alarm);
  showHint("");
}

/** @param {any} error */
function finishWithError(error) {
  if (error.code === "unauthorized") header.refuseKey();
  if (error.code === "unreachable") header.refresh();
  options.showRefusal(String(error.detail?.field ?? ""), error.message);
  const known = error instanceof AudioSourceError || error.code;
  const kept = transcript.finals.length ? " What was said before is here." : "";
  finish(`${known ? error.message : "Something went wrong in this page."}${error.detail?.install ? ` ${error.detail.install}` : ""}${kept}`, true);
  if (!known) console.error(error);
}

// ---- frames

/** @param {any} frame */
function onFrame(frame) {
  const wasEmpty = transcript.isEmpty;
  const changed = transcript.addFrame(frame);
  if (frame.type === "final") view.announce(frame.text);
  if (frame.type === "full_transcript") view.announce("", true);
  if (changed === "volatile" && wasEmpty === transcript.isEmpty) view.drawVolatile(transcript);
  else if (changed) draw();
  if (changed === "turns" || changed === "notes" || (frame.type === "final" && transcript.seconds.size)) drawVoices();
  if (changed === "turns" || changed === "notes") {
    drawNotes(byId("notes"), transcript);
    updateSidebarLink();
  }
  if (frame.type === "final") drawProgress();
  if (frame.state === "configured" && recording) showActive(recording);
  if (frame.type === "warning" && !(EXPECTED_WARNINGS.has(frame.code) && !options.model)) showHint(frame.message);
  if (frame.code === LAG_WARNING) lagWarning = frame;
  if (frame.type === "error") showHint(frame.message);
  if (frame.type === "unreadable") showHint("The server sent something that this page cannot read.");
}

/** @param {any} frame */
function onConnection({ state, active_model: model, cut }) {
  isLost = state === "lost";
  document.body.classList.toggle("lost", isLost);
  if (state === "resumed" || state === "anew") showHint("The server is back, and nothing was lost.");
  if (cut) showHint("The server is back. A word may be cut in two where it stopped.");
  if (model) showHint(`The server is back, and another model listens: ${model}. A word or two where it began may be missing.`);
  if (isLost) showHint("");
  updateFigures();
  drawProgress();
}

function updateFigures() {
  if (!recording || (!isPhase("live") && !isLost)) return;
  byId("time").textContent = clock(recording.seconds);
  const delay = recording.latency.value;
  byId("delay").textContent = delay === null || isLost ? "" : `${delay.toFixed(1)} s behind`;
  if (delay !== null && delay < lagWarning.lag / 2 && byId("hint").textContent === lagWarning.message) showHint("");
  if (isLost) showStatus("The server is away. What is said is kept and sent when it is back.", true, clock(recording.stream?.backlog ?? 0));
  else if (isPhase("live")) showStatus(levelMeter.isSilent ? "Listening, but nothing is heard. Is the microphone muted?" : "Listening.");
}
setInterval(updateFigures, 500);

/** Show the status of the server. @param {any} status */
function showServerStatus(status) {
  options.show(status);
  if (status.available_models.length && !byId("state").textContent) showStatus("Ready.");
}

/** @param {Recording} mine */
async function stayAwake(mine) {
  const lock = await navigator.wakeLock?.request("screen").catch(() => null);
  mine.over.finally(() => lock?.release()).catch(() => {});
}

// ---- buttons

function startOrStop() {
  if (isPhase("idle")) recordLive(() => openMicrophone(options.values.device), "Waiting for the microphone…");
  else if (isPhase("file")) cancelFile();
  else if (!isPhase("stopping")) stop();
  else if (byId("record").ariaDisabled === "false") finish("Stopped without the last words.", true);
}

/** @param {Transcript} other */
function selectTranscript(other) {
  if (!isPhase("idle")) return showHint("Stop first, then look at what was recorded earlier.");
  earlier = [transcript, ...earlier].filter((one) => one !== other && one.finals.length);
  transcript = other;
  draw();
  drawSidebar();
  byId("transcript").focus();
}

async function changeOptions() {
  showHint(options.replacementErrors && `Replacements: ${options.replacementErrors}`);
  if (!isPhase("live")) return;
  try {
    await recording?.stream?.configure(options.config);
  } catch (error) {
    const { detail, message } = /** @type {import("./echoic.js").StreamError} */ (error);
    if (!options.showRefusal(String(detail.field ?? ""), message)) showHint(message);
  }
}

async function clearTranscript() {
  const button = byId("clear");
  if (button.dataset.sure !== "yes") {
    button.dataset.sure = "yes";
    button.textContent = "Clear all of it?";
    setTimeout(() => {
      button.dataset.sure = "";
      button.textContent = "Clear";
    }, CONFIRM_TIMEOUT);
    return;
  }
  button.dataset.sure = "";
  button.textContent = "Clear";
  if (isLost) showHint("It is cleared when the server is back.");
  if (isPhase("live")) await recording?.reset().catch(() => {});
  transcript.clear();
  if (isPhase("idle")) showStatus("Cleared.");
  draw();
  drawSidebar();
  byId("record").focus();
}

byId("record").addEventListener("click", startOrStop);
byId("paragraph").addEventListener("click", () => recording?.commit().catch(() => {}));
byId("clear").addEventListener("click", clearTranscript);
byId("tab").addEventListener("click", () => recordLive(openTab, "Choose a tab, and share its sound."));
byId("tab").hidden = !canOpenTab();
listenForFiles(transcribeFile, () => isPhase("idle"));
byId("save").addEventListener("click", async (/** @type {any} */ { target }) => {
  if (target.dataset.form) showHint(await save(transcript, target.dataset.form));
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.repeat && (event.ctrlKey || event.metaKey) && !options.dialog.open) startOrStop();
});
window.addEventListener("beforeunload", (event) => {
  if (!isPhase("idle") || [transcript, ...earlier].some((one) => !one.isSaved)) event.preventDefault();
});

setPhase("idle");
header.refresh();
listMicrophones().then((devices) => options.showDevices(devices));
