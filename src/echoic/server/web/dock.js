// The dock below: what is said to the user, and which buttons there are.

export const part = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));

/** @param {string} text @param {boolean} [alarm] @param {string} [count] What changes all the time; it is not read out. */
export function say(text, alarm = false, count = "") {
  const line = part("state");
  if (line.textContent !== text) line.textContent = text;
  line.classList.toggle("alarm", alarm);
  part("count").textContent = count;
}

/** @param {string} text */
export function hint(text) {
  if (part("hint").textContent !== text) part("hint").textContent = text;
}

/** @type {Record<string, string>} */
const LABELS = { idle: "Start", file: "Cancel" };

/** Show what can be done. @param {string} phase `idle`, `starting`, `live`, `file` or `stopping`. */
export function showPhase(phase) {
  document.body.classList.toggle("live", phase !== "idle");
  part("record-label").textContent = LABELS[phase] ?? "Stop";
  part("record").ariaDisabled = String(phase === "stopping");
  part("sources").hidden = phase !== "idle";
  part("gauge").hidden = phase !== "live" && phase !== "starting";
  part("progress").hidden = phase !== "file" && phase !== "stopping";
  part("paragraph").hidden = phase !== "live";
  showProgress(0);
}

/** @param {number} share Of what is being written down; 0: that is not known. */
export function showProgress(share) {
  if (share) part("progress").value = Math.min(share, 1);
  else part("progress").removeAttribute("value");
}

/** Let whoever does not want to wait for the last words go on without them. */
export function offerToLeave() {
  part("record-label").textContent = "Don’t wait";
  part("record").ariaDisabled = "false";
}
