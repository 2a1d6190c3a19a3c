// The options dialog. Options are kept in this browser; one that the server lacks is disabled, with the reason.

import { byId } from "./controls.js";
import { element } from "./transcript_view.js";

const STORAGE_KEY = "echoic options";
const MAX_REPORTED_LINES = 3;
const MAX_QUOTED_LETTERS = 40;
const DEFAULTS = { model: "", language: "", device: "", diarization: false, insights: true, "word-timestamps": true, "num-speakers": "", terms: "", replacements: "" };
// For a model that does not list its languages.
const COMMON = "ar bg cs da de el en es et fi fr hi hr hu id it ja ko lt lv nl no pl pt ro ru sk sl sv tr uk vi zh".split(" ");

export class Options {
  /** @param {() => void} onChange Called when the dialog is closed and something is different. */
  constructor(onChange) {
    /** @type {any} */
    this.values = { ...DEFAULTS, ...readStored() };
    /** @type {any} */
    this.status = { models: [], add_ons: {}, supported_features: {} };
    this.dialog = byId("options");
    for (const id of Object.keys(DEFAULTS)) {
      if (id === "model") continue;
      const field = byId(id);
      if (field.type === "checkbox") field.checked = this.values[id];
      else field.value = this.values[id];
      field.addEventListener("input", () => this._setValue(id, field.type === "checkbox" ? field.checked : field.value));
    }
    this._showReplacementErrors();
    this.before = "";
    byId("show-options").addEventListener("click", () => this.open());
    this.dialog.addEventListener("close", () => JSON.stringify(this.values) !== this.before && onChange());
    this.dialog.addEventListener("click", (/** @type {Event} */ { target }) => target === this.dialog && this.dialog.close());
  }

  open() {
    this.before = JSON.stringify(this.values);
    this.dialog.showModal();
  }

  /** Show what the server supports. @param {any} status */
  show(status) {
    this.status = status;
    const isThere = status.models.some((/** @type {any} */ model) => model.id === this.values.model && model.available);
    if (!isThere) this.values.model = "";
    this._showModels();
    this._showLanguages();
    this._setAvailable("diarization", status.add_ons.speaker_diarization);
    this._setAvailable("insights", status.add_ons.live_insights);
    this._updateWordTimes();
  }

  /** @param {MediaDeviceInfo[]} devices */
  showDevices(devices) {
    const choices = devices.filter(({ deviceId }) => deviceId !== "default").map(({ deviceId, label }) => buildChoice(deviceId, label));
    byId("device").replaceChildren(buildChoice("", "The browser’s default"), ...choices);
    byId("device").value = devices.some(({ deviceId }) => deviceId === this.values.device) ? this.values.device : "";
  }

  /**
   * Show why the server refused a value, if it was typed in this dialog.
   * @param {string} field The key in the protocol.
   * @param {string} message
   * @returns {boolean} Whether it was typed here.
   */
  showRefusal(field, message) {
    if (!field.startsWith("vocabulary")) return false;
    if (!this.dialog.open) this.open();
    const note = byId("vocabulary-why");
    note.textContent = message;
    note.classList.add("trouble");
    return true;
  }

  /** The options as keys of a config. @returns {Record<string, any>} */
  get config() {
    const { values } = this;
    const model = this.model;
    const speakers = Number(values["num-speakers"]);
    return {
      ...(model && { model: model.model, model_variant: model.variant }),
      ...(values.language && !byId("language").disabled && { language: values.language }),
      word_timestamps: this._isOn("word-timestamps") || byId("word-timestamps").disabled, // rough times at least
      diarization: this._isOn("diarization") && { enabled: true, ...(speakers && { num_speakers: speakers }) },
      insights: this._isOn("insights"),
      vocabulary: buildVocabulary(values.terms, values.replacements),
    };
  }

  /** Says what is wrong with the typed replacements; empty if nothing is. */
  get replacementErrors() {
    const { wrong } = parseReplacements(this.values.replacements);
    const more = wrong.length > MAX_REPORTED_LINES ? ` So it is with ${wrong.length - MAX_REPORTED_LINES} more.` : "";
    return wrong.length ? `${wrong.slice(0, MAX_REPORTED_LINES).join(" ")}${more} Lines that are not “heard = wanted” are left out.` : "";
  }

  _showReplacementErrors() {
    byId("replacements-why").textContent = this.replacementErrors;
    byId("replacements").ariaInvalid = String(Boolean(this.replacementErrors));
  }

  /** The selected model; undefined for the default of the server. */
  get model() {
    return /** @type {any} */ (this.status.models.find((/** @type {any} */ { id }) => id && id === this.values.model));
  }

  /** @param {string} id */
  _isOn(id) {
    return Boolean(this.values[id]) && !byId(id).disabled;
  }

  /** @param {string} id @param {any} value */
  _setValue(id, value) {
    this.values[id] = value;
    if (id === "num-speakers" && value) byId("diarization").checked = this.values.diarization = true;
    if (id === "terms" || id === "replacements") byId("vocabulary-why").classList.remove("trouble");
    if (id === "replacements") this._showReplacementErrors();
    try {
      localStorage.setItem(STORAGE_KEY, JSON.stringify(this.values));
    } catch {
      // kept until the page is closed
    }
  }

