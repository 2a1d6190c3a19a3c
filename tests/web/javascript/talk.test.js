import assert from "node:assert/strict";
import { test } from "node:test";
import { cues } from "./cues.js";
import { Delay } from "./delay.js";
import { render } from "./subtitles.js";
import { Talk } from "./talk.js";
import { endsSentence, labelOf } from "./turns.js";

const final = (segment_id, text, more = {}) => ({
  type: "final", text, segment_id, segment_start: segment_id, segment_end: segment_id + 1, ...more,
});
const said = (talk) => talk.turns.map(({ speaker, parts }) => [speaker, parts.map(({ text }) => text).join(" ")]);

test("what is provisional gives way to what is final", () => {
  const talk = new Talk();
  talk.note({ type: "partial", text: "good mor" });
  assert.equal(talk.volatile, "good mor");
  talk.note(final(1, "good morning"));
  assert.equal(talk.volatile, "");
  assert.deepEqual(said(talk), [[null, "good morning"]]);
});

test("a pause, a commit and another speaker begin a paragraph", () => {
  const talk = new Talk();
  for (const one of [final(1, "a"), final(2, "b"), final(9, "c")]) talk.note(one);
  talk.note({ type: "full_transcript", text: "a b c" });
  talk.note(final(10, "d", { speaker_id: 0, speaker_label: "SPEAKER_00" }));
  talk.note(final(11, "e", { speaker_id: 1, speaker_label: "SPEAKER_01" }));
  assert.deepEqual(said(talk), [[null, "a b"], [null, "c"], [0, "d"], [1, "e"]]);
});

test("a final in which two speak is two paragraphs, and the summary corrects it", () => {
  const talk = new Talk();
  const words = [
    { word: "Where?", start: 1, end: 1.5, speaker_id: 0 },
    { word: "Here.", start: 1.6, end: 2, speaker_id: 1 },
  ];
  talk.note(final(1, "Where? Here.", { words, speaker_id: 0, speaker_label: "SPEAKER_00" }));
  assert.deepEqual(said(talk), [[0, "Where?"], [1, "Here."]]);
  talk.note({ type: "diarization_summary", speaker_map: [{ segment_id: 1, speaker_id: 1, speaker_label: "SPEAKER_01" }] });
  assert.deepEqual(said(talk), [[1, "Where? Here."]]);
});

const by = (id) => (id === null ? {} : { speaker_id: id, speaker_label: labelOf(id) });

test("words of which nobody could tell who said them have no name until the same speaker goes on", () => {
  const talk = new Talk();
  talk.note(final(1, "a", by(1)));
  talk.note(final(2, "b"));
  assert.deepEqual(said(talk), [[1, "a"], [null, "b"]]);
  talk.note(final(3, "c"));
  assert.deepEqual(said(talk), [[1, "a"], [null, "b c"]]);
  talk.note(final(4, "d", by(1)));
  assert.deepEqual(said(talk), [[1, "a b c d"]]);
  talk.note(final(5, "e"));
  talk.note(final(6, "f", by(0)));
  assert.deepEqual(said(talk), [[1, "a b c d"], [null, "e"], [0, "f"]]);
});

test("they stay without one behind a pause, a wanted paragraph and where they are many", () => {
  const talk = new Talk();
  talk.note(final(1, "a", by(0)));
  talk.note(final(9, "b"));
  talk.note(final(10, "c", by(0)));
  talk.note({ type: "full_transcript", text: "a b c" });
  talk.note(final(11, "d"));
  talk.note(final(12, "e", by(0)));
  for (let id = 13; id < 23; id++) talk.note(final(id, "x".repeat(50)));
  talk.note(final(23, "f", by(0)));
  assert.deepEqual(talk.turns.map(({ speaker }) => speaker), [0, null, 0, null, 0, null, 0]);
});

test("only the last two paragraphs ever change", () => {
  const talk = new Talk();
  const drawn = () => talk.turns.map(({ speaker, parts }) => `${speaker} ${parts.map(({ id }) => id).join(" ")}`);
  for (let id = 1, before = []; id < 300; id++, before = drawn()) {
    talk.note(final(id + 3 * Math.floor(id / 41), "words", by([0, null, null, 0, null, 1, null][(id * id) % 7])));
    const kept = before.slice(0, -2);
    assert.deepEqual(drawn().slice(0, kept.length), kept);
  }
});

test("a title ends no sentence, and no. does where no number follows", () => {
  for (const text of ["Mr.", "asked Mrs.", "the St.", "one vs.", "by J.", "“Dr."]) assert.equal(endsSentence(text), false, text);
  for (const text of ["No.", "So do I.", "an alarm.", "he said “no.”", "はい。"]) assert.equal(endsSentence(text), true, text);
  assert.equal(endsSentence("They play No.", "5 today"), false);
});

