// Saves a transcript as a file, or copies it to the clipboard.

import { render } from "./formats.js";

/** @type {Record<string, string>} */
const MEDIA_TYPES = { txt: "text/plain", srt: "application/x-subrip", vtt: "text/vtt", json: "application/json" };

/**
 * @param {import("./transcript.js").Transcript} transcript
 * @param {string} form `copy`, or a file format.
 * @returns {Promise<string>} A message for the user.
 */
export async function save(transcript, form) {
  transcript.isSaved = true;
  const { finals, breaks } = transcript;
  if (form === "copy") {
    try {
      await navigator.clipboard.writeText(render(finals, "txt", { naming: transcript.naming("txt"), breaks }).trimEnd());
      return "Copied.";
    } catch {
      return "The browser does not let this page copy; save it as text instead.";
    }
  }
  const insights = transcript.insights.filter(({ stage }) => stage === "final");
  const text = render(finals, form, { naming: transcript.naming(form), insights, breaks });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: `${MEDIA_TYPES[form]};charset=utf-8` }));
  link.download = `${fileNameOf(transcript)}.${form}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  return `Saved as ${link.download}`;
}

/** @param {import("./transcript.js").Transcript} transcript */
function fileNameOf({ title, began }) {
  const name = title.replace(/\.[^.]*$/, "");
  if (name) return name;
  const two = (/** @type {number} */ part) => String(part).padStart(2, "0");
  const day = [began.getFullYear(), two(began.getMonth() + 1), two(began.getDate())].join("-");
  return `echoic ${day} ${two(began.getHours())}.${two(began.getMinutes())}`;
}
