// The page of `emocaliber label`: one picture after another, a vote on each, and the model's answer only after it.

import { el, useColours, answerOf } from "./cards.js";

const $ = (id) => document.getElementById(id);
const KEYS = "123456789abcdefghijklmnopqrstuvwxyz"; // of the labels, in their order
const CANNOT = "0";

const link = location.hash.slice(1) || sessionStorage.getItem("emocaliber-link") || "";
sessionStorage.setItem("emocaliber-link", link);
history.replaceState(null, "", location.pathname); // so that nobody reads it from the screen

let person = "";
let state = null;
let at = 0; // place in this person's order; the number of pictures: at the end
let since = 0;
let queue = Promise.resolve(); // what is being done, and what comes after it
let waiting = 0; // how many things those are
let seen = new Map(); // pictures as object URLs, this one and the next

async function told(path, options = {}) {
  const reply = await fetch(`label/${path}`, { ...options, headers: { Authorization: `Bearer ${link}` } });
  if (reply.ok) return reply;
  const said = await reply.json().catch(() => null);
  throw new Error(said?.error?.message ?? `the server answered with HTTP ${reply.status}`);
}

const asked = (name) => `${name}?${new URLSearchParams({ person })}`;

async function begin(event) {
  event.preventDefault();
  person = $("person").value.trim();
  state = await (await told(asked("state"))).json();
  const first = state.pictures.findIndex((picture) => !picture.done);
  const buttons = [...state.labels.map((label, place) => choice(KEYS[place] ?? "", label, label)), choice(CANNOT, "cannot tell", null)];
  $("labels").replaceChildren(...buttons);
  $("labels").classList.toggle("many", state.labels.length > 10);
  $("asked").textContent = state.kind === "sentiment" ? "Which sentiment does this picture evoke in you?" : "Which emotion does this picture evoke in you?";
  await show(first < 0 ? state.pictures.length : first);
}

function choice(key, text, emotion) {
  const button = el("button", { type: "button", onclick: () => run(() => vote(emotion), { votes: true }) }, ...(key ? [el("kbd", { ariaHidden: "true" }, key)] : []), el("span", {}, text));
  if (emotion === null) button.className = "cannot";
  if (key) button.setAttribute("aria-keyshortcuts", key);
  button.emotion = emotion;
  return button;
}

// Shows the picture at a place of this person's order, or the end.
async function show(place) {
  at = Math.min(Math.max(place, 0), state.pictures.length);
  const done = state.pictures.filter((picture) => picture.done).length;
  const over = at === state.pictures.length;
  $("start").hidden = true;
  $("ask").hidden = over;
  $("end").hidden = !over;
  $("wrong").textContent = "";
  if (over) {
    const left = state.pictures.length - done;
    $("ended").textContent = `${done} of ${state.pictures.length} pictures are done, ${person}.${left ? ` ${left} ${left === 1 ? "is" : "are"} left; look again to vote on ${left === 1 ? "it" : "them"}.` : ""}`;
    $("end").focus();
    return;
  }
  $("count").textContent = `${at + 1} of ${state.pictures.length}`;
  $("far").value = done / state.pictures.length;
  $("back").disabled = at === 0;
  $("answer").hidden = true;
  mark();
  const picture = state.pictures[at];
  try {
    if (!seen.has(picture.place)) $("picture").replaceChildren(); // not the last one under the number of this one
    const image = el("img", { src: await fetched(picture.place), alt: `Picture ${at + 1}` });
    await image.decode();
    $("picture").replaceChildren(image);
    since = performance.now();
    for (const button of $("labels").children) button.disabled = settled(picture);
  } catch (error) {
    $("picture").replaceChildren(el("p", { className: "bad" }, error.message));
    for (const button of $("labels").children) button.disabled = button.emotion !== null; // nobody can say
  }
  if (settled(picture)) await reveal(picture);
  const next = state.pictures[at + 1];
  if (next) fetched(next.place).catch(() => {}); // ahead of time
}

const settled = (picture) => Boolean(state.model) && picture.emotion !== null;

function mark() {
  const picture = state.pictures[at];
  for (const button of $("labels").children) button.ariaPressed = String(picture.done && picture.emotion === button.emotion);
}

async function fetched(place) {
  if (!seen.has(place)) {
    for (const [old, url] of [...seen].slice(0, -3)) {
      URL.revokeObjectURL(url);
      seen.delete(old);
    }
    seen.set(place, URL.createObjectURL(await (await told(`pictures/${place}`)).blob()));
  }
  return seen.get(place);
}

async function vote(emotion) {
  const picture = state.pictures[at];
  if (settled(picture) || (emotion !== null && [...$("labels").children].some((button) => button.emotion === emotion && button.disabled))) return;
  const seconds = since ? (performance.now() - since) / 1000 : null;
  await told("votes", { method: "POST", body: JSON.stringify({ person, place: picture.place, emotion, seconds }) });
  Object.assign(picture, { done: true, emotion });
  $("status").textContent = emotion === null ? "Left open." : `Your vote: ${emotion}.`;
  mark();
  $("far").value = state.pictures.filter((each) => each.done).length / state.pictures.length;
  if (settled(picture)) await reveal(picture);
  else await show(at + 1);
}

// What the model says, after the vote; which therefore stays.
async function reveal(picture) {
  for (const button of $("labels").children) button.disabled = true;
  const row = await (await told(asked(`answers/${picture.place}`))).json();
  const agrees = row.emotion === picture.emotion ? "The model says the same:" : `You say ${picture.emotion}. The model says:`;
  const said = row.error ? [el("p", {}, `The model has no answer: ${row.error.message}`)] : [el("p", { className: "quiet" }, agrees), answerOf(row)];
  $("answer").replaceChildren(...said);
  $("answer").hidden = false;
  $("on").focus();
}

// One thing after another, and what goes wrong is said. A vote is for the picture that is seen, so one that comes too early is none.
function run(act, { votes = false } = {}) {
  if (votes && waiting) return;
  waiting++;
  $("ask").ariaBusy = "true";
  queue = queue.then(act).catch((error) => {
    $("wrong").textContent = `${error.message[0].toUpperCase()}${error.message.slice(1)}.`;
  });
  queue.then(() => ($("ask").ariaBusy = String(--waiting > 0)));
}

function pressed(event) {
  if ($("ask").hidden || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const button = [...$("labels").children].find((each) => each.getAttribute("aria-keyshortcuts") === event.key.toLowerCase());
  if (button) run(() => vote(button.emotion), { votes: true });
  else if (event.key === "ArrowLeft") run(() => show(at - 1));
  else if (event.key === "ArrowRight") run(() => show(at + 1));
  else return;
  event.preventDefault();
}

$("start").addEventListener("submit", (event) => {
  event.preventDefault();
  run(() => begin(event));
});
addEventListener("keydown", pressed);
$("back").addEventListener("click", () => run(() => show(at - 1)));
$("on").addEventListener("click", () => run(() => show(at + 1)));
$("review").addEventListener("click", () => run(() => show(0)));
$("other").addEventListener("click", () => {
  $("end").hidden = true;
  $("start").hidden = false;
  $("person").value = "";
  $("person").focus();
});
fetch("page/palette.json").then((reply) => reply.json()).then(useColours).catch(() => {});
$("person").focus();
