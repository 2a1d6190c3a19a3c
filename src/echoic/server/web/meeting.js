// The head above: what the server says of itself, and the key that it asks for.

import { part } from "./dock.js";
import { ask, key } from "./server.js";

const ASK_AGAIN = 3000; // milliseconds, while the server is away
const ASK_AT_LAST = 600_000; // milliseconds, whatever it says

export class Meeting {
  /** @param {(status: any) => void} onstatus Is told what the server has. */
  constructor(onstatus) {
    this.onstatus = onstatus;
    /** @type {any} */
    this.timer = null;
    /** @type {Promise<void>} */
    this.met = Promise.resolve();
    part("key-form").addEventListener("submit", (/** @type {Event} */ event) => this._take(event));
  }

  /** Ask the server, and again where it does not answer. */
  begin() {
    this.met = this._ask();
  }

  /** Wait until it is known what the server has, and so what of the options can be asked for; not for long. */
  wait() {
    return Promise.race([this.met, new Promise((resolve) => setTimeout(resolve, ASK_AGAIN))]);
  }

  /** Ask for another key. */
  refuseKey() {
    key.value = "";
    part("key-form").hidden = false;
    part("key-answer").textContent = "This key is not accepted.";
    part("key-answer").classList.add("trouble");
    part("key").select();
  }

  async _ask() {
    const answer = await ask();
    part("key-form").hidden = answer.state !== "key";
    if (answer.state === "key") {
      showModel("Waiting for a key.");
      if (key.value) this.refuseKey();
    } else if (answer.state === "here") this._show(answer);
    else this._askAgain(answer.state === "busy" ? "The server asks this page to wait." : "The server does not answer. Trying again.", answer.retry);
  }

  /** @param {{status?: any, limits?: any}} answer */
  _show({ status, limits }) {
    try {
      this.onstatus(status);
      showModel(modelsOf(status));
      const left = limits?.remaining_minutes;
      part("limits").textContent = typeof left === "number" ? `${Math.floor(left)} minutes are left today.` : "";
    } catch {
      this._askAgain("This page cannot read what the server answers. Trying again.");
    }
  }

  /** @param {string} why @param {number} [seconds] */
  _askAgain(why, seconds) {
    showModel(why);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.begin(), Math.min(seconds ? seconds * 1000 : ASK_AGAIN, ASK_AT_LAST));
  }

  /** @param {Event} event */
  _take(event) {
    event.preventDefault();
    key.value = part("key").value;
    part("key").value = "";
    part("key-answer").textContent = "";
    part("key-answer").classList.remove("trouble");
    this.begin();
  }
}

/** @param {string} text */
export function showModel(text) {
  part("model").textContent = text;
}

/** @param {any} status */
function modelsOf({ models, available_models: names }) {
  const loaded = models.filter((/** @type {any} */ one) => one.loaded);
  if (!names.length) return `No model is available here. ${models[0]?.reason ?? ""}`;
  return loaded.length === 1 ? loaded[0].id : `${names.length} ${names.length === 1 ? "model" : "models"}`;
}
