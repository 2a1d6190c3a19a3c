import assert from "node:assert/strict";
import { test } from "node:test";
import { buildCues } from "./cues.js";
import { LatencyMeter } from "./latency.js";
import { render } from "./formats.js";
import { Transcript } from "./transcript.js";
import { endsSentence, labelOf } from "./turns.js";

const final = (segment_id, text, more = {}) => ({
  type: "final", text, segment_id, segment_start: segment_id, segment_end: segment_id + 1, ...more,
});
const said = (transcript) => transcript.turns.map(({ speaker, parts }) => [speaker, parts.map(({ text }) => text).join(" ")]);

test("a final replaces provisional words", () => {
  const transcript = new Transcript();
  transcript.addFrame({ type: "partial", text: "good mor" });
  assert.equal(transcript.volatile, "good mor");
  transcript.addFrame(final(1, "good morning"));
  assert.equal(transcript.volatile, "");
  assert.deepEqual(said(transcript), [[null, "good morning"]]);
});

test("a pause, a commit and another speaker start a paragraph", () => {
  const transcript = new Transcript();
  for (const one of [final(1, "a"), final(2, "b"), final(9, "c")]) transcript.addFrame(one);
  transcript.addFrame({ type: "full_transcript", text: "a b c" });
  transcript.addFrame(final(10, "d", { speaker_id: 0, speaker_label: "SPEAKER_00" }));
  transcript.addFrame(final(11, "e", { speaker_id: 1, speaker_label: "SPEAKER_01" }));
  assert.deepEqual(said(transcript), [[null, "a b"], [null, "c"], [0, "d"], [1, "e"]]);
});

test("a final of two speakers is two paragraphs, and the summary corrects it", () => {
  const transcript = new Transcript();
  const words = [
    { word: "Where?", start: 1, end: 1.5, speaker_id: 0 },
    { word: "Here.", start: 1.6, end: 2, speaker_id: 1 },
  ];
  transcript.addFrame(final(1, "Where? Here.", { words, speaker_id: 0, speaker_label: "SPEAKER_00" }));
  assert.deepEqual(said(transcript), [[0, "Where?"], [1, "Here."]]);
  transcript.addFrame({ type: "diarization_summary", speaker_map: [{ segment_id: 1, speaker_id: 1, speaker_label: "SPEAKER_01" }] });
  assert.deepEqual(said(transcript), [[1, "Where? Here."]]);
});

const by = (id) => (id === null ? {} : { speaker_id: id, speaker_label: labelOf(id) });

test("words without a speaker get one when the same speaker continues", () => {
  const transcript = new Transcript();
  transcript.addFrame(final(1, "a", by(1)));
  transcript.addFrame(final(2, "b"));
  assert.deepEqual(said(transcript), [[1, "a"], [null, "b"]]);
  transcript.addFrame(final(3, "c"));
  assert.deepEqual(said(transcript), [[1, "a"], [null, "b c"]]);
  transcript.addFrame(final(4, "d", by(1)));
  assert.deepEqual(said(transcript), [[1, "a b c d"]]);
  transcript.addFrame(final(5, "e"));
  transcript.addFrame(final(6, "f", by(0)));
  assert.deepEqual(said(transcript), [[1, "a b c d"], [null, "e"], [0, "f"]]);
});

test("words without a speaker stay so after a pause, a break or many words", () => {
  const transcript = new Transcript();
  transcript.addFrame(final(1, "a", by(0)));
  transcript.addFrame(final(9, "b"));
  transcript.addFrame(final(10, "c", by(0)));
  transcript.addFrame({ type: "full_transcript", text: "a b c" });
  transcript.addFrame(final(11, "d"));
  transcript.addFrame(final(12, "e", by(0)));
  for (let id = 13; id < 23; id++) transcript.addFrame(final(id, "x".repeat(50)));
  transcript.addFrame(final(23, "f", by(0)));
  assert.deepEqual(transcript.turns.map(({ speaker }) => speaker), [0, null, 0, null, 0, null, 0]);
});

test("only the last two paragraphs change", () => {
  const transcript = new Transcript();
  const drawn = () => transcript.turns.map(({ speaker, parts }) => `${speaker} ${parts.map(({ id }) => id).join(" ")}`);
  for (let id = 1, before = []; id < 300; id++, before = drawn()) {
    transcript.addFrame(final(id + 3 * Math.floor(id / 41), "words", by([0, null, null, 0, null, 1, null][(id * id) % 7])));
    const kept = before.slice(0, -2);
    assert.deepEqual(drawn().slice(0, kept.length), kept);
  }
});

test("an abbreviation ends no sentence, and no. does unless a number follows", () => {
  for (const text of ["Mr.", "asked Mrs.", "the St.", "one vs.", "by J.", "“Dr."]) assert.equal(endsSentence(text), false, text);
  for (const text of ["No.", "So do I.", "an alarm.", "he said “no.”", "はい。"]) assert.equal(endsSentence(text), true, text);
  assert.equal(endsSentence("They play No.", "5 today"), false);
});

