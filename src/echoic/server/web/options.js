// What can be asked of the server, and is kept in this browser. What is not to be had is greyed, with its reason.

import { element } from "./sheet.js";

const KEPT_AS = "echoic options";
const TOLD = 3; // lines of which is said what is wrong
const QUOTED = 40; // letters of one
const START = { model: "", language: "", device: "", diarization: false, insights: true, "word-timestamps": true, "num-speakers": "", terms: "", replacements: "" };
// Where a model does not say which languages it knows.
const COMMON = "ar bg cs da de el en es et fi fr hi hr hu id it ja ko lt lv nl no pl pt ro ru sk sl sv tr uk vi zh".split(" ");

const part = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));

export class Options {
  /** @param {() => void} onchange Called when the dialog is closed and something is different. */
  constructor(onchange) {
    /** @type {any} */
    this.values = { ...START, ...read() };
    /** @type {any} */
    this.status = { models: [], add_ons: {}, supported_features: {} };
    this.dialog = part("options");
    for (const id of Object.keys(START)) {
      if (id === "model") continue;
      const field = part(id);
      if (field.type === "checkbox") field.checked = this.values[id];
      else field.value = this.values[id];
      field.addEventListener("input", () => this._take(id, field.type === "checkbox" ? field.checked : field.value));
    }
    this._showTrouble();
    this.before = "";
    part("show-options").addEventListener("click", () => this.open());
    this.dialog.addEventListener("close", () => JSON.stringify(this.values) !== this.before && onchange());
    this.dialog.addEventListener("click", (/** @type {Event} */ { target }) => target === this.dialog && this.dialog.close());
  }

  open() {
    this.before = JSON.stringify(this.values);
    this.dialog.showModal();
  }

  /** Draw what there is. @param {any} status The server's. */
  show(status) {
    this.status = status;
    const isThere = status.models.some((/** @type {any} */ model) => model.id === this.values.model && model.available);
    if (!isThere) this.values.model = "";
    this._showModels();
    this._showLanguages();
    this._allow("diarization", status.add_ons.speaker_diarization);
    this._allow("insights", status.add_ons.live_insights);
    this._allowTimes();
  }

  /** @param {MediaDeviceInfo[]} devices */
  showDevices(devices) {
    const choices = devices.filter(({ deviceId }) => deviceId !== "default").map(({ deviceId, label }) => choice(deviceId, label));
    part("device").replaceChildren(choice("", "The browser’s default"), ...choices);
    part("device").value = devices.some(({ deviceId }) => deviceId === this.values.device) ? this.values.device : "";
  }

  /**
   * Show where a value was refused, if it was given here.
   * @param {string} field The protocol's name of it.
   * @param {string} message
   * @returns {boolean} Whether it was.
   */
  complain(field, message) {
    if (!field.startsWith("vocabulary")) return false;
    if (!this.dialog.open) this.open();
    const why = part("vocabulary-why");
    why.textContent = message;
    why.classList.add("trouble");
    return true;
  }

  /** The keys of a config. @returns {Record<string, any>} */
  get config() {
    const { values } = this;
    const model = this.model;
    const speakers = Number(values["num-speakers"]);
    return {
      ...(model && { model: model.model, model_variant: model.variant }),
      ...(values.language && !part("language").disabled && { language: values.language }),
      word_timestamps: this._isOn("word-timestamps") || part("word-timestamps").disabled, // at least roughly
      diarization: this._isOn("diarization") && { enabled: true, ...(speakers && { num_speakers: speakers }) },
      insights: this._isOn("insights"),
      vocabulary: vocabulary(values.terms, values.replacements),
    };
  }

  /** What is wrong with what was typed, in sentences. */
  get trouble() {
    const { wrong } = replacementsOf(this.values.replacements);
    const more = wrong.length > TOLD ? ` So it is with ${wrong.length - TOLD} more.` : "";
    return wrong.length ? `${wrong.slice(0, TOLD).join(" ")}${more} Lines that are not “heard = wanted” are left out.` : "";
  }

  _showTrouble() {
    part("replacements-why").textContent = this.trouble;
    part("replacements").ariaInvalid = String(Boolean(this.trouble));
  }

  /** The model that was asked for; undefined: none. */
  get model() {
    return /** @type {any} */ (this.status.models.find((/** @type {any} */ { id }) => id && id === this.values.model));
  }

  /** @param {string} id */
  _isOn(id) {
    return Boolean(this.values[id]) && !part(id).disabled;
  }

  /** @param {string} id @param {any} value */
  _take(id, value) {
    this.values[id] = value;
    if (id === "num-speakers" && value) part("diarization").checked = this.values.diarization = true;
    if (id === "terms" || id === "replacements") part("vocabulary-why").classList.remove("trouble");
    if (id === "replacements") this._showTrouble();
    try {
      localStorage.setItem(KEPT_AS, JSON.stringify(this.values));
    } catch {
      // kept for this visit only
    }
  }

