// What stands beside the transcript: who speaks, what it comes down to, what was recorded before.

import { VOICES, clock, element } from "./sheet.js";

/** @typedef {import("./talk.js").Talk} Talk */

const FIRST = 20; // finals of which one is told how it begins
const GIST = 160; // letters
const PARTS = [
  ["Summary", "summary"],
  ["Action items", "action_items"],
  ["Decisions", "decisions"],
];

/** @param {HTMLElement} section @param {Talk} talk @param {() => void} onname */
export function drawSpeakers(section, talk, onname) {
  const list = /** @type {HTMLElement} */ (section.querySelector("ul"));
  section.hidden = !talk.seconds.size;
  const rows = talk.speakers.map((id, at) => {
    const row = /** @type {HTMLElement} */ (list.children[at] ?? list.appendChild(speakerRow()));
    const [input, share] = /** @type {any} */ (row.children);
    row.className = `voice-${id % VOICES}`;
    input.placeholder = `Speaker ${id + 1}`;
    input.ariaLabel = `Name of speaker ${id + 1}`;
    if (document.activeElement !== input) input.value = talk.names.get(id) ?? "";
    input.title = talk.names.get(id) ?? "";
    input.oninput = () => {
      talk.call(id, input.value.trim());
      onname();
    };
    share.textContent = clock(talk.seconds.get(id) ?? 0);
    share.title = "Time spoken";
    return row;
  });
  while (list.children.length > rows.length) list.lastElementChild?.remove();
}

function speakerRow() {
  const row = element("li", "");
  const input = /** @type {HTMLInputElement} */ (element("input", ""));
  input.autocomplete = "off";
  input.spellcheck = false;
  input.maxLength = 60;
  row.append(input, element("span", ""));
  return row;
}

/** @param {HTMLElement} section @param {Talk} talk */
export function drawNotes(section, talk) {
  const list = /** @type {HTMLElement} */ (section.querySelector("#note-list"));
  const trouble = /** @type {HTMLElement} */ (section.querySelector("#note-trouble"));
  const told = talk.insights.filter((insight) => insight.topics.length || PARTS.some(([, key]) => insight[key].length));
  section.hidden = !told.length && !talk.trouble;
  trouble.textContent = talk.trouble && `There are no notes now. ${talk.trouble}`;
  list.replaceChildren(...told.reverse().map((insight) => note(insight, talk)));
}

/** @param {any} insight @param {Talk} talk */
function note(insight, talk) {
  const card = element("div", `note ${insight.stage}`);
  const { start, end } = insight.source;
  card.append(element("p", "when", `${clock(start)} to ${clock(end)}${insight.stage === "live" ? ", so far" : ""}`));
  for (const [title, key] of PARTS) {
    if (!insight[key].length) continue;
    const list = element("ul", "");
    list.append(...insight[key].map((/** @type {any} */ item) => line(item, talk)));
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

/** @param {any} item @param {Talk} talk */
function line(item, talk) {
  const text = typeof item === "string" ? item : item.description;
  const made = element("li", "", talk.named(text));
  made.dir = "auto";
  if (item.owner) made.append(" ", element("span", "owner", talk.named(item.owner)));
  return made;
}

/** @param {HTMLElement} section @param {Talk[]} talks @param {(talk: Talk) => void} onchoose */
export function drawEarlier(section, talks, onchoose) {
  section.hidden = !talks.length;
  const rows = talks.map((talk) => {
    const row = element("li", "");
    const button = element("button", "");
    button.setAttribute("type", "button");
    const when = talk.began.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    const count = talk.seconds.size > 1 ? `, ${talk.seconds.size} speakers` : "";
    button.append(element("b", "", `${talk.title || when}, ${clock(talk.heard)}${count}`), element("span", "gist", gistOf(talk)));
    button.onclick = () => onchoose(talk);
    row.append(button);
    return row;
  });
  section.querySelector("ul")?.replaceChildren(...rows);
}

/** What it comes down to, or how it begins. @param {Talk} talk */
function gistOf(talk) {
  const summary = talk.insights.filter(({ summary }) => summary.length).at(-1)?.summary ?? [];
  const text = summary.length ? talk.named(summary.join(" ")) : talk.finals.slice(0, FIRST).map(({ text }) => text).join(" ");
  return text.length > GIST ? `${text.slice(0, GIST)}…` : text;
}

/** Where the screen is narrow: a link in the dock to what stands below the transcript, and back. */
export function linkBeside() {
  const link = /** @type {HTMLAnchorElement} */ (document.getElementById("to-beside"));
  const section = ["notes", "speakers", "earlier"].map((id) => document.getElementById(id)).find((one) => !one?.hidden);
  const { scrollHeight } = document.documentElement;
  link.hidden = !section || scrollHeight <= innerHeight;
  if (!section) return;
  const isThere = section.getBoundingClientRect().top < innerHeight / 2 || scrollY + innerHeight >= scrollHeight - 1;
  link.textContent = isThere ? "Transcript" : (section.querySelector("h2")?.textContent ?? "");
  link.href = isThere ? "#sheet" : `#${section.id}`;
}
addEventListener("scroll", linkBeside, { passive: true });
addEventListener("resize", linkBeside);
