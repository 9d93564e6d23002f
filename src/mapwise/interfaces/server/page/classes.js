// The classes with their examples; each is renamed, removed, and given files.

import { button, make, newId, show } from "./dom.js";
import { openExample, thumb, undoable } from "./example.js";
import { chosen, contents, dropped } from "./files.js";
import { attempt, complain, line } from "./messages.js";
import { t } from "./words.js";

const SHOWN = 24;
const MANY = 10;
const FEWER = 6;

/** The panel with a card for each class. */
export function classesPanel(session) {
  const list = make("ul", { class: "classes" });
  const whole = new Set();
  const render = () => {
    const suspects = new Map(session.card.suspects.map((one) => [one.example, one]));
    show(list, session.card.classes.length ? session.card.classes.map((one) => classCard(session, one, suspects, whole, render))
      : make("li", { class: "faint" }, t(`classes.none.${session.card.modality}`)));
  };
  session.on("card examples", render);
  return make("section", { class: "panel known", "aria-labelledby": "classes-title" },
    make("div", { class: "heading" }, make("h2", { id: "classes-title" }, t("classes.title"))), list);
}

function classCard(session, { name, examples }, suspects, whole, again) {
  const own = session.examples.filter((one) => one.label === name);
  const shown = whole.has(name) ? own : own.slice(0, session.names.length > MANY ? FEWER : SHOWN);
  const card = make("li", { class: `class hue-${session.hue(name)}`, data: { class: name } },
    make("div", { class: "class-head" },
      make("span", { class: "swatch", "aria-hidden": "true" }),
      make("div", { class: "class-name" }, make("h3", {}, name),
        make("span", { class: "count" }, examples ? t("count.examples", { count: examples }) : t(`classes.empty.${session.card.modality}`))),
      make("div", { class: "class-tools" }, files(session, name), button("✎", () => rename(session, name), { class: "quiet round", data: { key: `rename ${name}` }, "aria-label": t("classes.rename", { name }), title: t("rename") }),
      button("×", () => remove(session, name), { class: "quiet round", data: { key: `remove ${name}` }, "aria-label": t("classes.remove", { name }), title: t("remove") }))),
    make("ul", { class: `tiles ${session.card.modality}` }, shown.map((one) =>
      make("li", {}, thumb(session, one, () => openExample(session, one), suspects.get(one.id))))),
    own.length > shown.length && button(t("classes.all", { count: own.length }), () => { whole.add(name); again(); }, { class: "plain", data: { key: `all ${name}` } }));
  for (const event of ["dragenter", "dragover"]) card.addEventListener(event, (one) => { one.preventDefault(); card.classList.add("over"); });
  card.addEventListener("dragleave", () => card.classList.remove("over"));
  card.addEventListener("drop", (event) => {
    event.preventDefault();
    card.classList.remove("over");
    attempt(async () => give(session, name, await dropped(event.dataTransfer)));
  });
  return card;
}

function files(session, name) {
  const { modality } = session.card;
  if (modality === "table") return null;
  const id = newId();
  const field = make("input", { id, type: "file", multiple: true, class: "unseen", accept: modality === "pictures" ? "image/*" : ".txt,.md", "aria-label": t("classes.files", { name }), data: { key: `files ${name}` } });
  field.addEventListener("change", () => attempt(() => give(session, name, chosen(field.files))));
  return [field, make("label", { for: id, class: "button quiet round", title: t("classes.files", { name }), "aria-hidden": "true" }, "+")];
}

async function give(session, name, found) {
  const { pictures, texts } = await contents(found);
  const items = session.card.modality === "pictures" ? pictures : texts;
  if (!items.length) return complain(new Error(t(`drop.none.${session.card.modality}`)));
  const { ids, steps } = await session.add(items, name);
  return undoable(session, t("label.added", { name, count: ids.length }), steps);
}

async function rename(session, name) {
  const other = await line(t("classes.rename", { name }), t("rename.label"), { value: name, action: t("rename") });
  if (!other || other === name) return;
  await attempt(async () => {
    await session.change("PATCH", `/classes/${encodeURIComponent(name)}`, { name: other });
    undoable(session, t("classes.renamed", { name, other }));
  });
}

function remove(session, name) {
  return attempt(async () => {
    await session.change("DELETE", `/classes/${encodeURIComponent(name)}`);
    undoable(session, t("classes.removed", { name }));
  });
}
