import assert from "node:assert/strict";
import { test } from "node:test";
import { Delay } from "./delay.js";
import { Talk } from "./talk.js";

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

test("words of which nobody could tell who said them go on as before", () => {
  const talk = new Talk();
  talk.note(final(1, "a", { speaker_id: 1, speaker_label: "SPEAKER_01" }));
  talk.note(final(2, "b"));
  assert.deepEqual(said(talk), [[1, "a b"]]);
});

test("a name stands wherever the label stood", () => {
  const talk = new Talk();
  talk.note(final(1, "a", { speaker_id: 0, speaker_label: "SPEAKER_00" }));
  assert.equal(talk.named("SPEAKER_00 will send it"), "Speaker 1 will send it");
  assert.equal(talk.naming(0, "SPEAKER_00"), "SPEAKER_00");
  talk.call(0, "Anna");
  assert.equal(talk.named("SPEAKER_00 will send it"), "Anna will send it");
  assert.equal(talk.naming(0, "SPEAKER_00"), "Anna");
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
