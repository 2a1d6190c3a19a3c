// The header: models and limits of the server, and the form for its key.

import { byId } from "./controls.js";
import { fetchStatus, key } from "./server_api.js";

// Milliseconds.
const RETRY_PAUSE = 3000;
const MAX_RETRY_PAUSE = 600_000;

export class Header {
  /** @param {(status: any) => void} onStatus Called with the status of the server. */
  constructor(onStatus) {
    this.onStatus = onStatus;
    /** @type {any} */
    this.timer = null;
    /** @type {Promise<void>} */
    this.loaded = Promise.resolve();
    byId("key-form").addEventListener("submit", (/** @type {Event} */ event) => this._submitKey(event));
  }

  /** Fetch the status, and again until the server answers. */
  refresh() {
    this.loaded = this._load();
  }

  /** Wait until the status is known, and so which options the server supports; no longer than one retry. */
  wait() {
    return Promise.race([this.loaded, new Promise((resolve) => setTimeout(resolve, RETRY_PAUSE))]);
  }

  /** Say that the key was refused, and ask for another. */
  refuseKey() {
    key.value = "";
    byId("key-form").hidden = false;
    byId("key-answer").textContent = "This key is not accepted.";
    byId("key-answer").classList.add("trouble");
    byId("key").select();
  }

  async _load() {
    const answer = await fetchStatus();
    byId("key-form").hidden = answer.state !== "key";
    if (answer.state === "key") {
      showModel("Waiting for a key.");
      if (key.value) this.refuseKey();
    } else if (answer.state === "here") this._show(answer);
    else this._retryLater(answer.state === "busy" ? "The server asks this page to wait." : "The server does not answer. Trying again.", answer.retry);
  }

  /** @param {{status?: any, limits?: any}} answer */
  _show({ status, limits }) {
    try {
      this.onStatus(status);
      showModel(describeModels(status));
      const left = limits?.remaining_minutes;
      byId("limits").textContent = typeof left === "number" ? `${Math.floor(left)} minutes are left today.` : "";
    } catch {
      this._retryLater("This page cannot read what the server answers. Trying again.");
    }
  }

  /** @param {string} why @param {number} [seconds] */
  _retryLater(why, seconds) {
    showModel(why);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.refresh(), Math.min(seconds ? seconds * 1000 : RETRY_PAUSE, MAX_RETRY_PAUSE));
  }

  /** @param {Event} event */
  _submitKey(event) {
    event.preventDefault();
    key.value = byId("key").value;
    byId("key").value = "";
    byId("key-answer").textContent = "";
    byId("key-answer").classList.remove("trouble");
    this.refresh();
  }
}

/** @param {string} text */
export function showModel(text) {
  byId("model").textContent = text;
}

/** @param {any} status */
function describeModels({ models, available_models: names }) {
  const loaded = models.filter((/** @type {any} */ one) => one.loaded);
  if (!names.length) return `No model is available here. ${models[0]?.reason ?? ""}`;
  return loaded.length === 1 ? loaded[0].id : `${names.length} ${names.length === 1 ? "model" : "models"}`;
}
