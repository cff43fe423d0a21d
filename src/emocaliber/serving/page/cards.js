// The cards of the answers, and the comparison of two. Whatever comes from a row or a file goes in as text, never as markup.

import { peopleWords, percent, reasons, statusOf, trustWords } from "./words.js";

export const STEPS = ["element", "human", "context", "interaction", "analysis"];
const MOST = 5; // emotions beside the answer
const BADGES = { accepted: "sure enough", abstained: "abstains" };

// An element with properties and children; text children become text nodes.
export function el(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

let colours = {};
export const useColours = (palette) => (colours = palette);

function tint(element, emotion) {
  const [light, dark] = colours[emotion] ?? [];
  for (const [name, value] of [["--light", light], ["--dark", dark]]) value ? element.style.setProperty(name, value) : element.style.removeProperty(name);
}

function bar(share) {
  const inside = el("i");
  inside.style.width = `${(100 * Math.min(Math.max(share, 0), 1)).toFixed(1)}%`;
  return el("span", { className: "bar", ariaHidden: "true" }, inside);
}

function picture(entry) {
  const box = el("div", { className: "picture" });
  const source = entry.url ?? entry.thumbnail;
  if (!source) return el("div", { className: "picture" }, "no picture to show");
  const image = el("img", { alt: entry.name, decoding: "async", src: source });
  // The browser may not know the format, or the file may be broken.
  image.addEventListener("error", () => box.replaceChildren("this browser cannot show it"), { once: true });
  box.append(image);
  return box;
}

function verdict(row, status, heading) {
  const badges = [BADGES[status] && el("span", { className: `badge ${status === "accepted" ? "good" : ""}` }, BADGES[status])];
  for (const flag of ["unfamiliar", "untaught"]) if (row[flag]) badges.push(el("span", { className: "badge" }, flag));
  return el(heading, { className: "verdict" }, el("span", { className: "said" }, row.emotion), ...badges.filter(Boolean));
}

function trust(row) {
  const share = row.confidence === null ? null : el("div", { className: "share" }, bar(row.confidence), el("span", {}, percent(row.confidence)));
  const people = peopleWords(row);
  return [share, el("p", { className: "says" }, trustWords(row)), people && el("p", { className: "says" }, people)];
}

function why(row, least) {
  const found = reasons(row, least);
  return found.length ? el("ul", { className: "why" }, ...found.map((reason) => el("li", {}, reason))) : null;
}

function others(row) {
  if (!row.alternatives?.length) return null;
  const lines = row.alternatives.slice(0, MOST).map(({ emotion, probability }) => {
    const cell = el("td", {}, bar(probability));
    tint(cell.firstChild, emotion);
    cell.firstChild.classList.add("side");
    return el("tr", {}, el("th", { scope: "row" }, emotion), cell, el("td", {}, percent(probability)));
  });
  return el("table", { className: "others" }, el("caption", {}, weighed(row)), el("tbody", {}, ...lines));
}

const weighed = (row) => (row.untaught ? "What it weighed, which tells little of labels that it was not taught" : "What it weighed, by its own probabilities");

function steps(row) {
  if (!row.reasoning) return null;
  const found = STEPS.filter((step) => row.reasoning[step]).flatMap((step) => [el("dt", {}, step), el("dd", {}, row.reasoning[step])]);
  return el("details", { open: document.querySelector("#answers").childElementCount === 1 }, el("summary", {}, "Why, in five steps"), el("dl", {}, ...found));
}

const failure = (entry) => entry.row?.error ?? entry.failure;

// Errors begin with the name of the file, which the card shows already.
function without(name, message) {
  const before = [name, "the image"].map((each) => `${each}: `).find((each) => message.startsWith(each)) ?? "";
  return message.charAt(before.length).toUpperCase() + message.slice(before.length + 1);
}

function working(entry) {
  const words = { waiting: "Waiting", sending: "Sending", asking: "The model is looking at it" }[entry.state];
  const gauge = el("progress", { max: 1, ariaLabel: `${words}: ${entry.name}` });
  if (entry.state === "sending") gauge.value = entry.sent;
  if (entry.state === "waiting") gauge.value = 0;
  return el("div", { className: "working" }, el("p", {}, entry.note || `${words}…`), gauge);
}

// Draws the card of an entry anew. `acts` are the functions `compare`, `again` and `remove` of the buttons.
export function drawCard(entry, least, chosen, acts) {
  const { card, row, name } = entry;
  const button = (text, act, more = {}) => el("button", { type: "button", ariaLabel: `${text}: ${name}`, onclick: () => acts[act](entry), ...more, className: act }, text);
  const file = el("p", { className: "file", title: name }, name, entry.state === "done" ? ` · ${row.task === "custom" ? "labels of your own" : row.task}` : "");
  const text = el("div", { className: "text" }, file);
  const remove = button("Remove", "remove");
  if (entry.state === "done") {
    const status = statusOf(row, least);
    card.className = `card ${status}`;
    const compare = button("Compare", "compare", { ariaPressed: String(chosen) });
    text.append(verdict(row, status, "h3"), ...[...trust(row), why(row, least), others(row), steps(row)].filter(Boolean));
    text.append(el("div", { className: "acts" }, compare, remove));
  } else if (entry.state === "failed") {
    card.className = "card failed";
    const { code, message } = failure(entry);
    text.append(el("h3", { className: "verdict" }, el("span", { className: "said" }, "No answer")));
    text.append(el("p", { className: "bad" }, without(name, message)), el("p", { className: "file" }, code));
    text.append(el("div", { className: "acts" }, ...(entry.file ? [button("Try again", "again")] : []), remove));
  } else {
    card.className = "card";
    text.append(working(entry), el("div", { className: "acts" }, remove));
  }
  const focused = card.contains(document.activeElement) ? document.activeElement.className : null;
  const open = card.querySelector("details")?.open;
  // The picture is kept, so that it does not flicker.
  if (!card.firstChild || entry.redrawn) card.replaceChildren(picture(entry), text);
  else card.lastChild.replaceWith(text);
  entry.redrawn = false;
  tint(card, row?.emotion);
  if (open !== undefined && card.querySelector("details")) card.querySelector("details").open = open;
  if (focused) card.querySelector(`button.${focused}`)?.focus();
}

// An answer without its picture: the emotion and how far to trust it.
export function answerOf(row) {
  const side = el("div", { className: "side" }, ...[verdict(row, statusOf(row), "h2"), ...trust(row), why(row, 0)].filter(Boolean));
  tint(side, row.emotion);
  return side;
}

// Two answers side by side.
export function comparison(pair, least) {
  const rows = pair.map((entry) => entry.row);
  const columns = pair.map((entry) => {
    const side = el("div", { className: "side" }, picture(entry), el("p", { className: "file" }, entry.name));
    side.append(...[verdict(entry.row, statusOf(entry.row, least), "h3"), ...trust(entry.row), why(entry.row, least)].filter(Boolean));
    tint(side, entry.row.emotion);
    return side;
  });
  const shares = rows.map((row) => Object.fromEntries((row.alternatives ?? []).map(({ emotion, probability }) => [emotion, probability])));
  const names = [...new Set(shares.flatMap(Object.keys))].sort((a, b) => most(b, shares) - most(a, shares));
  const lines = names.map((name) => {
    const cells = shares.map((share) => {
      const inside = share[name] === undefined ? ["", "–"] : [bar(share[name]), percent(share[name])];
      const cell = el("td", {}, el("div", {}, inside[0], el("span", {}, inside[1])));
      cell.classList.add("side");
      tint(cell, name);
      return cell;
    });
    return el("tr", {}, cells[0], el("th", { scope: "row" }, name), cells[1]);
  });
  const head = el("thead", {}, el("tr", {}, ...[pair[0].name, "", pair[1].name].map((name) => el("th", name ? { scope: "col" } : {}, name))));
  const table = lines.length ? el("table", { className: "both" }, el("caption", {}, weighed(rows.find((row) => row.untaught) ?? rows[0])), head, el("tbody", {}, ...lines)) : null;
  const told = STEPS.filter((step) => rows.some((row) => row.reasoning?.[step])).flatMap((step) => [
    el("h3", {}, step),
    el("div", { className: "pair" }, ...rows.map((row) => el("p", {}, row.reasoning?.[step] ?? "–"))),
  ]);
  return [el("div", { className: "pair" }, ...columns), table, told.length ? el("div", { className: "steps" }, ...told) : null].filter(Boolean);
}

const most = (name, shares) => Math.max(...shares.map((share) => share[name] ?? 0));
