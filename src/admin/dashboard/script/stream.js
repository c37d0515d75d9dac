// The live feed, read by fetch, since an EventSource cannot send a token. A feed that is silent is as good as a broken one.

const SILENCE = 5000;
// A tab that nobody has seen for so long gives its place to others.
const UNSEEN = 180000;
const PATIENCE = [500, 1000, 2000, 4000, 5000];

// Pieces of text as events, each once its end has come. What has been looked through is not looked through again, since the first event
// has everything in it and comes in many pieces.
class Events {
  constructor() { Object.assign(this, { pieces: [], held: "" }); }

  *read(piece) {
    const text = this.held + piece;
    let from = 0;
    for (let end; (end = text.indexOf("\n\n", from)) >= 0; from = end + 2) {
      yield this.pieces.join("") + text.slice(from, end);
      this.pieces = [];
    }
    // It may be the first half of an end.
    this.held = from < text.length && text.endsWith("\n") ? "\n" : "";
    this.pieces.push(text.slice(from, text.length - this.held.length));
  }
}

class Stream {
  constructor({ heard, broken, refused, paused }) {
    Object.assign(this, { heard, broken, refused, paused, failures: 0, isAway: false, wake() {} });
    document.addEventListener("visibilitychange", () => {
      clearTimeout(this.leaving);
      if (document.hidden) this.leaving = setTimeout(() => { this.isAway = true; this.current?.abort(); }, UNSEEN);
      else { this.isAway = false; this.wake(); }
    });
    addEventListener("online", () => { if (!this.isAway) this.wake(); });
  }

  async run() {
    for (;;) {
      const why = await this.follow().catch(error => error.message);
      if (why === "token") continue;
      if (this.isAway) {
        this.paused();
        await this.rest();
        continue;
      }
      const wait = PATIENCE[Math.min(this.failures, PATIENCE.length - 1)];
      this.failures += 1;
      this.broken(wait, why);
      await this.rest(wait);
    }
  }

  // Until it is woken, or for so long. Who comes back to the page, or to the net, does not wait.
  rest(wait) {
    return new Promise(resolve => {
      const timer = wait === undefined ? 0 : setTimeout(resolve, wait);
      this.wake = () => { clearTimeout(timer); resolve(); };
    });
  }

  async follow() {
    const broken = this.current = new AbortController();
    let watchdog = setTimeout(() => broken.abort(), SILENCE);
    try {
      const sent = token.value;
      const answer = await fetch("v1/live", { headers: { Accept: "text/event-stream", ...token.head() }, cache: "no-store", signal: broken.signal });
      if (answer.status === 401) {
        clearTimeout(watchdog);
        await this.refused(Boolean(sent));
        return "token";
      }
      if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).detail ?? `status ${answer.status}`);
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      const events = new Events();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return "it was closed";
        clearTimeout(watchdog);
        watchdog = setTimeout(() => broken.abort(), SILENCE);
        for (const event of events.read(value)) this.take(event);
      }
    } catch (error) {
      return error.name === "AbortError" ? "silence" : error.message;
    } finally {
      clearTimeout(watchdog);
    }
  }

  take(text) {
    let kind = "message", data = "";
    for (const line of text.split("\n")) {
      if (line.startsWith("event: ")) kind = line.slice(7);
      if (line.startsWith("data: ")) data += line.slice(6);
    }
    if (!data) return;
    this.failures = 0;
    this.heard(JSON.parse(data), kind === "whole");
  }
}
