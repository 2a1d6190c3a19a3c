// The page: buttons, states, and what stands where.

import { drawEarlier, drawNotes, drawSpeakers } from "./beside.js";
import { Meter } from "./meter.js";
import { Options } from "./options.js";
import { Recording } from "./recording.js";
import { save } from "./save.js";
import { STREAM, ask, key } from "./server.js";
import { Sheet, clock } from "./sheet.js";
import { NoSound, canOpenTab, microphones, openMicrophone, openTab, readFile } from "./sound.js";
import { Talk } from "./talk.js";

const ASK_AGAIN = 3000; // milliseconds, while the server is away
const ASK_AT_LAST = 600_000; // milliseconds, whatever it says
const LONG_WAIT = 3000; // milliseconds for the last words
const SURE = 4000; // milliseconds in which a second press clears
const EXPECTED = new Set(["model_fallback", "word_timestamps_unavailable"]); // where the user left the choice to the server
const SHOWN = "falling_behind"; // beside the meter, and as it is now

const part = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));
const sheet = new Sheet(part("transcript"), part("announcer"));
const meter = new Meter(part("meter"));
const options = new Options(changeOptions);

let talk = new Talk();
/** @type {Talk[]} */
let earlier = [];
/** @type {Recording | null} */
let recording = null;
/** @type {import("./sound.js").Live | null} */
let live = null;
/** `idle`, `starting`, `live`, `file` or `stopping`. @type {string} */
let phase = "idle";
let attempts = 0; // at a recording
const is = (/** @type {string} */ name) => phase === name;
let isLost = false;

// ---- what is said to the user

/** @param {string} text @param {boolean} [alarm] @param {string} [count] What changes all the time; it is not read out. */
function say(text, alarm = false, count = "") {
  const line = part("state");
  if (line.textContent !== text) line.textContent = text;
  line.classList.toggle("alarm", alarm);
  part("count").textContent = count;
}

/** @param {string} text */
function hint(text) {
  if (part("hint").textContent !== text) part("hint").textContent = text;
}

/** @param {string} next */
function enter(next) {
  const held = document.activeElement;
  phase = next;
  const runs = !is("idle");
  document.body.classList.toggle("live", runs);
  part("record-label").textContent = runs ? "Stop" : "Start";
  part("record").ariaDisabled = String(is("stopping"));
  part("sources").hidden = runs;
  part("gauge").hidden = !is("live") && !is("starting");
  part("progress").hidden = !is("file");
  part("paragraph").hidden = !is("live");
  draw();
  if (held?.closest("[hidden]")) part("record").focus();
}

function draw() {
  sheet.draw(talk);
  part("empty").hidden = !talk.isEmpty || !is("idle");
  part("heading").classList.toggle("unseen", talk.isEmpty);
  part("save").hidden = !talk.finals.length;
  part("clear").hidden = talk.isEmpty || is("stopping") || is("file");
  part("title").textContent = talk.title || "Transcript";
}

function drawVoices() {
  drawSpeakers(part("speakers"), talk, () => {
    sheet.draw(talk);
    drawNotes(part("notes"), talk);
  });
}

function drawBeside() {
  drawVoices();
  drawNotes(part("notes"), talk);
  drawEarlier(part("earlier"), earlier, choose);
}

// ---- the server

/** Wait until it is known what the server has, and so what of the options can be asked for; not for long. */
function meet() {
  return Promise.race([meeting, new Promise((resolve) => setTimeout(resolve, ASK_AGAIN))]);
}

/** @type {any} */
let again = null;

async function meetServer() {
  const answer = await ask();
  part("key-form").hidden = answer.state !== "key";
  if (answer.state === "key") {
    part("model").textContent = "Waiting for a key.";
    if (key.value) refuseKey();
  } else if (answer.state === "here") show(answer);
  else askAgain(answer.state === "busy" ? "The server asks for a pause." : "The server does not answer. It is asked again.", answer.retry);
}

/** @param {{status?: any, limits?: any}} answer */
function show({ status, limits }) {
  try {
    options.show(status);
    showModels(status);
    showLimits(limits);
  } catch {
    askAgain("The server says of itself what this page cannot read. It is asked again.");
  }
}

/** @param {string} why @param {number} [seconds] */
function askAgain(why, seconds) {
  part("model").textContent = why;
  clearTimeout(again);
  again = setTimeout(() => (meeting = meetServer()), Math.min(seconds ? seconds * 1000 : ASK_AGAIN, ASK_AT_LAST));
}

function refuseKey() {
  key.value = "";
  part("key-answer").textContent = "This key is not accepted.";
  part("key-answer").classList.add("trouble");
  part("key").select();
}

/** @param {any} status */
function showModels({ models, available_models: names }) {
  const loaded = models.filter((/** @type {any} */ one) => one.loaded);
  const line = part("model");
  if (!names.length) line.textContent = `No model is available here. ${models[0]?.reason ?? ""}`;
  else line.textContent = loaded.length === 1 ? loaded[0].id : `${names.length} ${names.length === 1 ? "model" : "models"}`;
}

