// The page of `emocaliber serve`: what happens when pictures are added, answers come and buttons are pressed.

import { Asking } from "./ask.js";
import { comparison, drawCard, el, useColours } from "./cards.js";
import { ended, remainsWords, savedRow, statusOf, trustWords } from "./words.js";
import { droppedFiles, forget, remember, remembered, thumbnail } from "./visit.js";

const $ = (id) => document.getElementById(id);
const KEY = "emocaliber-key";
const OWN = "own";
const MANY = 30; // pictures, from which on what is about all of them is not done for each
let entries = []; // the newest first
let chosen = []; // to compare: two at most
let tasks = [];
let notice = null; // what users of the model must know

const asking = new Asking(changed, askForKey);
const least = () => Number($("least").value) / 100;
const acts = { compare, again: (entry) => asking.add([entry]), remove };

// What is asked.

async function readModels() {
  const reply = await fetch("v1/models", { headers: asking.headers() });
  if (reply.status === 401) return askForKey(Boolean(asking.key));
  const model = (await reply.json()).data[0];
  tasks = model.x_tasks ?? [];
  notice = model.x_notice ?? null;
  $("model").replaceChildren("The model ", el("b", {}, model.id), " names one, says why, and how far to trust it.");
  const option = (task) => el("option", { value: task.task }, `${task.task}: ${task.labels.length} ${task.kind === "sentiment" ? "sentiments" : "emotions"}`);
  const group = (label, some) => (some.length ? [el("optgroup", { label }, ...some.map(option))] : []);
  const measured = tasks.filter((task) => task.calibrated);
  const others = tasks.filter((task) => !task.calibrated);
  const known = [...group("how often it is right has been measured", measured), ...group("not measured, so less to be trusted", others)];
  $("task").replaceChildren(...known, el("option", { value: OWN }, "labels of your own…"));
  $("task").value = (measured.find((task) => task.task === "EmoSet-8") ?? measured[0] ?? tasks[0])?.task ?? OWN;
  showAll();
  return undefined;
}

function showQuestion() {
  const own = $("task").value === OWN;
  $("own").hidden = !own;
  const task = tasks.find((each) => each.task === $("task").value);
  $("taught").textContent = own ? "An answer is one of these. What the model was not taught, it can only guess." : (task?.labels.join(", ") ?? "");
  const redo = entries.filter((entry) => entry.file && ["done", "failed"].includes(entry.state) && !sameQuestion(entry.question, question()));
  $("again").hidden = !redo.length || (own && !question().labels);
  $("again").textContent = redo.length === 1 ? "Ask this about the picture below" : `Ask this about the ${redo.length} pictures below`;
  $("again").onclick = () => asking.add(redo.map((entry) => Object.assign(entry, { question: question() })));
}

function question() {
  if ($("task").value === OWN) return { labels: $("labels").value.split(",").map((label) => label.trim()).filter(Boolean).join(",") };
  return $("task").value ? { task: $("task").value } : {};
}

const sameQuestion = (one, other) => JSON.stringify(one) === JSON.stringify(other);

async function add(files) {
  if (!files.length) return;
  if ($("task").value === OWN && question().labels.split(",").length < 2) {
    say("Give two labels or more first, with commas between them.");
    $("taught").textContent = $("status").textContent;
    $("labels").focus();
    return;
  }
  const made = files.map((file, place) => {
    const name = file.name || `picture-${place + 1}`;
    return { name, file, url: URL.createObjectURL(file), row: null, question: question(), card: el("article", { className: "card", ariaLabel: name }) };
  });
  entries = [...made, ...entries];
  $("answers").prepend(...made.map((entry) => entry.card));
  showAll();
  say(made.length === 1 ? `${made[0].name} is added.` : `${made.length} pictures are added.`);
  asking.add(made);
  for (const entry of made) {
    entry.thumbnail = await thumbnail(entry.file); // one after another: a decoded picture is large
    if (entry.row) keepSoon();
  }
}

// What is shown.

function changed(entry) {
  if (!entries.includes(entry)) return;
  if (!["done", "failed"].includes(entry.state) && chosen.includes(entry)) chosen = chosen.filter((other) => other !== entry);
  drawCard(entry, least(), chosen.includes(entry), acts);
  if (entry.state === "done") say(`${entry.name}: ${entry.row.emotion}. ${trustWords(entry.row)}`);
  if (entry.state === "failed") say(`${entry.name}: no answer.`);
  if (["done", "failed"].includes(entry.state)) keepSoon();
  if (entries.length > MANY) showSoon();
  else showAll();
}

// What is about all answers is done once for those that come together: with hundreds of pictures it takes a while.
function soon(act, milliseconds) {
  let timer = null;
  const now = () => {
    clearTimeout(timer);
    timer = null;
    act();
  };
  return Object.assign(() => (timer ??= setTimeout(now, milliseconds)), { now: () => timer !== null && now() });
}

const showSoon = soon(() => showAll(), 50);
const keepSoon = soon(() => remember(entries), 1000);

const rows = () => entries.filter((entry) => entry.row && ["done", "failed"].includes(entry.state)).map((entry) => entry.row);

