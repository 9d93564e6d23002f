// "Show it something": drawn, dropped, filmed, typed, or as a row; and what it is, in a tap.

import { headline } from "./answer.js";
import { cameraPart } from "./camera.js";
import { dropPart } from "./drop.js";
import { button, make, newId, show } from "./dom.js";
import { undoable } from "./example.js";
import { isDrawn } from "./kinds.js";
import { dropped } from "./files.js";
import { attempt, tell } from "./messages.js";
import { Pad } from "./pad.js";
import { rowPart } from "./row.js";
import { t } from "./words.js";

const SOON = 120;

/** The panel on which things are shown. */
export function showPanel(session) {
  const body = make("div", { class: "shown" });
  const tabs = make("div", { class: "tabs", role: "tablist", "aria-label": t("show.ways") });
  const parts = waysOf(session);
  const names = Object.keys(parts);
  const choose = (name, focus = false) => {
    session.way?.leave?.();
    session.way = parts[name]();
    body.id = body.id || newId();
    body.setAttribute("aria-label", t(`way.${name}`));
    show(body, session.way.element);
    show(tabs, names.map((one) => make("button", {
      type: "button", role: "tab", "aria-selected": String(one === name), "aria-controls": body.id, data: { key: one, way: one },
      tabindex: one === name ? "0" : "-1",
      on: { click: () => choose(one, true), keydown: (event) => turn(event, names, name, choose) },
    }, t(`way.${one}`))));
    if (focus) tabs.querySelector("[aria-selected=true]").focus();
  };
  body.setAttribute("role", "tabpanel");
  choose(names[0]);
  // What is dropped beside every place for it is shown.
  const take = (event) => {
    if (event.defaultPrevented) return;
    event.preventDefault();
    const found = dropped(event.dataTransfer); // its items are gone after this event
    attempt(async () => {
      choose("drop");
      await session.way.receive(await found);
    });
  };
  document.addEventListener("drop", take);
  session.on("closed", () => {
    document.removeEventListener("drop", take);
    session.way?.leave?.();
  });
  // On a phone the answer stands below the fold.
  const glance = make("p", { class: "verdict glance", "aria-hidden": "true" });
  session.on("answer card", () => show(glance, headline(session)));
  return make("section", { class: "panel show", "aria-labelledby": "show-title" },
    make("div", { class: "heading" }, make("h2", { id: "show-title" }, t("show.title")), names.length > 1 && tabs),
    body, glance, labelPart(session));
}

function turn(event, names, name, choose) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  choose(names[(names.indexOf(name) + step + names.length) % names.length], true);
}

function waysOf(session) {
  const { modality } = session.card;
  if (modality === "texts") return { type: () => typePart(session), drop: () => dropPart(session) };
  if (modality === "table") return { row: () => rowPart(session), drop: () => dropPart(session) };
  const pictures = { drop: () => dropPart(session) };
  if (navigator.mediaDevices?.getUserMedia) pictures.camera = () => cameraPart(session);
  const drawn = { draw: () => drawPart(session) };
  return isDrawn(session.card) ? { ...drawn, ...pictures } : { ...pictures, ...drawn };
}

function drawPart(session) {
  let timer = 0;
  const look = async () => {
    if (pad.empty) return session.present(null);
    const drawing = pad.strokes;
    const blob = await pad.picture();
    if (pad.strokes === drawing && !pad.empty) session.present({ kind: "pictures", blob, drawn: true, fleeting: true });
    return undefined;
  };
  const pad = new Pad(() => {
    clearTimeout(timer);
    timer = setTimeout(look, SOON);
    tools();
  });
  const undo = button(t("pad.undo"), () => pad.undo(), { class: "plain", data: { key: "undo-stroke" } });
  const clear = button(t("pad.clear"), () => { empty(); pad.canvas.focus(); }, { class: "plain", data: { key: "clear" } });
  const hint = make("p", { class: "hint" }, t("pad.hint"));
  const tools = () => { undo.disabled = clear.disabled = pad.empty; hint.hidden = !pad.empty; };
  const empty = () => { clearTimeout(timer); pad.clear(); tools(); session.present(null); };
  tools();
  return {
    element: make("div", { class: "sheet" }, make("div", { class: "stage" }, pad.canvas, hint), make("div", { class: "row" }, undo, clear)),
    pad,
    clear: empty,
    /** What is to be added, with nothing left on the paper. */
    async items() {
      clearTimeout(timer);
      if (pad.empty) return session.item ? [session.item] : [];
      const item = { kind: "pictures", blob: await pad.picture(), drawn: true };
      pad.clear();
      tools();
      session.item = item;
      session.emit("item");
      return [item];
    },
    focus: () => pad.canvas.focus(),
    leave: () => clearTimeout(timer),
  };
}