/** @param {Recording} mine */
function showActive(mine) {
  part("model").textContent = mine.stream?.configured.active_model ?? "";
}

/** @param {any} limits */
function showLimits(limits) {
  const left = limits?.remaining_minutes;
  part("limits").textContent = typeof left === "number" ? `${Math.floor(left)} minutes of today are left.` : "";
}

part("key-form").addEventListener("submit", (/** @type {Event} */ event) => {
  event.preventDefault();
  key.value = part("key").value;
  part("key").value = "";
  part("key-answer").textContent = "";
  part("key-answer").classList.remove("trouble");
  meetServer();
});

// ---- a recording

/** Put what is there aside, and begin an empty sheet. @param {string} title */
function begin(title) {
  if (talk.finals.length) earlier = [talk, ...earlier.filter((one) => one !== talk)];
  talk = new Talk();
  talk.title = title;
  isLost = false;
  hint("");
  meter.clear();
  drawBeside();
}

/** @param {number} rate Samples a second. */
function record(rate) {
  recording = new Recording(STREAM, key.value, { ...options.config, sample_rate: rate }, { frame: hear, connection: hearConnection });
  return recording;
}

/** @param {() => Promise<import("./sound.js").Live>} open @param {string} doing */
async function listen(open, doing) {
  const attempt = ++attempts;
  enter("starting");
  say(doing);
  try {
    const opened = await open();
    await meet();
    if (attempt !== attempts) return void opened.stop(); // stopped while the browser asked
    live = opened;
    begin("");
    const mine = record(live.rate);
    live.onsamples = (samples) => {
      mine.hear(samples);
      meter.hear(samples, mine.rate);
    };
    live.onend = stop;
    live.start();
    say("Listening; the server gets ready.");
    await mine.ready;
    if (!is("starting")) return;
    showActive(mine);
    enter("live");
    options.showDevices(await microphones());
    stayAwake(mine);
    mine.over.then(
      () => attempt === attempts && is("live") && finish("The server ended the recording.", true),
      (failure) => attempt === attempts && !is("stopping") && fail(failure),
    );
  } catch (error) {
    if (attempt === attempts) fail(error);
  }
}

/** @param {File} file */
async function transcribe(file) {
  if (!is("idle")) return;
  enter("file");
  const attempt = ++attempts;
  say(`Reading ${file.name}…`);
  try {
    const { samples, rate, seconds } = await readFile(file);
    await meet();
    if (attempt !== attempts) return;
    begin(file.name);
    enter("file");
    const mine = record(rate);
    await mine.ready;
    showActive(mine);
    await mine.hearAll(samples, (share) => {
      part("progress").value = share;
      say(`${file.name} is written down:`, false, `${clock(talk.heard)} of ${clock(seconds)}`);
    });
    if (attempt === attempts && is("file")) await stop();
  } catch (error) {
    if (attempt === attempts && is("file")) fail(error);
  }
}

async function stop(why = "") {
  if (is("idle") || is("stopping")) return;
  const [attempt, done] = [attempts, is("file") ? "Transcribed" : "Recorded"];
  enter("stopping");
  say("Waiting for the last words…");
  setTimeout(() => attempt === attempts && offerToLeave(), LONG_WAIT);
  try {
    await live?.stop();
    await recording?.stop();
    const told = talk.finals.length ? `${done}: ${clock(recording?.seconds ?? 0)}.` : "Nothing was understood.";
    if (attempt === attempts) finish(`${why} ${told}`.trim());
  } catch (error) {
    if (attempt === attempts) fail(error);
  }
}

/** Let whoever does not want to wait for the last words go on without them. */
function offerToLeave() {
  part("record-label").textContent = "Don’t wait";
  part("record").ariaDisabled = "false";
}

/** @param {string} text */
function finish(text, alarm = false) {
  const last = recording;
  live?.stop(); // also where it is the server who ended it
  recording = live = null;
  attempts++;
  last?.drop();
  talk.volatile = "";
  sheet.announce("", true);
  enter("idle");
  drawBeside();
  say(text, alarm);
  hint("");
}

/** @param {any} error */
function fail(error) {
  if (error.code === "unauthorized") refuseKey();
  if (error.code === "unauthorized") part("key-form").hidden = false;
  if (error.code === "unreachable") meetServer();
  options.complain(String(error.detail?.field ?? ""), error.message);
  const known = error instanceof NoSound || error.code;
  const kept = talk.finals.length ? " What was said before is here." : "";
  finish(`${known ? error.message : "Something went wrong in this page."}${error.detail?.install ? ` ${error.detail.install}` : ""}${kept}`, true);
  if (!known) console.error(error);
}

// ---- what comes

