// One predictor as this window knows it: its card, its examples, what is shown to it, and what it answers.

import { Problem, bytes, query, read, write } from "./api.js";
import { bodyOf, forget, parts } from "./items.js";
import { during } from "./progress.js";
import { t } from "./words.js";

const PAGE = 500;
const MOST = 2000;

export class Session {
  constructor(id) {
    this.id = id;
    this.path = `/v1/predictors/${id}`;
    this.tag = "";
    this.card = null;
    this.examples = [];
    this.item = null; // what is shown to it now
    this.answer = null;
    this.waiting = []; // without labels; in this window alone
    this.closed = false;
    this.listeners = new Map();
    this.writes = Promise.resolve();
    this.pictures = new Map();
  }

  /** Call a listener on these events: card, examples, version, item, answer, voters, waiting. */
  on(names, listener) {
    for (const name of names.split(" ")) {
      this.listeners.set(name, [...(this.listeners.get(name) || []), listener]);
    }
  }

  emit(name, value) {
    if (!this.closed) (this.listeners.get(name) || []).forEach((listener) => listener(value));
  }

  close() {
    this.emit("closed");
    this.closed = true;
    clearTimeout(this.timer);
    this.asking?.abort();
    for (const address of this.pictures.values()) address.then(URL.revokeObjectURL, () => {});
  }

  async open() {
    await this.refresh();
    await this.list();
  }

  /** Read the card, and again until its score is there. */
  async refresh(wait = 400) {
    clearTimeout(this.timer);
    const reply = await read(this.path);
    if (this.closed) return;
    const version = this.card?.version;
    this.card = reply.content;
    this.tag = reply.tag;
    this.emit("card");
    if (version !== undefined && version !== this.card.version) await this.moved();
    if (this.card.score.state === "computing") {
      this.timer = setTimeout(() => this.refresh(Math.min(3000, wait * 1.4)).catch(() => {}), wait);
    }
  }

  async list() {
    const examples = [];
    let after = 0;
    do {
      const { content } = await read(`${this.path}/examples?limit=${PAGE}&after=${after}`);
      examples.push(...content.examples);
      after = content.next;
    } while (after && examples.length < MOST);
    this.examples = examples;
    this.emit("examples");
  }

  /** What follows from another version. */
  async moved() {
    this.emit("version");
    this.ask();
    await this.list();
  }

  /** Change it: one write after another, each against the version that is seen here. */
  change(method, path, body) {
    const result = this.writes.then(async () => {
      try {
        const reply = await write(method, this.path + path, body, this.tag);
        this.tag = reply.tag;
        this.take(reply.content.predictor || reply.content);
        return reply.content;
      } catch (error) {
        if (error instanceof Problem && error.status === 412) await this.refresh();
        throw error;
      }
    });
    this.writes = result.catch(() => {});
    return result;
  }

  take(summary) {
    const same = summary.version === this.card.version;
    const score = same ? this.card.score : { state: summary.ready ? "computing" : "not ready" };
    this.card = { ...this.card, score, suspects: same ? this.card.suspects : [], ...summary };
    this.emit("card");
    if (same) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.refresh().catch(() => {}), 400);
    this.moved().catch(() => {});
  }

  /** Give it items as examples: all of one label, or each of its own. Gives ids, copies, advice and steps. */
  async add(items, label) {
    const all = { ids: [], copies: 0, advice: [], steps: 0 };
    const sets = parts(items);
    const work = (async () => {
      for (const [place, set] of sets.entries()) {
        const labels = label === undefined ? set.map((item) => item.label) : [label];
        const content = await this.change("POST", "/examples", bodyOf(set, labels));
        all.steps += content.added.length ? 1 : 0;
        all.ids.push(...content.added.map((one) => one.id));
        all.copies += content.duplicates;
        all.advice = content.advice;
        handle.share((place + 1) / sets.length);
      }
    })();
    const handle = during(t("progress.add", { count: items.length }), work);
    await work;
    return all;
  }

  /** Return to the version before, or by as many steps. */
  async undo(steps = 1) {
    for (let step = 0; step < steps; step += 1) await this.change("POST", "/undo");
  }

  /** Show it something, or nothing. */
  present(item) {
    if (this.item?.fleeting && this.item !== item) forget(this.item.blob);
    this.item = item;
    this.answer = null;
    this.emit("item");
    this.ask();
  }

  /** Ask about what is shown; an answer that comes late is left. */
  async ask() {
    this.asking?.abort();
    const { item } = this;
    if (!item || !this.card?.ready) {
      this.answer = null;
      this.emit("answer");
      return;
    }
    const asking = new AbortController();
    this.asking = asking;
    try {
      const work = query(`${this.path}/predict?votes=6&map=true`, bodyOf([item]), asking.signal);
      during(t("progress.ask"), work);
      const { content } = await work;
      if (asking.signal.aborted) return;
      this.answer = { ...content.predictions[0], why: content.why, calibrated: content.calibrated };
      this.emit("answer");
    } catch (error) {
      if (error.name === "AbortError") return;
      this.answer = { problem: error.message };
      this.emit("answer");
    }
  }

  /** Why the answer is what it is, by leaving out examples in turn. */
  async explain() {
    const { content } = await query(`${this.path}/explain`, bodyOf([this.item]));
    return content.explanations[0];
  }

  /** Keep items until someone says what they are. */
  setAside(items) {
    this.waiting = [...this.waiting, ...items];
    this.emit("waiting");
  }

  settle(item) {
    this.waiting = this.waiting.filter((one) => one !== item);
    this.emit("waiting");
  }

  /** The address of an example's picture. */
  picture(example) {
    if (!this.pictures.has(example.id)) {
      const address = bytes(example.preview).then(({ blob }) => URL.createObjectURL(blob));
      this.pictures.set(example.id, address);
      address.catch(() => this.pictures.delete(example.id));
    }
    return this.pictures.get(example.id);
  }

  example(id) {
    return this.examples.find((one) => one.id === id);
  }

  /** Names of classes in their order. */
  get names() {
    return this.card.classes.map((one) => one.name);
  }

  /** The number of a class's colour. */
  hue(name) {
    return Math.max(0, this.names.indexOf(name)) % 10;
  }
}
