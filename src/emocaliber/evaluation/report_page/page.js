
"use strict";
const { sources, words, shades, steps, pictured, samples } = JSON.parse(document.getElementById("data").textContent);
const form = document.querySelector(".tools");
const list = document.querySelector(".cards");
const pages = document.querySelector(".pages");
const PAGE = 50;
const MOST_BARS = 8;
const FIELDS = [...form.elements].filter((field) => field.name).map((field) => field.name);

// The address is the one state: controls write it, and the list is always drawn from it.
function state() {
  const asked = new URLSearchParams(location.hash.slice(1));
  const state = Object.fromEntries(FIELDS.map((name) => [name, asked.get(name) ?? ""]));
  state.page = Math.max(1, parseInt(asked.get("page"), 10) || 1);
  state.column = Math.max(0, sources.indexOf(state.source));
  return state;
}

function go(changes) {
  const next = { ...Object.fromEntries(FIELDS.map((name) => [name, form.elements[name].value])), page: "", ...changes };
  if (next.source === sources[0]) next.source = "";
  const kept = Object.entries(next).filter(([, value]) => value !== "");
  location.replace("#" + new URLSearchParams(kept));
}

function fits(sample, { task, show, truth, answer, low = "", high = "", text, column }) {
  const confidence = sample.confidence[column] ?? null;
  if ((low !== "" || high !== "") && confidence === null) return false;
  // The bins of the diagrams: over `low` up to `high`, with 0 in the first.
  if (low !== "" && !(confidence > Number(low) || (confidence === 0 && Number(low) === 0))) return false;
  if (high !== "" && confidence > Number(high)) return false;
  if ((task && sample.task !== task) || (show && sample.verdict !== show)) return false;
  if ((truth && sample.truth !== truth) || (answer && sample.answer !== answer)) return false;
  if (!text.trim()) return true;
  sample.words ??= [sample.id, sample.truth, sample.reason, sample.response].join("\n").toLowerCase();
  return sample.words.includes(text.trim().toLowerCase());
}

// A tie keeps the order of the data: by overconfidence in the first source.
function order(sort, column) {
  const over = (sample) => (sample.confidence[column] ?? 0) - (sample.verdict === "right");
  if (sort === "under") return (a, b) => over(a) - over(b);
  if (sort === "distance") return (a, b) => (b.distance ?? -1) - (a.distance ?? -1);
  if (sort === "id") return (a, b) => a.id.localeCompare(b.id, undefined, { numeric: true });
  return column ? (a, b) => over(b) - over(a) : () => 0;
}

// Text is only ever set as text, so nothing a model wrote can become markup.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== null));
  return element;
}

const percent = (fraction) => `${(100 * fraction).toFixed(fraction > 0 && fraction < 0.01 ? 1 : 0)} %`;

function bars(caption, entries, most = 1) {
  const rows = entries.map(([name, value, shown, kind, said]) => {
    const fill = make("div", name in shades ? { class: `shade${shades[name]}` } : {});
    fill.style.width = `${(100 * (value ?? 0)) / most}%`;
    const cell = make("td", {}, make("div", { class: "bar" }, fill));
    return make("tr", {}, make("th", { scope: "row", class: kind ?? "", title: said ?? "" }, name, kind ? make("small", {}, ` (${kind.replace(" ", ", ")})`) : null), cell, make("td", {}, shown));
  });
  return make("table", { class: "bars" }, make("caption", {}, caption), make("tbody", {}, ...rows));
}

function distribution(sample) {
  const shares = sample.posterior ?? sample.votes;
  if (!shares) return null;
  const caption = sample.posterior ? "true probability of each emotion" : "annotators per emotion";
  const likeliest = Object.entries(shares).sort((a, b) => b[1] - a[1]);
  const shown = likeliest.filter(([label], rank) => rank < MOST_BARS || label === sample.truth || label === sample.answer);
  const entries = shown.map(([label, share]) => {
    const kind = [label === sample.truth ? "truth" : "", label === sample.answer ? "answer" : ""].join(" ").trim();
    return [label, share, sample.posterior ? percent(share) : String(share), kind];
  });
  return bars(caption, entries, sample.posterior ? 1 : Math.max(...Object.values(shares)));
}