/** @param {any} frame */
function hear(frame) {
  const wasEmpty = talk.isEmpty;
  const changed = talk.note(frame);
  if (frame.type === "final") sheet.announce(frame.text);
  if (frame.type === "full_transcript") sheet.announce("", true);
  if (changed === "volatile" && wasEmpty === talk.isEmpty) sheet.drawVolatile(talk);
  else if (changed) draw();
  if (changed === "turns" || changed === "notes" || (frame.type === "final" && talk.speakers.size)) drawVoices();
  if (changed === "turns" || changed === "notes") drawNotes(part("notes"), talk);
  if (frame.state === "configured" && recording) showActive(recording);
  const isKnown = frame.code === SHOWN || (EXPECTED.has(frame.code) && !options.model);
  if (frame.type === "warning" && !isKnown) hint(frame.message);
  if (frame.type === "error") hint(frame.message);
  if (frame.type === "unreadable") hint("The server sent something that this page cannot read.");
}

/** @param {any} frame */
function hearConnection({ state, active_model: model, cut }) {
  isLost = state === "lost";
  document.body.classList.toggle("lost", isLost);
  if (state === "resumed" || state === "anew") hint("The server is back, and nothing was lost.");
  if (cut) hint("The server is back. A word may be cut in two where it stopped.");
  if (model) hint(`The server is back, and another model listens: ${model}. A word or two where it began may be missing.`);
  if (isLost) hint("");
  tick();
}

function tick() {
  if (!recording || (!is("live") && !isLost)) return;
  part("time").textContent = clock(recording.seconds);
  const delay = recording.delay.value;
  part("delay").textContent = delay === null || isLost ? "" : `${delay.toFixed(1)} s behind`;
  if (isLost) say("The server is away. What is said is kept and sent when it is back.", true, clock(recording.stream?.backlog ?? 0));
  else if (is("live")) say(meter.isSilent ? "Listening, but nothing is heard. Is the microphone muted?" : "Listening.");
}
setInterval(tick, 500);

/** @param {Recording} mine */
async function stayAwake(mine) {
  const lock = await navigator.wakeLock?.request("screen").catch(() => null);
  mine.over.finally(() => lock?.release()).catch(() => {});
}

// ---- buttons

function startOrStop() {
  if (is("idle")) listen(() => openMicrophone(options.values.device), "Waiting for the microphone…");
  else if (!is("stopping")) stop();
  else if (part("record").ariaDisabled === "false") finish("Stopped without the last words.", true);
}

/** @param {Talk} other */
function choose(other) {
  if (!is("idle")) return hint("Stop first, then look at what was recorded earlier.");
  earlier = [talk, ...earlier].filter((one) => one !== other && one.finals.length);
  talk = other;
  draw();
  drawBeside();
  part("transcript").focus();
}

async function changeOptions() {
  if (!is("live")) return;
  try {
    await recording?.stream?.configure(options.config);
    hint("");
  } catch (error) {
    const { detail, message } = /** @type {import("./echoic.js").StreamError} */ (error);
    if (!options.complain(String(detail.field ?? ""), message)) hint(message);
  }
}

async function clear() {
  const button = part("clear");
  if (button.dataset.sure !== "yes") {
    button.dataset.sure = "yes";
    button.textContent = "Clear all of it?";
    setTimeout(() => {
      button.dataset.sure = "";
      button.textContent = "Clear";
    }, SURE);
    return;
  }
  button.dataset.sure = "";
  button.textContent = "Clear";
  if (isLost) hint("It is cleared when the server is back.");
  if (is("live")) await recording?.reset().catch(() => {});
  talk.empty();
  if (is("idle")) say("Cleared.");
  draw();
  drawBeside();
  part("record").focus();
}

part("record").addEventListener("click", startOrStop);
part("paragraph").addEventListener("click", () => recording?.commit().catch(() => {}));
part("clear").addEventListener("click", clear);
part("tab").addEventListener("click", () => listen(openTab, "Choose a tab, and share its sound."));
part("tab").hidden = !canOpenTab();
part("file").addEventListener("change", (/** @type {any} */ { target }) => {
  if (target.files[0]) transcribe(target.files[0]);
  target.value = "";
});
part("save").addEventListener("click", async (/** @type {any} */ { target }) => {
  if (target.dataset.form) hint(await save(talk, target.dataset.form));
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.repeat && (event.ctrlKey || event.metaKey) && !options.dialog.open) startOrStop();
});
/** Whether it is a file that is dragged; text goes where text goes. @param {DragEvent} event */
const isFile = ({ dataTransfer }) => Boolean(dataTransfer?.types.includes("Files"));
document.addEventListener("dragover", (event) => {
  if (!isFile(event)) return;
  event.preventDefault();
  document.body.classList.toggle("dropping", is("idle"));
});
document.addEventListener("dragleave", (event) => event.relatedTarget || document.body.classList.remove("dropping"));
document.addEventListener("drop", (event) => {
  if (!isFile(event)) return;
  event.preventDefault();
  document.body.classList.remove("dropping");
  const file = event.dataTransfer?.files[0];
  if (file && !is("idle")) hint("Stop first, then drop the file.");
  else if (file) transcribe(file);
});
window.addEventListener("beforeunload", (event) => {
  if (!is("idle") || [talk, ...earlier].some((one) => !one.isSaved)) event.preventDefault();
});

enter("idle");
let meeting = meetServer();
microphones().then((devices) => options.showDevices(devices));