function typePart(session) {
  let timer = 0;
  const id = newId();
  const field = make("textarea", { id, rows: 5, placeholder: t("type.placeholder"), data: { key: "text" } });
  const lines = () => field.value.split("\n").map((one) => one.trim()).filter(Boolean);
  const count = make("p", { class: "hint still", id: `${id}-hint` }, t("type.hint"));
  field.setAttribute("aria-describedby", count.id);
  field.addEventListener("input", () => {
    clearTimeout(timer);
    const all = lines();
    count.textContent = all.length > 1 ? t("type.lines", { count: all.length }) : t("type.hint");
    timer = setTimeout(() => session.present(all.length ? { kind: "texts", text: all.at(-1) } : null), SOON);
  });
  return {
    element: make("div", { class: "stack" }, make("label", { for: id }, t("type.label")), field, count,
      make("div", { class: "row" }, button(t("aside"), () => {
        session.setAside(lines().map((text) => ({ kind: "texts", text })));
        field.value = "";
      }, { class: "plain" }))),
    async items() {
      clearTimeout(timer);
      const items = lines().map((text) => ({ kind: "texts", text }));
      field.value = "";
      count.textContent = t("type.hint");
      if (!items.length) return session.item ? [session.item] : [];
      session.item = items.at(-1);
      session.emit("item");
      return items;
    },
    focus: () => field.focus(),
    leave: () => clearTimeout(timer),
  };
}

/** "This is": a button for each class, and a field for a new one. */
function labelPart(session) {
  const chips = make("div", { class: "chips" });
  const id = newId();
  const field = make("input", { id, maxlength: 200, autocomplete: "off", placeholder: t("label.new"), data: { key: "new-class" } });
  const names = make("datalist", { id: `${id}-names` });
  field.setAttribute("list", names.id);
  const form = make("form", { class: "new" }, make("label", { for: id, class: "unseen" }, t("label.new")), field, names,
    make("button", { type: "submit", class: "first", "aria-label": t("label.add") }, "+"));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const name = field.value.trim();
    if (!name) return;
    if (await teach(session, name)) field.value = "";
  });
  session.on("card", () => show(names, session.names.map((name) => make("option", { value: name }))));
  session.on("card", () => show(chips, session.card.classes.map(({ name }, place) =>
    button([place < 9 && make("kbd", { "aria-hidden": "true" }, String(place + 1)), make("span", {}, name)], () => teach(session, name),
      { class: `chip hue-${session.hue(name)}`, data: { key: `class ${name}`, label: name }, "aria-label": t("label.as", { name }) }))));
  return make("div", { class: "label" }, make("h3", {}, t("label.title")), chips, form);
}

/** Give the predictor what is shown as an example of a class; a new class may come with nothing. */
export async function teach(session, name) {
  const items = await session.way.items();
  return attempt(async () => {
    if (!items.length) {
      if (session.names.includes(name)) return tell(t("label.nothing", { name }));
      await session.change("POST", "/classes", { name });
      tell(t("label.begun", { name }));
      return true;
    }
    const { ids, copies, advice, steps } = await session.add(items, name);
    if (copies && !ids.length) tell(t("label.copy", { name, count: copies }));
    else undoable(session, t("label.added", { name, count: ids.length }), steps);
    if (advice.length) tell(advice[0], { bad: true });
    return true;
  });
}