test("a file has the names of the page, and JSON those of the protocol", () => {
  const transcript = new Transcript();
  for (const [id, who] of [[1, 0], [2, null], [3, 1], [4, 0]]) transcript.addFrame(final(id, `Part ${id} it is.`, by(who)));
  transcript.setName(0, "Anna");
  const file = (form) => render(transcript.finals, form, { naming: transcript.naming(form), breaks: transcript.breaks });
  assert.equal(file("txt"), "Anna: Part 1 it is.\n\nPart 2 it is.\n\nSpeaker 2: Part 3 it is.\n\nAnna: Part 4 it is.\n");
  assert.deepEqual(file("srt").match(/^.*Part/gm), ["Anna: Part", "- Part", "Speaker 2: Part", "Anna: Part"]);
  assert.deepEqual(file("vtt").match(/^.*Part/gm), ["<v Anna>Part", "Part", "<v Speaker 2>Part", "<v Anna>Part"]);
  assert.deepEqual(JSON.parse(file("json")).segments.map(({ speaker }) => speaker), ["Anna", undefined, "SPEAKER_01", "Anna"]);
});

test("a name begins the first cue of a turn, and no last word is alone", () => {
  const full = "Nineteen travellers waited at the harbour for a boat that never came to them a day now.";
  const finals = [final(1, `${full} ${full}`, { segment_end: 8, ...by(0) }), final(11, "More.", by(0))];
  const shown = buildCues(finals, (_, label) => label, true).map(({ lines }) => lines.join(" "));
  assert.deepEqual(shown.map((text) => text.startsWith("SPEAKER_00: ")), [true, ...shown.slice(2).map(() => false), true]);
  assert.ok(shown.slice(0, -1).every((text) => text.split(" ").length > 2), shown.join("\n"));
});

test("a typed name replaces the label everywhere", () => {
  const transcript = new Transcript();
  transcript.addFrame(final(1, "a", { speaker_id: 0, speaker_label: "SPEAKER_00" }));
  assert.equal(transcript.replaceLabels("SPEAKER_00 will send it"), "Speaker 1 will send it");
  assert.equal(transcript.naming("srt")(0, "SPEAKER_00"), "Speaker 1");
  assert.equal(transcript.naming("json")(0, "SPEAKER_00"), "SPEAKER_00");
  transcript.setName(0, "Anna");
  assert.equal(transcript.replaceLabels("SPEAKER_00 will send it"), "Anna will send it");
  assert.equal(transcript.naming("srt")(0, "SPEAKER_00"), "Anna");
  assert.equal(transcript.naming("json")(0, "SPEAKER_00"), "Anna");
});

test("a live insight is replaced by the next, and one of a commit stays", () => {
  const transcript = new Transcript();
  for (const [insight_id, stage] of [["1", "live"], ["2", "live"], ["3", "final"], ["4", "live"]]) transcript.addFrame({ type: "insight", insight_id, stage });
  assert.deepEqual(transcript.insights.map(({ insight_id }) => insight_id), ["3", "4"]);
});

test("the latency is the time from capture to words", () => {
  const latency = new LatencyMeter();
  assert.equal(latency.value, null);
  for (let at = 1; at <= 40; at++) latency.recordCapture(0.05, 100 + at * 0.05); // two seconds, captured from 100 to 102
  latency.recordWords(1.5, 102.25); // captured at 101.5
  assert.ok(Math.abs(latency.value - 0.75) < 1e-9);
  latency.recordWords(99, 200); // of sound that was never captured
  assert.ok(Math.abs(latency.value - 0.75) < 1e-9);
});

test("hours of speech without a pause are split into paragraphs", () => {
  const transcript = new Transcript();
  for (let id = 1; id <= 1000; id++) transcript.addFrame(final(id, "words and more words"));
  const sizes = transcript.turns.map(({ parts }) => parts.map(({ text }) => text).join(" ").length);
  assert.equal(sizes.reduce((sum, size) => sum + size + 1, 0), 21 * 1000);
  assert.ok(Math.max(...sizes) < 1600);
});

test("a final is read once; the summary corrects the seconds of speakers", () => {
  const transcript = new Transcript();
  let looks = 0;
  const first = { ...final(1, "a", { speaker_id: 0, speaker_label: "SPEAKER_00" }), get segment_start() { looks++; return 1; } };
  transcript.addFrame(first);
  const before = looks;
  for (let id = 2; id < 100; id++) {
    transcript.addFrame(final(id, "b", { speaker_id: id % 2, speaker_label: `SPEAKER_0${id % 2}` }));
    assert.ok(said(transcript).length && transcript.speakers.length);
  }
  assert.equal(looks, before);
  assert.deepEqual([...transcript.seconds], [[0, 50], [1, 49]]);
  const rows = transcript.finals.map(({ segment_id }) => ({ segment_id, speaker_id: 0, speaker_label: "SPEAKER_00" }));
  transcript.addFrame({ type: "diarization_summary", speaker_map: rows });
  assert.deepEqual([...transcript.seconds], [[0, 99]]);
  assert.ok(transcript.turns.every(({ speaker }) => speaker === 0));
});
