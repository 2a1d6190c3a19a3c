// Renders lists of finals: [[final, …], …] in, [{txt, srt, vtt, json}, …] out.
import { readFileSync } from "node:fs";
import { render } from "./formats.js";

const talks = JSON.parse(readFileSync(process.argv[2], "utf8"));
const forms = ["txt", "srt", "vtt", "json"];
console.log(JSON.stringify(talks.map((finals) => Object.fromEntries(forms.map((form) => [form, render(finals, form)])))));
