// The controls at the bottom: status line, hint and buttons.

/** Return the element with an id. */
export const byId = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));

/** Show a status. @param {string} text @param {boolean} [alarm] @param {string} [count] A figure that changes often; screen readers skip it. */
export function showStatus(text, alarm = false, count = "") {
  const line = byId("state");
  if (line.textContent !== text) line.textContent = text;
  line.classList.toggle("alarm", alarm);
  byId("count").textContent = count;
}

/** Show a hint below the status. @param {string} text */
export function showHint(text) {
  if (byId("hint").textContent !== text) byId("hint").textContent = text;
}

/** @type {Record<string, string>} */
const LABELS = { idle: "Start", file: "Cancel" };

/** Show the controls of a phase. @param {string} phase `idle`, `starting`, `live`, `file` or `stopping`. */
export function showPhase(phase) {
  document.body.classList.toggle("live", phase !== "idle");
  byId("record-label").textContent = LABELS[phase] ?? "Stop";
  byId("record").ariaDisabled = String(phase === "stopping");
  byId("sources").hidden = phase !== "idle";
  byId("gauge").hidden = phase !== "live" && phase !== "starting";
  byId("progress").hidden = phase !== "file" && phase !== "stopping";
  byId("paragraph").hidden = phase !== "live";
  showProgress(0);
}

/** Show progress. @param {number} share From 0 to 1; 0: unknown. */
export function showProgress(share) {
  if (share) byId("progress").value = Math.min(share, 1);
  else byId("progress").removeAttribute("value");
}

/** Offer to end without the last words. */
export function offerToSkipWaiting() {
  byId("record-label").textContent = "Don’t wait";
  byId("record").ariaDisabled = "false";
}
