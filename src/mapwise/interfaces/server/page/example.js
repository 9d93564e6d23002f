// One example: its small view, and the dialog in which it gets another class or goes.

import { button, make, newId } from "./dom.js";
import { textOf } from "./items.js";
import { attempt, converse, tell } from "./messages.js";
import { t } from "./words.js";

/** A small view of an example, as a button where there is something to do with it. */
export function thumb(session, example, act, suspect = null) {
  const view = viewOf(session, example);
  const text = textOf(example) || t("example.number", { number: example.id });
  const label = t(suspect ? "example.suspect" : "example.of", { text: text.slice(0, 80), name: example.label, other: suspect?.taken_for });
  const attributes = { class: suspect ? "tile suspect" : "tile", data: { key: `example ${example.id}`, example: example.id }, "aria-label": label, title: text.slice(0, 200) };
  return act ? button([view, suspect && make("span", { class: "flag", "aria-hidden": "true" }, "?")], act, attributes) : make("span", attributes, view);
}

function viewOf(session, example) {
  if (!example.preview) return make("span", { class: "text" }, textOf(example) || t("example.number", { number: example.id }));
  const image = make("img", { alt: "", width: 48, height: 48 });
  session.picture(example).then((address) => { image.src = address; }, () => {});
  return image;
}

/** Look at an example, and change it. */
export function openExample(session, example) {
  const suspect = session.card.suspects.find((one) => one.example === example.id);
  return converse(t("example.title"), (close) => {
    const id = newId();
    const choice = make("select", { id }, session.names.map((name) => make("option", { value: name, selected: name === example.label }, name)));
    return make("div", { class: "stack" },
      make("div", { class: "large" }, viewOf(session, example)),
      suspect && make("p", { class: "warning" }, t("example.doubt", { name: suspect.label, other: suspect.taken_for })),
      make("label", { for: id }, t("example.class")), choice,
      make("div", { class: "row end" },
        button(t("remove"), () => { close(); remove(session, example); }, { class: "danger" }),
        button(t("example.move"), () => { close(); move(session, example, choice.value); }, { class: "first" })));
  });
}

/** Give an example another class. */
export function move(session, example, label) {
  if (label === example.label) return undefined;
  return attempt(async () => {
    await session.change("PATCH", `/examples/${example.id}`, { label });
    undoable(session, t("example.moved", { name: label }));
  });
}

function remove(session, example) {
  return attempt(async () => {
    await session.change("DELETE", `/examples/${example.id}`);
    undoable(session, t("example.removed"));
  });
}

/** Say what was done, with a way back. */
export function undoable(session, text, steps = 1) {
  tell(text, { action: t("undo"), act: () => attempt(() => session.undo(steps)) });
}
