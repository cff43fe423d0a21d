
"use strict";
const tools = document.querySelector(".tools");
const grid = document.querySelector(".cards");
const cards = [...grid.children];
const chips = [...document.querySelectorAll(".chip")];
const slider = document.querySelector("[name=least]");
const marker = document.querySelector(".marker");
let shown = cards;

const rows = () => JSON.parse(document.getElementById("data").textContent);
const percent = (fraction) => `${(100 * fraction).toFixed(0)}\u00a0%`;

// What a card is compared by; a tie keeps the order given.
const orders = {
  index: () => 0,
  "-confidence": (a, b) => b.dataset.confidence - a.dataset.confidence,
  confidence: (a, b) => a.dataset.confidence - b.dataset.confidence,
  name: (a, b) => a.dataset.name.localeCompare(b.dataset.name, undefined, { numeric: true }),
  emotion: (a, b) => a.dataset.emotion.localeCompare(b.dataset.emotion),
};

function sort() {
  const order = orders[tools.sort.value];
  grid.append(...cards.sort((a, b) => order(a, b) || a.dataset.place - b.dataset.place));
}

function filter() {
  const emotions = chips.filter((chip) => chip.ariaPressed === "true").map((chip) => chip.dataset.emotion);
  const chosen = ["status", "unfamiliar", "untaught"].filter((name) => tools[name]?.value).map((name) => [name, tools[name].value]);
  const text = tools.text.value.trim().toLowerCase();
  const least = slider ? Number(slider.value) / 100 : 0;
  shown = cards.filter(
    (card) =>
      (!emotions.length || emotions.includes(card.dataset.emotion)) &&
      (!least || Number(card.dataset.confidence) >= least) &&
      chosen.every(([name, value]) => card.dataset[name] === value) &&
      (!text || (card.dataset.name + " " + card.textContent).toLowerCase().includes(text)),
  );
  for (const card of cards) card.hidden = true;
  for (const card of shown) card.hidden = false;
  tools.querySelector("output").textContent = shown.length === cards.length ? "" : `${shown.length} of ${cards.length} shown`;
}

// What the least confidence keeps of all answers, whatever the other filters say.
function keep() {
  const least = Number(slider.value) / 100;
  const stated = cards.map((card) => Number(card.dataset.confidence)).filter((confidence) => confidence >= 0);
  const kept = stated.filter((confidence) => confidence >= least);
  const mean = kept.reduce((sum, confidence) => sum + confidence, 0) / kept.length;
  const expected = document.querySelector(".chart .expected") && kept.length ? `, expected accuracy ${percent(mean)}` : "";
  slider.parentElement.parentElement.querySelector("output").textContent =
    `${slider.value}\u00a0%: ${kept.length} of ${stated.length} kept${expected}`;
  marker.setAttribute("d", slider.value === "0" ? "" : `M${3 * slider.value} 0V80`);
}

// The rows of the cards shown, in their order, as in predict's own files; with those of failed images if no card is hidden.
function chosenRows() {
  const all = rows();
  const failed = shown.length === cards.length ? all.filter((row) => row.error) : [];
  const order = [...grid.children].filter((card) => !card.hidden);
  return [...order.map((card) => all[card.dataset.place]), ...failed];
}

if (tools) {
  tools.hidden = false;
  document.body.classList.add("scripted");
  tools.sort.addEventListener("change", sort);
  tools.addEventListener("input", filter);
  tools.addEventListener("submit", (event) => event.preventDefault());
  for (const button of tools.querySelectorAll("[data-save]")) button.addEventListener("click", () => save(button.dataset.save, chosenRows())); // of rows.js
  for (const chip of chips) {
    chip.addEventListener("click", () => {
      chip.ariaPressed = chip.ariaPressed === "true" ? "false" : "true";
      filter();
    });
  }
  if (slider) {
    slider.closest("p").hidden = false;
    slider.addEventListener("input", () => {
      keep();
      filter();
    });
    keep();
  }
  sort(); // browsers keep a chosen order over a reload
  filter();
}

// On paper nothing can be unfolded.
const folded = [];
addEventListener("beforeprint", () => {
  folded.push(...document.querySelectorAll("details:not([open])"));
  for (const details of folded) details.open = true;
});
addEventListener("afterprint", () => {
  for (const details of folded.splice(0)) details.open = false;
});
