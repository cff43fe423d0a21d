
"use strict";
const tools = document.querySelector(".tools");
const grid = document.querySelector(".cards");
const cards = [...grid.children];
const chips = [...document.querySelectorAll(".chip")];

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
  grid.append(...cards.sort((a, b) => order(a, b) || a.dataset.index - b.dataset.index));
}

function filter() {
  const emotions = chips.filter((chip) => chip.ariaPressed === "true").map((chip) => chip.dataset.emotion);
  const status = tools.status ? tools.status.value : "";
  const text = tools.text.value.trim().toLowerCase();
  let shown = 0;
  for (const card of cards) {
    const fits =
      (!emotions.length || emotions.includes(card.dataset.emotion)) &&
      (!status || card.dataset.status === status) &&
      (!text || (card.dataset.name + " " + card.textContent).toLowerCase().includes(text));
    card.hidden = !fits;
    shown += fits;
  }
  tools.querySelector("output").textContent = shown === cards.length ? "" : `${shown} of ${cards.length} shown`;
}

if (tools) {
  tools.hidden = false;
  document.body.classList.add("scripted");
  tools.sort.addEventListener("change", sort);
  tools.addEventListener("input", filter);
  tools.addEventListener("submit", (event) => event.preventDefault());
  for (const chip of chips) {
    chip.addEventListener("click", () => {
      chip.ariaPressed = chip.ariaPressed === "true" ? "false" : "true";
      filter();
    });
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