  _showModels() {
    const [own, more] = byId("models").children;
    const [summary, others] = more.children;
    const usual = { id: "", available: true, about: "The server’s choice" };
    const there = this.status.models.filter((/** @type {any} */ { available }) => available);
    const lacking = this.status.models.filter((/** @type {any} */ { available }) => !available);
    own.replaceChildren(...[usual, ...there].map((model) => this._buildModelRow(model)));
    others.replaceChildren(...lacking.map((/** @type {any} */ model) => this._buildModelRow(model)));
    more.hidden = !lacking.length;
    summary.textContent = `${lacking.length} more ${lacking.length === 1 ? "model" : "models"}, not available here`;
    if (!there.length) more.open = true; // the reasons are all there is to show
  }

  /** @param {any} model */
  _buildModelRow({ id, available, reason, install, languages, loaded, about }) {
    const row = element("li", available ? "" : "off");
    const radio = /** @type {HTMLInputElement} */ (element("input", ""));
    Object.assign(radio, { type: "radio", name: "model", id: `model-${id}`, value: id, disabled: !available, checked: id === this.values.model });
    const label = /** @type {HTMLLabelElement} */ (element("label", "", about ?? id));
    label.htmlFor = radio.id;
    if (!about && available) label.append(" ", element("span", "about", [describeLanguages(languages), loaded && "loaded"].filter(Boolean).join(", ")));
    row.append(radio, label);
    if (!available) row.append(buildReason(reason, install));
    radio.addEventListener("input", () => {
      this._setValue("model", id);
      this._showLanguages();
      this._updateWordTimes();
    });
    return row;
  }

  _showLanguages() {
    const models = this.model ? [this.model] : this.status.models.filter((/** @type {any} */ { available }) => available);
    const known = new Set(models.flatMap((/** @type {any} */ { languages }) => (languages.length ? languages : COMMON)));
    const field = byId("language");
    const named = [...known].map((code) => [code, languageName(code)]).sort((one, other) => one[1].localeCompare(other[1]));
    const isOne = named.length === 1;
    field.replaceChildren(...(isOne ? [] : [buildChoice("", "Whatever is spoken")]), ...named.map(([code, name]) => buildChoice(code, name)));
    field.disabled = isOne;
    field.value = isOne ? named[0][0] : known.has(this.values.language) ? this.values.language : "";
    byId("language-why").textContent = isOne ? `${this.model ? "This model knows" : "The models here know"} one language.` : "";
  }

  _updateWordTimes() {
    const can = (this.model ?? this.status.supported_features).word_timestamps;
    this._setAvailable("word-timestamps", { available: can, reason: `${this.model ? "This model gives" : "The models here give"} no times of words.` });
  }

  /** @param {string} id @param {any} offer */
  _setAvailable(id, offer) {
    const available = Boolean(offer?.available);
    const field = byId(id);
    field.disabled = !available;
    field.checked = available && this.values[id];
    field.parentElement.classList.toggle("off", !available);
    byId(`${id}-why`).replaceChildren(...(available ? [] : buildReason(offer?.reason ?? "This server has none.", offer?.install).childNodes));
    if (id === "diarization") byId("num-speakers").disabled = !available;
  }
}

/** @param {string} reason @param {string} [install] */
function buildReason(reason, install) {
  const line = element("p", "why");
  // Text between backquotes is a command.
  (reason ?? "").split("`").forEach((text, at) => line.append(at % 2 ? element("code", "", text) : text));
  if (install) line.append(element("code", "install", install));
  return line;
}

/** @param {string[]} languages */
function describeLanguages(languages) {
  if (!languages.length) return "";
  return languages.length > 3 ? `${languages.length} languages` : languages.map(languageName).join(", ");
}

const names = new Intl.DisplayNames(["en"], { type: "language", fallback: "code" });

/** @param {string} code */
function languageName(code) {
  try {
    return names.of(code) ?? code;
  } catch {
    return code;
  }
}

/** @param {string} value @param {string} text */
const buildChoice = (value, text) => new Option(text, value);

/** @param {string} terms @param {string} replacements */
function buildVocabulary(terms, replacements) {
  const { pairs } = parseReplacements(replacements);
  return {
    ...(terms.trim() && { terms: terms.split("\n").map((line) => line.trim()).filter(Boolean) }),
    ...(pairs.length && { replacements: Object.fromEntries(pairs) }),
  };
}

/** Parse replacements: pairs of heard and wanted words, and a sentence for each bad line. @param {string} text */
export function parseReplacements(text) {
  /** @type {[string, string][]} */
  const pairs = [];
  /** @type {string[]} */
  const wrong = [];
  text.split("\n").forEach((line, at) => {
    const [heard, ...rest] = line.split("=");
    const meant = rest.join("=").trim();
    const lack = !rest.length ? "no =" : !heard.trim() ? "nothing before =" : !meant ? "nothing after =" : "";
    if (line.trim() && lack) wrong.push(`Line ${at + 1} has ${lack}: “${shorten(line.trim())}”.`);
    else if (line.trim()) pairs.push([heard.trim(), meant]);
  });
  return { pairs, wrong };
}

const shorten = (/** @type {string} */ text) => (text.length > MAX_QUOTED_LETTERS ? `${text.slice(0, MAX_QUOTED_LETTERS).trimEnd()}…` : text);

function readStored() {
  try {
    const kept = Object.entries(JSON.parse(localStorage.getItem(STORAGE_KEY) ?? "{}"));
    return Object.fromEntries(kept.filter(([id, value]) => typeof value === typeof (/** @type {any} */ (DEFAULTS)[id])));
  } catch {
    return {};
  }
}
