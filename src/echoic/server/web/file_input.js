// Takes files from the file button and from drops anywhere on the page.

import { byId } from "./controls.js";

/** @param {(file: File) => void} onFile @param {() => boolean} isFree Whether a file can be taken now. */
export function listenForFiles(onFile, isFree) {
  byId("file").addEventListener("change", (/** @type {any} */ { target }) => {
    if (target.files[0]) onFile(target.files[0]);
    target.value = "";
  });
  document.addEventListener("dragover", (event) => {
    if (!isFile(event)) return;
    event.preventDefault();
    document.body.classList.toggle("dropping", isFree());
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget || document.body.classList.remove("dropping"));
  document.addEventListener("drop", (event) => {
    if (!isFile(event)) return;
    event.preventDefault();
    document.body.classList.remove("dropping");
    const file = event.dataTransfer?.files[0];
    if (file) onFile(file);
  });
}

/** Return whether a file is dragged; dragged text is left to the browser. @param {DragEvent} event */
const isFile = ({ dataTransfer }) => Boolean(dataTransfer?.types.includes("Files"));