  _showModels() {
    const [own, more] = part("models").children;
    const [summary, others] = more.children;
    const usual = { id: "", available: true, about: "The server’s choice" };
    const there = this.status.models.filter((/** @type {any} */ { available }) => available);
    const lacking = this.status.models.filter((/** @type {any} */ { available }) => !available);
    own.replaceChildren(...[usual, ...there].map((model) => this._modelRow(model)));
    others.replaceChildren(...lacking.map((/** @type {any} */ model) => this._modelRow(model)));
    more.hidden = !lacking.length;
    summary.textContent = `${lacking.length} more ${lacking.length === 1 ? "model" : "models"}, not available here`;
    if (!there.length) more.open = true; // its reasons are what there is to know
  }

  /** @param {any} model */
  _modelRow({ id, available, reason, install, languages, loaded, about }) {
    const row = element("li", available ? "" : "off");
    const radio = /** @type {HTMLInputElement} */ (element("input", ""));
    Object.assign(radio, { type: "radio", name: "model", id: `model-${id}`, value: id, disabled: !available, checked: id === this.values.model });
    const label = /** @type {HTMLLabelElement} */ (element("label", "", about ?? id));
    label.htmlFor = radio.id;
    if (!about && available) label.append(" ", element("span", "about", [spoken(languages), loaded && "loaded"].filter(Boolean).join(", ")));
    row.append(radio, label);
    if (!available) row.append(why(reason, install));
    radio.addEventListener("input", () => {
      this._take("model", id);
      this._showLanguages();
      this._allowTimes();
    });
    return row;
  }

  _showLanguages() {
    const models = this.model ? [this.model] : this.status.models.filter((/** @type {any} */ { available }) => available);
    const known = new Set(models.flatMap((/** @type {any} */ { languages }) => (languages.length ? languages : COMMON)));
    const field = part("language");
    const named = [...known].map((code) => [code, nameOf(code)]).sort((one, other) => one[1].localeCompare(other[1]));
    const isOne = named.length === 1;
    field.replaceChildren(...(isOne ? [] : [choice("", "Whatever is spoken")]), ...named.map(([code, name]) => choice(code, name)));
    field.disabled = isOne;
    field.value = isOne ? named[0][0] : known.has(this.values.language) ? this.values.language : "";
    part("language-why").textContent = isOne ? `${this.model ? "This model knows" : "The models here know"} one language.` : "";
  }

  _allowTimes() {
    const can = (this.model ?? this.status.supported_features).word_timestamps;
    this._allow("word-timestamps", { available: can, reason: `${this.model ? "This model gives" : "The models here give"} no times of words.` });
  }

  /** @param {string} id @param {any} offer */
  _allow(id, offer) {
    const available = Boolean(offer?.available);
    const field = part(id);
    field.disabled = !available;
    field.checked = available && this.values[id];
    field.parentElement.classList.toggle("off", !available);
    part(`${id}-why`).replaceChildren(...(available ? [] : why(offer?.reason ?? "This server has none.", offer?.install).childNodes));
    if (id === "diarization") part("num-speakers").disabled = !available;
  }
}

/** @param {string} reason @param {string} [install] */
function why(reason, install) {
  const line = element("p", "why");
  // What stands between backquotes is to be typed.
  (reason ?? "").split("`").forEach((text, at) => line.append(at % 2 ? element("code", "", text) : text));
  if (install) line.append(element("code", "install", install));
  return line;
}

/** @param {string[]} languages */
function spoken(languages) {
  if (!languages.length) return "";
  return languages.length > 3 ? `${languages.length} languages` : languages.map(nameOf).join(", ");
}

const names = new Intl.DisplayNames(["en"], { type: "language", fallback: "code" });

/** @param {string} code */
function nameOf(code) {
  try {
    return names.of(code) ?? code;
  } catch {
    return code;
  }
}

/** @param {string} value @param {string} text */
const choice = (value, text) => new Option(text, value);

/** @param {string} terms @param {string} replacements */
function vocabulary(terms, replacements) {
  const { pairs } = replacementsOf(replacements);
  return {
    ...(terms.trim() && { terms: terms.split("\n").map((line) => line.trim()).filter(Boolean) }),
    ...(pairs.length && { replacements: Object.fromEntries(pairs) }),
  };
}

/** Return what is to be put in place of what, and of each line that does not say so what is wrong. @param {string} text */
export function replacementsOf(text) {
  /** @type {[string, string][]} */
  const pairs = [];
  /** @type {string[]} */
  const wrong = [];
  text.split("\n").forEach((line, at) => {
    const [heard, ...rest] = line.split("=");
    const meant = rest.join("=").trim();
    const lack = !rest.length ? "no =" : !heard.trim() ? "nothing before =" : !meant ? "nothing after =" : "";
    if (line.trim() && lack) wrong.push(`Line ${at + 1} has ${lack}: “${shortened(line.trim())}”.`);
    else if (line.trim()) pairs.push([heard.trim(), meant]);
  });
  return { pairs, wrong };
}

const shortened = (/** @type {string} */ text) => (text.length > QUOTED ? `${text.slice(0, QUOTED).trimEnd()}…` : text);

function read() {
  try {
    const kept = Object.entries(JSON.parse(localStorage.getItem(KEPT_AS) ?? "{}"));
    return Object.fromEntries(kept.filter(([id, value]) => typeof value === typeof (/** @type {any} */ (START)[id])));
  } catch {
    return {};
  }
}
