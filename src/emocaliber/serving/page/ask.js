// The pictures that wait for the server: one request for each, a few at a time, so that each has its own progress and fails alone.

const AT_ONCE = 4;
const MOST_TRIES = 12; // of a busy server
const LONGEST_WAIT = 60; // seconds

export class Asking {
  // `tell(entry)` is called when anything about an entry has changed; `locked(wrong)` when the server wants a key, or another one.
  constructor(tell, locked) {
    Object.assign(this, { tell, locked, key: "", waiting: [], running: new Map(), until: 0, closed: false });
  }

  headers() {
    return this.key ? { Authorization: `Bearer ${this.key}` } : {};
  }

  add(entries) {
    for (const entry of entries) {
      Object.assign(entry, { state: "waiting", note: "", tries: 0 });
      this.waiting.push(entry);
      this.tell(entry);
    }
    this.next();
  }

  remove(entry) {
    this.waiting = this.waiting.filter((other) => other !== entry);
    this.running.get(entry)?.abort();
    this.running.delete(entry);
    this.next();
  }

  unlock(key) {
    this.key = key;
    this.closed = false;
    this.next();
  }

  next() {
    const pause = this.until - Date.now();
    if (pause > 0) {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.next(), pause);
      return;
    }
    while (!this.closed && this.waiting.length && this.running.size < AT_ONCE) this.send(this.waiting.shift());
  }

  send(entry) {
    const form = new FormData();
    form.append("images", entry.file, entry.name);
    for (const [name, value] of Object.entries(entry.question)) form.append(name, value);
    const request = new XMLHttpRequest(); // fetch tells nothing of how much is sent
    request.open("POST", "v1/emotions");
    for (const [name, value] of Object.entries(this.headers())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => this.set(entry, "sending", { sent: event.loaded / Math.max(event.total, 1) });
    request.upload.onload = () => this.set(entry, "asking");
    request.onload = () => this.finish(entry, request);
    request.onerror = () => this.end(entry, "unreachable", "The connection broke. Either the server is not running, or it does not take a picture of this size.");
    this.running.set(entry, request);
    this.set(entry, "sending", { sent: 0 });
    request.send(form);
  }

  set(entry, state, more = {}) {
    Object.assign(entry, { state, note: "" }, more);
    this.tell(entry);
  }

  finish(entry, request) {
    let answer = null;
    try {
      answer = JSON.parse(request.responseText);
    } catch {
      // what it said is no JSON: a proxy's page, perhaps
    }
    const said = answer?.error?.message;
    if (request.status === 200 && answer?.predictions?.length === 1) {
      const [row] = answer.predictions;
      this.running.delete(entry);
      this.set(entry, row.error ? "failed" : "done", { row, warnings: answer.warnings ?? [] });
      this.next();
    } else if (request.status === 401) {
      this.running.delete(entry);
      this.closed = true;
      this.waiting.unshift(entry);
      this.set(entry, "waiting", { note: "Waits for a key." });
      this.locked(Boolean(this.key));
    } else if ([429, 503].includes(request.status) && ++entry.tries < MOST_TRIES) {
      const seconds = Math.min(Math.max(Number(request.getResponseHeader("Retry-After")) || 1, 1), LONGEST_WAIT);
      this.running.delete(entry);
      this.until = Date.now() + 1000 * seconds;
      this.waiting.unshift(entry);
      this.set(entry, "waiting", { note: `The server is busy; it is asked again in ${Math.ceil(seconds)} s.` });
      this.next();
    } else {
      this.end(entry, answer?.error?.code ?? `http ${request.status}`, said ?? `The server gave an answer that cannot be read (HTTP ${request.status}).`);
    }
  }

  end(entry, code, message) {
    if (!this.running.delete(entry)) return; // removed in the meantime
    this.set(entry, "failed", { row: null, failure: { code, message } });
    this.next();
  }
}