test("a file has the names of the page, and JSON the protocol's", () => {
  const talk = new Talk();
  for (const [id, who] of [[1, 0], [2, null], [3, 1], [4, 0]]) talk.note(final(id, `Part ${id} it is.`, by(who)));
  talk.call(0, "Anna");
  const file = (form) => render(talk.finals, form, { naming: talk.naming(form), breaks: talk.breaks });
  assert.equal(file("txt"), "Anna: Part 1 it is.\n\nPart 2 it is.\n\nSpeaker 2: Part 3 it is.\n\nAnna: Part 4 it is.\n");
  assert.deepEqual(file("srt").match(/^.*Part/gm), ["Anna: Part", "- Part", "Speaker 2: Part", "Anna: Part"]);
  assert.deepEqual(file("vtt").match(/^.*Part/gm), ["<v Anna>Part", "Part", "<v Speaker 2>Part", "<v Anna>Part"]);
  assert.deepEqual(JSON.parse(file("json")).segments.map(({ speaker }) => speaker), ["Anna", undefined, "SPEAKER_01", "Anna"]);
});

test("a name stands in the first cue of a turn, and a last word is not alone behind a full one", () => {
  const full = "Nineteen travellers waited at the harbour for a boat that never came to them a day now.";
  const finals = [final(1, `${full} ${full}`, { segment_end: 8, ...by(0) }), final(11, "More.", by(0))];
  const shown = cues(finals, (_, label) => label, true).map(({ lines }) => lines.join(" "));
  assert.deepEqual(shown.map((text) => text.startsWith("SPEAKER_00: ")), [true, ...shown.slice(2).map(() => false), true]);
  assert.ok(shown.slice(0, -1).every((text) => text.split(" ").length > 2), shown.join("\n"));
});

test("a name stands wherever the label stood", () => {
  const talk = new Talk();
  talk.note(final(1, "a", { speaker_id: 0, speaker_label: "SPEAKER_00" }));
  assert.equal(talk.named("SPEAKER_00 will send it"), "Speaker 1 will send it");
  assert.equal(talk.naming("srt")(0, "SPEAKER_00"), "Speaker 1");
  assert.equal(talk.naming("json")(0, "SPEAKER_00"), "SPEAKER_00");
  talk.call(0, "Anna");
  assert.equal(talk.named("SPEAKER_00 will send it"), "Anna will send it");
  assert.equal(talk.naming("srt")(0, "SPEAKER_00"), "Anna");
  assert.equal(talk.naming("json")(0, "SPEAKER_00"), "Anna");
});

test("a live insight gives way to the next, one of a commit stays", () => {
  const talk = new Talk();
  for (const [insight_id, stage] of [["1", "live"], ["2", "live"], ["3", "final"], ["4", "live"]]) talk.note({ type: "insight", insight_id, stage });
  assert.deepEqual(talk.insights.map(({ insight_id }) => insight_id), ["3", "4"]);
});

test("the delay is from when the sound was captured until its words came", () => {
  const delay = new Delay();
  assert.equal(delay.value, null);
  for (let at = 1; at <= 40; at++) delay.captured(0.05, 100 + at * 0.05); // two seconds, captured from 100 to 102
  delay.came(1.5, 102.25); // captured at 101.5
  assert.ok(Math.abs(delay.value - 0.75) < 1e-9);
  delay.came(99, 200); // of sound that was never captured
  assert.ok(Math.abs(delay.value - 0.75) < 1e-9);
});

test("who speaks for hours without a pause or a full stop is written in paragraphs all the same", () => {
  const talk = new Talk();
  for (let id = 1; id <= 1000; id++) talk.note(final(id, "words and more words"));
  const sizes = talk.turns.map(({ parts }) => parts.map(({ text }) => text).join(" ").length);
  assert.equal(sizes.reduce((sum, size) => sum + size + 1, 0), 21 * 1000);
  assert.ok(Math.max(...sizes) < 1600);
});

test("a final is looked at once, whatever comes after it; how long each one spoke is told with the summary's corrections", () => {
  const talk = new Talk();
  let looks = 0;
  const first = { ...final(1, "a", { speaker_id: 0, speaker_label: "SPEAKER_00" }), get segment_start() { looks++; return 1; } };
  talk.note(first);
  const before = looks;
  for (let id = 2; id < 100; id++) {
    talk.note(final(id, "b", { speaker_id: id % 2, speaker_label: `SPEAKER_0${id % 2}` }));
    assert.ok(said(talk).length && talk.speakers.length);
  }
  assert.equal(looks, before);
  assert.deepEqual([...talk.seconds], [[0, 50], [1, 49]]);
  const rows = talk.finals.map(({ segment_id }) => ({ segment_id, speaker_id: 0, speaker_label: "SPEAKER_00" }));
  talk.note({ type: "diarization_summary", speaker_map: rows });
  assert.deepEqual([...talk.seconds], [[0, 99]]);
  assert.ok(talk.turns.every(({ speaker }) => speaker === 0));
});