function showAll() {
  $("results").hidden = !entries.length;
  $("answers").classList.toggle("one", entries.length === 1);
  const answered = rows().filter((row) => !row.error);
  $("remains").textContent = answered.length ? remainsWords(answered, least()) : "";
  for (const entry of entries) entry.card.hidden = $("hide").checked && entry.state === "done" && statusOf(entry.row, least()) === "abstained";
  const of = entries.filter((entry) => entry.state === "done").flatMap((entry) => entry.warnings ?? []);
  const warnings = [...new Set([...(notice ? [notice] : []), ...of])].map(ended);
  const shown = [...$("notices").children].map((notice) => notice.textContent);
  if (shown.join("\n") !== warnings.join("\n")) $("notices").replaceChildren(...warnings.map((warning) => el("p", { className: "notice" }, warning)));
  showQuestion();
}

function slide() {
  for (const entry of entries) if (entry.state === "done") drawCard(entry, least(), chosen.includes(entry), acts);
  showAll();
}

let told = [];
let telling = 0;
// Says it to screen readers, with what else is said within half a second.
function say(words) {
  told.push(words);
  clearTimeout(telling);
  telling = setTimeout(() => {
    $("status").textContent = told.length > 5 ? `${told.length} pictures have news.` : told.join(" ");
    told = [];
  }, 500);
}

// What the buttons do.

function remove(entry) {
  const place = entries.indexOf(entry);
  asking.remove(entry);
  if (entry.url) URL.revokeObjectURL(entry.url);
  entries = entries.filter((other) => other !== entry);
  chosen = chosen.filter((other) => other !== entry);
  entry.card.remove();
  (entries[Math.min(place, entries.length - 1)]?.card.querySelector("button.remove") ?? $("choose")).focus();
  say(`${entry.name} is removed.`);
  remember(entries);
  showAll();
}

function compare(entry) {
  const before = chosen;
  chosen = chosen.includes(entry) ? chosen.filter((other) => other !== entry) : [...chosen.slice(-1), entry];
  for (const each of new Set([...before, ...chosen])) drawCard(each, least(), chosen.includes(each), acts);
  if (chosen.length === 1) say("Choose a second picture to compare it with.");
  if (chosen.length < 2) return;
  $("both").replaceChildren(...comparison(chosen, least()));
  $("compare").showModal();
}

// The browser gives the focus back to the button that was pressed.
function closed() {
  const were = chosen;
  chosen = [];
  for (const each of were) drawCard(each, least(), false, acts);
}

function forgetAll() {
  for (const entry of [...entries]) {
    asking.remove(entry);
    if (entry.url) URL.revokeObjectURL(entry.url);
  }
  entries = [];
  chosen = [];
  forget();
  $("answers").replaceChildren();
  showAll();
  $("choose").focus();
  say("All answers are forgotten.");
}

function askForKey(wrong) {
  $("key").hidden = false;
  $("refused").textContent = wrong ? "The server does not know this key. Is it complete?" : "";
  $("secret").focus();
}

function useKey(event) {
  event.preventDefault();
  const key = $("secret").value.trim();
  if (/[^\x21-\x7e]/.test(key)) {
    askForKey(true);
    return;
  }
  $("key").hidden = true;
  sessionStorage.setItem(KEY, key);
  asking.unlock(key);
  readModels().catch(unreachable);
}

const unreachable = () => ($("taught").textContent = "The server does not say what it can be asked. Is it running?");

// The wiring.

$("choose").addEventListener("click", () => $("files").click());
$("files").addEventListener("change", () => {
  add([...$("files").files]);
  $("files").value = ""; // so that the same picture can be chosen again
});
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
});
addEventListener("dragleave", (event) => event.relatedTarget || document.body.classList.remove("dragging"));
addEventListener("drop", async (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  add(await droppedFiles(event.dataTransfer));
});
addEventListener("pagehide", keepSoon.now);
addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files];
  if (!files.length) return;
  event.preventDefault();
  add(files);
});
$("key").addEventListener("submit", useKey);
document.querySelector(".ask").addEventListener("submit", (event) => event.preventDefault());
for (const id of ["task", "labels"]) $(id).addEventListener("input", showQuestion);
$("least").addEventListener("input", slide);
$("hide").addEventListener("input", showAll);
$("forget").addEventListener("click", forgetAll);
$("close").addEventListener("click", () => $("compare").close());
$("compare").addEventListener("close", closed);
for (const button of document.querySelectorAll("[data-save]")) {
  button.addEventListener("click", () => save(button.dataset.save, rows().map((row) => savedRow(row, least())))); // of rows.js
}

asking.key = sessionStorage.getItem(KEY) ?? "";
fetch("page/palette.json").then((reply) => reply.json()).then(useColours).catch(() => {}).finally(() => {
  entries = remembered().map((kept) => ({ ...kept, file: null, state: kept.row.error ? "failed" : "done", card: el("article", { className: "card", ariaLabel: kept.name }) }));
  $("answers").replaceChildren(...entries.map((entry) => entry.card));
  for (const entry of entries) drawCard(entry, least(), false, acts);
  showAll();
  readModels().catch(unreachable);
});
