// The history of this visit: answers and small copies of their pictures in the tab's own storage, which is gone when the tab is closed.

const NAME = "emocaliber";
const MOST = 3_000_000; // characters of pictures; browsers give a page five million in all
const SIDE = 320; // pixels

export function remembered() {
  try {
    return JSON.parse(sessionStorage.getItem(NAME)) ?? [];
  } catch {
    return []; // storage is switched off, or holds something else
  }
}

// Keeps the answers; the oldest lose their pictures first if there is not room for all. False if nothing could be kept.
export function remember(entries) {
  const kept = entries.filter((entry) => entry.row).map(({ name, row, thumbnail, question, warnings }) => ({ name, row, thumbnail, question, warnings }));
  if (!kept.length) {
    forget();
    return true;
  }
  let left = kept.reduce((sum, entry) => sum + (entry.thumbnail?.length ?? 0), 0);
  for (let place = kept.length - 1; place >= -1; place--) {
    if (left <= MOST) {
      try {
        sessionStorage.setItem(NAME, JSON.stringify(kept));
        return true;
      } catch {
        // too much still: one picture less
      }
    }
    if (place >= 0) {
      left -= kept[place].thumbnail?.length ?? 0;
      kept[place].thumbnail = null;
    }
  }
  return false;
}

export const forget = () => sessionStorage.removeItem(NAME);

// A small copy of a picture as a data URI; null for a format that this browser does not show.
export async function thumbnail(file) {
  try {
    const whole = await createImageBitmap(file);
    const scale = Math.min(1, SIDE / Math.max(whole.width, whole.height));
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [whole.width, whole.height].map((side) => Math.max(1, Math.round(scale * side)));
    canvas.getContext("2d").drawImage(whole, 0, 0, canvas.width, canvas.height);
    whole.close();
    return canvas.toDataURL("image/jpeg", 0.8);
  } catch {
    return null;
  }
}

// The files of a drop, those in folders too.
export async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const plain = [...transfer.files];
  if (!entries.some((entry) => entry.isDirectory)) return plain;
  return (await Promise.all(entries.map(filesOf))).flat();
}

async function filesOf(entry) {
  if (entry.isFile) return [await new Promise((done, failed) => entry.file(done, failed))];
  const reader = entry.createReader();
  const inside = [];
  for (;;) {
    const some = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (!some.length) return (await Promise.all(inside.map(filesOf))).flat().filter((file) => file.type.startsWith("image/"));
    inside.push(...some);
  }
}
