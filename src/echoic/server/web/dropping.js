// Files that are chosen, or dropped anywhere on the page.

import { part } from "./dock.js";

/** @param {(file: File) => void} onfile @param {() => boolean} isFree Whether one may come now. */
export function takeFiles(onfile, isFree) {
  part("file").addEventListener("change", (/** @type {any} */ { target }) => {
    if (target.files[0]) onfile(target.files[0]);
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
    if (file) onfile(file);
  });
}

/** Whether it is a file that is dragged; text goes where text goes. @param {DragEvent} event */
const isFile = ({ dataTransfer }) => Boolean(dataTransfer?.types.includes("Files"));
