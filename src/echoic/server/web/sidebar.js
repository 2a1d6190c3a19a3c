// The sidebar: speakers, notes and earlier recordings.

import { VOICES, clock, element } from "./transcript_view.js";

/** @typedef {import("./transcript.js").Transcript} Transcript */

const PREVIEW_FINALS = 20;
const PREVIEW_LETTERS = 160;
/** Headings of a buildNote, and keys of the insight. */
const NOTE_PARTS = [
  ["Summary", "summary"],
  ["Action items", "action_items"],
  ["Decisions", "decisions"],
];

/** @param {HTMLElement} section @param {Transcript} transcript @param {() => void} onNamed */
export function drawSpeakers(section, transcript, onNamed) {
  const list = /** @type {HTMLElement} */ (section.querySelector("ul"));
  section.hidden = !transcript.seconds.size;
  const rows = transcript.speakers.map((id, at) => {
    const row = /** @type {HTMLElement} */ (list.children[at] ?? list.appendChild(buildSpeakerRow()));
    const [input, share] = /** @type {any} */ (row.children);
    row.className = `voice-${id % VOICES}`;
    input.placeholder = `Speaker ${id + 1}`;
    input.ariaLabel = `Name of speaker ${id + 1}`;
    if (document.activeElement !== input) input.value = transcript.names.get(id) ?? "";
    input.title = transcript.names.get(id) ?? "";
    input.oninput = () => {
      transcript.setName(id, input.value.trim());
      onNamed();
    };
    share.textContent = clock(transcript.seconds.get(id) ?? 0);
    share.title = "Time spoken";
    return row;
  });
  while (list.children.length > rows.length) list.lastElementChild?.remove();
}

function buildSpeakerRow() {
  const row = element("li", "");
  const input = /** @type {HTMLInputElement} */ (element("input", ""));
  input.autocomplete = "off";
  input.spellcheck = false;
  input.maxLength = 60;
  row.append(input, element("span", ""));
  return row;
}

/** @param {HTMLElement} section @param {Transcript} transcript */
export function drawNotes(section, transcript) {
  const list = /** @type {HTMLElement} */ (section.querySelector("#note-list"));
  const trouble = /** @type {HTMLElement} */ (section.querySelector("#note-trouble"));
  const shown = transcript.insights.filter((insight) => insight.topics.length || NOTE_PARTS.some(([, key]) => insight[key].length));
  section.hidden = !shown.length && !transcript.trouble;
  trouble.textContent = transcript.trouble && `There are no notes now. ${transcript.trouble}`;
  list.replaceChildren(...shown.reverse().map((insight) => buildNote(insight, transcript)));
}

/** @param {any} insight @param {Transcript} transcript */
function buildNote(insight, transcript) {
  const card = element("div", `note ${insight.stage}`);
  const { start, end } = insight.source;
  card.append(element("p", "when", `${clock(start)} to ${clock(end)}${insight.stage === "live" ? ", so far" : ""}`));
  for (const [title, key] of NOTE_PARTS) {
    if (!insight[key].length) continue;
    const list = element("ul", "");
    list.append(...insight[key].map((/** @type {any} */ item) => buildNoteItem(item, transcript)));
    card.append(element("h3", "", title), list);
  }
  if (insight.topics.length) {
    const topics = element("ul", "topics");
    topics.setAttribute("aria-label", "Topics");
    topics.append(...insight.topics.map((/** @type {string} */ topic) => element("li", "", topic)));
    card.append(topics);
  }
  return card;
}

/** @param {any} item @param {Transcript} transcript */
function buildNoteItem(item, transcript) {
  const text = typeof item === "string" ? item : item.description;
  const made = element("li", "", transcript.replaceLabels(text));
  made.dir = "auto";
  if (item.owner) made.append(" ", element("span", "owner", transcript.replaceLabels(item.owner)));
  return made;
}

/** @param {HTMLElement} section @param {Transcript[]} transcripts @param {(transcript: Transcript) => void} onSelected */
export function drawEarlier(section, transcripts, onSelected) {
  section.hidden = !transcripts.length;
  const rows = transcripts.map((transcript) => {
    const row = element("li", "");
    const button = element("button", "");
    button.setAttribute("type", "button");
    const when = transcript.began.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    const count = transcript.seconds.size > 1 ? `, ${transcript.seconds.size} speakers` : "";
    button.append(element("b", "", `${transcript.title || when}, ${clock(transcript.duration)}${count}`), element("span", "gist", previewOf(transcript)));
    button.onclick = () => onSelected(transcript);
    row.append(button);
    return row;
  });
  section.querySelector("ul")?.replaceChildren(...rows);
}

/** Return the summary, or the first words if there is none. @param {Transcript} transcript */
function previewOf(transcript) {
  const summary = transcript.insights.filter(({ summary }) => summary.length).at(-1)?.summary ?? [];
  const text = summary.length ? transcript.replaceLabels(summary.join(" ")) : transcript.finals.slice(0, PREVIEW_FINALS).map(({ text }) => text).join(" ");
  return text.length > PREVIEW_LETTERS ? `${text.slice(0, PREVIEW_LETTERS)}…` : text;
}

/** Show a link to the sidebar and back where a narrow screen puts it below the transcript. */
export function updateSidebarLink() {
  const link = /** @type {HTMLAnchorElement} */ (document.getElementById("to-beside"));
  const section = ["notes", "speakers", "earlier"].map((id) => document.getElementById(id)).find((one) => !one?.hidden);
  const { scrollHeight } = document.documentElement;
  link.hidden = !section || scrollHeight <= innerHeight;
  if (!section) return;
  const isThere = section.getBoundingClientRect().top < innerHeight / 2 || scrollY + innerHeight >= scrollHeight - 1;
  link.textContent = isThere ? "Transcript" : (section.querySelector("h2")?.textContent ?? "");
  link.href = isThere ? "#sheet" : `#${section.id}`;
}
addEventListener("scroll", updateSidebarLink, { passive: true });
addEventListener("resize", updateSidebarLink);