function picture(sample) {
  const inside = sample.thumbnail ? make("img", { src: sample.thumbnail, alt: `the image of ${sample.id}`, loading: "lazy" }) : null;
  if (!pictured) return "";
  if (!sample.link) return make("div", { class: "picture" }, "no image");
  return make("a", { class: "picture", href: sample.link, target: "_blank", rel: "noopener" }, inside ?? "open the image");
}

// The steps, where the text has them: each stands once between its tags.
function response(sample) {
  if (sample.response === null) return null;
  if (sample.verdict === "malformed") return make("details", { open: "" }, make("summary", {}, "What the model wrote"), make("pre", {}, sample.response));
  const terms = steps.flatMap((step) => {
    const inside = sample.response.split(`<${step}>`)[1]?.split(`</${step}>`)[0] ?? "";
    return [make("dt", {}, step), make("dd", {}, inside.trim())];
  });
  if (!sample.response.includes(`<${steps[0]}>`)) return make("details", {}, make("summary", {}, "What the model wrote"), make("pre", {}, sample.response));
  const raw = make("details", {}, make("summary", {}, "As written"), make("pre", {}, sample.response));
  return make("details", {}, make("summary", {}, "Reasoning"), make("dl", {}, ...terms), raw);
}

function card(sample) {
  const said = make("p", { class: "said" });
  if (sample.verdict === "right") said.append(make("b", {}, sample.answer), make("small", {}, " is right"));
  else if (sample.verdict === "wrong") said.append(make("b", {}, sample.answer), make("small", {}, " instead of "), make("b", {}, sample.truth));
  else said.append(make("small", {}, "no answer; the truth is "), make("b", {}, sample.truth));
  if (sample.distance) said.append(make("small", {}, ` · ${percent(sample.distance)} of the loop away`));
  const middle = make("div", {}, make("p", { class: "where quiet" }, `${sample.verdict} · ${sample.task} · ${sample.id}`), said);
  if (sample.reason) middle.append(make("p", { class: "reason" }, sample.reason));
  if (sources.length) {
    const stated = sources.map((source, i) => [source, sample.confidence[i], sample.confidence[i]?.toFixed(2) ?? "none", "", words[i]]);
    if (stated.length === 1 && sources[0] === "confidence") middle.append(bars("", stated));
    else middle.append(bars("confidence", stated.map(([source, ...rest]) => [source === "confidence" ? "as given" : source, ...rest])));
  }
  const article = make("article", { class: `card ${sample.verdict}${pictured ? "" : " unpictured"}`, "data-id": sample.id }, picture(sample), middle);
  article.append(distribution(sample) ?? make("div"), response(sample) ?? "");
  return article;
}

function draw() {
  const now = state();
  for (const name of FIELDS) {
    const wanted = name === "source" ? sources[now.column] : now[name];
    if (form.elements[name].value !== wanted) form.elements[name].value = wanted;
  }
  const found = samples.filter((sample) => fits(sample, now)).sort(order(now.sort, now.column));
  const last = Math.max(1, Math.ceil(found.length / PAGE));
  const page = Math.min(now.page, last);
  list.replaceChildren(...found.slice((page - 1) * PAGE, page * PAGE).map(card));
  form.querySelector("output").textContent = `${found.length} of ${samples.length} answers`;
  pages.hidden = last === 1;
  pages.querySelector("span").textContent = `page ${page} of ${last}`;
  for (const button of pages.querySelectorAll("button")) {
    const target = page + Number(button.dataset.step);
    button.disabled = target < 1 || target > last;
    button.onclick = () => {
      go({ page: target === 1 ? "" : target });
      form.scrollIntoView();
    };
  }
}

form.hidden = false;
form.addEventListener("input", () => go({}));
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", (event) => {
  event.preventDefault();
  location.replace("#");
});
addEventListener("hashchange", draw);
for (const link of document.querySelectorAll('a[href^="#"]')) link.addEventListener("click", () => form.scrollIntoView());
draw();
