// Rows saved from a page as predict's own files have them: CSV with dotted columns, or JSON Lines.

const isNested = (value) => value !== null && typeof value === "object" && !Array.isArray(value) && Object.keys(value).length > 0;

function flat(row, prefix = "") {
  return Object.entries(row).flatMap(([name, value]) => (isNested(value) ? flat(value, `${prefix}${name}.`) : [[prefix + name, value]]));
}

// Text that a spreadsheet would run as a formula gets an apostrophe before it.
function cell(value) {
  if (value === null || value === undefined) return "";
  const text = typeof value === "string" ? value.replace(/^(?=[=+\-@\t\r])/, "'") : typeof value === "number" ? String(value) : JSON.stringify(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function csv(rows) {
  const tables = rows.map((row) => Object.fromEntries(flat(row)));
  const names = [...new Set(tables.flatMap(Object.keys))];
  const columns = names.filter((name) => !names.some((other) => other.startsWith(name + ".")));
  const fields = [...new Set(names.map((name) => name.split(".")[0]))];
  columns.sort((a, b) => fields.indexOf(a.split(".")[0]) - fields.indexOf(b.split(".")[0]));
  return [columns, ...tables.map((table) => columns.map((name) => table[name]))].map((line) => line.map(cell).join(",") + "\r\n").join("");
}

const jsonl = (rows) => rows.map((row) => JSON.stringify(row) + "\n").join("");

// Hands the rows to the browser as a file, `kind` csv or jsonl.
function save(kind, rows) {
  const link = document.createElement("a");
  link.download = `predictions.${kind}`;
  link.href = URL.createObjectURL(new Blob([kind === "csv" ? csv(rows) : jsonl(rows)], { type: "text/plain" }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
