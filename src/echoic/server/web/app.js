// The page: what is recorded, what comes of it, and what the buttons do. What stands below is in dock.js, above in
// meeting.js, beside in beside.js; the transcript is drawn by sheet.js.

import { drawEarlier, drawNotes, drawSpeakers, linkBeside } from "./beside.js";
import { hint, offerToLeave, part, say, showPhase, showProgress } from "./dock.js";
import { takeFiles } from "./dropping.js";
import { Meeting, showModel } from "./meeting.js";
import { Meter } from "./meter.js";
import { Options } from "./options.js";
import { Recording } from "./recording.js";
import { save } from "./save.js";
import { STREAM, key } from "./server.js";
import { Sheet, clock } from "./sheet.js";
import { NoSound, canOpenTab, microphones, openMicrophone, openTab, readFile } from "./sound.js";
import { Talk } from "./talk.js";

const LONG_WAIT = 3000; // milliseconds for the last words
const SURE = 4000; // milliseconds in which a second press clears
const EXPECTED = new Set(["model_fallback", "word_timestamps_unavailable"]); // where the user left the choice to the server
const LATE = "falling_behind";

const sheet = new Sheet(part("transcript"), part("announcer"));
const meter = new Meter(part("meter"));
const options = new Options(changeOptions);
const meeting = new Meeting(meet);

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
let whole = 0; // seconds of the file that is written down
const is = (/** @type {string} */ name) => phase === name;
let isLost = false;
let late = { message: "", lag: 0 }; // what the server told of that last

// ---- what is drawn

/** @param {string} next */
function enter(next) {
  const held = document.activeElement;
  phase = next;
  showPhase(phase);
  draw();
  if (held?.closest("[hidden]")) part("record").focus();
}

function draw() {
  sheet.draw(talk);
  part("empty").hidden = !talk.isEmpty || !is("idle");
  part("heading").classList.toggle("unseen", talk.isEmpty);
  part("save").hidden = !talk.finals.length;
  part("clear").hidden = talk.isEmpty || is("stopping") || is("file");
  part("title").textContent = part("title").title = talk.title || "Transcript";
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
  linkBeside();
}

function drawProgress() {
  if (!is("file") || isLost) return;
  showProgress(talk.heard / whole);
  say(`Transcribing ${talk.title}:`, false, `${clock(talk.heard)} of ${clock(whole)}`);
}

/** @param {Recording} mine */
const showActive = (mine) => showModel(mine.stream?.configured.active_model ?? "");

// ---- a recording

/** Put what is there aside, and begin an empty sheet. @param {string} title */
function begin(title) {
  if (talk.finals.length) earlier = [talk, ...earlier.filter((one) => one !== talk)];
  talk = new Talk();
  talk.title = title;
  isLost = false;
  hint(options.trouble && `Replacements: ${options.trouble}`);
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
    await meeting.wait();
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
    say("Listening; the server is getting ready.");
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
  if (!is("idle")) return hint("Stop first, then drop the file.");
  enter("file");
  const attempt = ++attempts;
  const isOver = () => attempt !== attempts;
  say(`Reading ${file.name}…`);
  try {
    const { samples, rate, seconds, isQuiet } = await readFile(file);
    await meeting.wait();
    if (isOver()) return;
    begin(file.name);
    whole = seconds;
    enter("file");
    const mine = record(rate);
    drawProgress();
    await mine.ready;
    if (isOver()) return;
    showActive(mine);
    await mine.hearAll(samples);
    if (isOver()) return;
    await mine.stop();
    const none = isQuiet ? `Nothing was understood: ${file.name} is very quiet.` : "Nothing was understood.";
    if (!isOver()) finish(talk.finals.length ? `Transcribed: ${clock(mine.seconds)}.` : none);
  } catch (error) {
    if (!isOver()) fail(error);
  }
}

function cancel() {
  finish(talk.finals.length && whole ? `Cancelled. The transcript up to ${clock(talk.heard)} is here.` : "Cancelled.");
}

async function stop(why = "") {
  if (is("idle") || is("stopping")) return;
  const attempt = attempts;
  enter("stopping");
  say("Waiting for the last words…");
  setTimeout(() => attempt === attempts && offerToLeave(), LONG_WAIT);
  try {
    await live?.stop();
    await recording?.stop();
    const told = talk.finals.length ? `Recorded: ${clock(recording?.seconds ?? 0)}.` : "Nothing was understood.";
    if (attempt === attempts) finish(`${why} ${told}`.trim());
  } catch (error) {
    if (attempt === attempts) fail(error);
  }
}

/** @param {string} text */
function finish(text, alarm = false) {
  const last = recording;
  live?.stop(); // also where it is the server who ended it
  recording = live = null;
  attempts++;
  last?.drop();
  whole = 0;
  talk.volatile = "";
  if (talk.isEmpty) talk.title = "";
  sheet.announce("", true);
  enter("idle");
  drawBeside();
  say(text, alarm);
  hint("");
}

/** @param {any} error */
function fail(error) {
  if (error.code === "unauthorized") meeting.refuseKey();
  if (error.code === "unreachable") meeting.begin();
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
  if (changed === "turns" || changed === "notes" || (frame.type === "final" && talk.seconds.size)) drawVoices();
  if (changed === "turns" || changed === "notes") {
    drawNotes(part("notes"), talk);
    linkBeside();
  }
  if (frame.type === "final") drawProgress();
  if (frame.state === "configured" && recording) showActive(recording);
  if (frame.type === "warning" && !(EXPECTED.has(frame.code) && !options.model)) hint(frame.message);
  if (frame.code === LATE) late = frame;
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
  drawProgress();
}

function tick() {
  if (!recording || (!is("live") && !isLost)) return;
  part("time").textContent = clock(recording.seconds);
  const delay = recording.delay.value;
  part("delay").textContent = delay === null || isLost ? "" : `${delay.toFixed(1)} s behind`;
  if (delay !== null && delay < late.lag / 2 && part("hint").textContent === late.message) hint("");
  if (isLost) say("The server is away. What is said is kept and sent when it is back.", true, clock(recording.stream?.backlog ?? 0));
  else if (is("live")) say(meter.isSilent ? "Listening, but nothing is heard. Is the microphone muted?" : "Listening.");
}
setInterval(tick, 500);

/** @param {any} status The server's. */
function meet(status) {
  options.show(status);
  if (status.available_models.length && !part("state").textContent) say("Ready.");
}

/** @param {Recording} mine */
async function stayAwake(mine) {
  const lock = await navigator.wakeLock?.request("screen").catch(() => null);
  mine.over.finally(() => lock?.release()).catch(() => {});
}

// ---- buttons

function startOrStop() {
  if (is("idle")) listen(() => openMicrophone(options.values.device), "Waiting for the microphone…");
  else if (is("file")) cancel();
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
  hint(options.trouble && `Replacements: ${options.trouble}`);
  if (!is("live")) return;
  try {
    await recording?.stream?.configure(options.config);
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
takeFiles(transcribe, () => is("idle"));
part("save").addEventListener("click", async (/** @type {any} */ { target }) => {
  if (target.dataset.form) hint(await save(talk, target.dataset.form));
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.repeat && (event.ctrlKey || event.metaKey) && !options.dialog.open) startOrStop();
});
window.addEventListener("beforeunload", (event) => {
  if (!is("idle") || [talk, ...earlier].some((one) => !one.isSaved)) event.preventDefault();
});

enter("idle");
meeting.begin();
microphones().then((devices) => options.showDevices(devices));
