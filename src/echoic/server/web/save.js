// A talk as a file.

import { render } from "./subtitles.js";

/** @type {Record<string, string>} */
const KINDS = { txt: "text/plain", srt: "application/x-subrip", vtt: "text/vtt", json: "application/json" };

/**
 * @param {import("./talk.js").Talk} talk
 * @param {string} form `copy`, or that of a file.
 * @returns {Promise<string>} What to tell the user.
 */
export async function save(talk, form) {
  talk.isSaved = true;
  const { finals, breaks } = talk;
  if (form === "copy") {
    try {
      await navigator.clipboard.writeText(render(finals, "txt", { naming: talk.naming("txt"), breaks }).trimEnd());
      return "Copied.";
    } catch {
      return "The browser does not let this page copy; save it as text instead.";
    }
  }
  const insights = talk.insights.filter(({ stage }) => stage === "final");
  const text = render(finals, form, { naming: talk.naming(form), insights, breaks });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: `${KINDS[form]};charset=utf-8` }));
  link.download = `${nameOf(talk)}.${form}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  return `Saved as ${link.download}`;
}

/** @param {import("./talk.js").Talk} talk */
function nameOf({ title, began }) {
  const name = title.replace(/\.[^.]*$/, "");
  if (name) return name;
  const two = (/** @type {number} */ part) => String(part).padStart(2, "0");
  const day = [began.getFullYear(), two(began.getMonth() + 1), two(began.getDate())].join("-");
  return `echoic ${day} ${two(began.getHours())}.${two(began.getMinutes())}`;
}
