// What the numbers of a row mean, in sentences. Pure functions of a row, without the page.

export const percent = (share) => (share > 0 && share < 0.005 ? "<\u00a01\u00a0%" : `${(100 * share).toFixed(0)}\u00a0%`);

// A probability as a person counts: "7 of 10", in hundredths where tenths would say "always".
export function outOf(share) {
  if (share >= 0.995) return "99 of 100 or more";
  if (share >= 0.95) return `${Math.round(100 * share)} of 100`;
  return share < 0.05 ? "under 1 of 10" : `${Math.round(10 * share)} of 10`;
}

const about = (share) => (share < 0.05 || share >= 0.995 ? outOf(share) : `about ${outOf(share)}`);

const isCalibrated = (row) => row.confidence_source === "calibrated" && row.confidence !== null;

// How far to trust the answer.
export function trustWords(row) {
  if (row.confidence === null) return "The model gives no confidence that can be read.";
  if (row.confidence_source === "chance") return `A guess: no likelier to be right than drawing a label by lot (${percent(row.confidence)}).`;
  if (row.confidence_source === "margin") return `Leads the next label by ${row.confidence.toFixed(2)}, which is no probability.`;
  if (isCalibrated(row)) return `Right in ${about(row.confidence)} such cases.`;
  return `Says it is ${percent(row.confidence)} sure. How often that is right has not been measured here.`;
}

// How many people would say so; null where it is not known.
export function peopleWords(row) {
  const { people, people_low: low, people_high: high } = row;
  if ([people, low, high].some((share) => share === null || share === undefined)) return null;
  const [least, most] = [low, high].map((share) => Math.round(10 * share));
  if (most - least >= 6) return `How many people would say so is hard to tell: ${least} to ${most} of 10.`;
  const between = least === most ? "" : `, between ${least} and ${most}`;
  if (people >= 0.95) return `Nearly all people would say so${between && `, at least ${least} of 10`}.`;
  const said = Math.round(10 * people) ? `about ${Math.round(10 * people)} of 10` : "under 1 of 10";
  return people < 0.5
    ? `People would disagree: ${said} would say so${between}.`
    : `${said[0].toUpperCase()}${said.slice(1)} people would say so${between}.`;
}

export const ended = (text) => (/[.!?]$/.test(text) ? text : `${text}.`);

const sentence = (text) => ended(`${text[0].toUpperCase()}${text.slice(1)}`);

// "failed", "abstained", "accepted" or "answered", if answers below `least` (0: any) are not wanted.
export function statusOf(row, least = 0) {
  if (row.error) return "failed";
  if (row.accepted === false || (least && !(row.confidence >= least))) return "abstained";
  return row.accepted || least ? "accepted" : "answered";
}

// Why the answer should be taken with care, or is not given at all.
export function reasons(row, least = 0) {
  const found = [];
  if (row.accepted === false) {
    found.push(row.certificate ? `Abstains: less sure than certificate ${row.certificate} asks for.` : "Abstains: less sure than the server asks for.");
  } else if (least && !(row.confidence >= least)) {
    found.push(`Abstains: less sure than the ${percent(least)} that you ask for.`);
  }
  if (row.uncertified) found.push(sentence(`not covered by the certificate: ${row.uncertified}`));
  if (row.unfamiliar) found.push("The model recognises nothing that it knows in this picture, so this is a guess.");
  if (row.untaught) found.push("The model was not taught these labels.");
  if (row.uncalibrated && !isCalibrated(row) && !row.untaught) found.push(sentence(`its confidence is not calibrated: ${row.uncalibrated}`));
  return found;
}

// What remains of the answers at a least confidence, and how many of those should be right.
export function remainsWords(rows, least) {
  const answered = rows.filter((row) => !row.error);
  const kept = answered.filter((row) => ["answered", "accepted"].includes(statusOf(row, least)));
  const all = { 1: "The one answer", 2: "Both answers" }[answered.length] ?? `All ${answered.length} answers`;
  const count = kept.length === answered.length ? `${all} remain${answered.length === 1 ? "s" : ""}` : `${kept.length} of ${answered.length} answers remain`;
  const level = least ? `${percent(least)}: ${count[0].toLowerCase()}${count.slice(1)}` : count;
  if (!kept.length || !kept.every(isCalibrated)) return `${level}.`;
  const mean = kept.reduce((sum, row) => sum + row.confidence, 0) / kept.length;
  return `${level}; ${about(mean)} such answers are right.`;
}

// The row as it is saved: with a least confidence, `accepted` is what `min_confidence` would have said, unless the server has decided.
export function savedRow(row, least) {
  if (!least || row.error || row.accepted !== null) return row;
  return { ...row, accepted: row.confidence >= least };
}
