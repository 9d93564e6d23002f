// Many things at once: files, folders and tables, dropped or chosen, or pasted.

import { rowOf } from "./csv.js";
import { button, make, newId, show } from "./dom.js";
import { undoable } from "./example.js";
import { chosen, contents, dropped, lines } from "./files.js";
import { attempt, complain, tell } from "./messages.js";
import { itemView } from "./view.js";
import { t } from "./words.js";

const SHOWN = 12;
const LABELS = /^(label|class|category|intent|target|y|类别|标签)$/i;
const TEXTS = /^(text|sentence|query|utterance|message|文本)$/i;

/** The part that takes files. */
export function dropPart(session) {
  const { modality } = session.card;
  const id = newId();
  const accept = { pictures: "image/png,image/jpeg,image/webp,image/gif,image/bmp", texts: ".csv,.tsv,.txt,.md", table: ".csv,.tsv" }[modality];
  const batch = make("div", { class: "batch" });
  const part = { files: [], element: null };
  const take = (items) => {
    part.batch = items;
    if (items.length === 1 && items[0].label === undefined) session.present(items[0]);
    render();
  };
  const receive = (found) => attempt(async () => {
    const { pictures, texts, tables } = await contents(found);
    const items = { pictures, texts, table: [] }[modality];
    if (tables.length && modality !== "pictures") return columns(tables[0]);
    if (!items.length) return complain(new Error(t(`drop.none.${modality}`)));
    return take(items);
  });

  const columns = (table) => show(batch, columnsForm(table, modality, take));

  const render = () => {
    const items = part.batch || [];
    if (!items.length) return show(batch);
    const labels = [...new Set(items.map((one) => one.label).filter((one) => one !== undefined))];
    const labelled = items.filter((one) => one.label !== undefined);
    const empty = () => { part.batch = []; render(); };
    return show(batch,
      make("ul", { class: "thumbs" }, items.slice(0, SHOWN).map((one) => make("li", {}, itemView(one)))),
      make("p", {}, t("drop.count", { count: items.length })),
      labels.length > 0 && make("p", {}, t("drop.classes", { count: labels.length, names: labels.slice(0, 8).join(", ") })),
      make("div", { class: "row" },
        labelled.length > 0 && button(t("drop.add", { count: labelled.length }), () => attempt(async () => {
          const { ids, copies, advice, steps } = await session.add(labelled);
          undoable(session, t(copies ? "drop.added.copies" : "drop.added", { count: ids.length, copies }), steps);
          if (advice.length) tell(advice[0], { bad: true });
          const rest = items.filter((one) => one.label === undefined);
          if (rest.length) session.setAside(rest);
          empty();
        }), { class: "first", data: { key: "add-labelled" } }),
        button(t("aside"), () => { session.setAside(items.map((one) => ({ ...one, label: undefined }))); empty(); }, { class: "plain", data: { key: "aside" } }),
        button(t("drop.empty"), empty, { class: "plain" })),
      labels.length === 0 && make("p", { class: "hint still" }, t("drop.label")));
  };

  const field = make("input", { id, type: "file", multiple: true, accept, class: "unseen", on: { change: () => { receive(chosen(field.files)); field.value = ""; } } });
  const folder = make("input", { id: `${id}-folder`, type: "file", class: "unseen", webkitdirectory: true, on: { change: () => { receive(chosen(folder.files)); folder.value = ""; } } });
  const zone = make("div", { class: "zone" },
    make("p", {}, t(`drop.here.${modality}`)),
    make("div", { class: "row" },
      field, make("label", { for: id, class: "button" }, t("drop.files")),
      modality !== "table" && [folder, make("label", { for: folder.id, class: "button" }, t("drop.folder"))]));
  for (const name of ["dragenter", "dragover"]) {
    zone.addEventListener(name, (event) => { event.preventDefault(); zone.classList.add("over"); });
  }
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    attempt(async () => receive(await dropped(event.dataTransfer)));
  });
  const paste = (event) => {
    if (/^(INPUT|TEXTAREA)$/.test(event.target.tagName)) return;
    const text = event.clipboardData.getData("text");
    if (event.clipboardData.files.length) receive(chosen(event.clipboardData.files));
    else if (modality === "texts" && text) take(lines(text).map((one) => ({ kind: "texts", text: one })));
  };
  document.addEventListener("paste", paste);
  return Object.assign(part, {
    element: make("div", { class: "stack" }, zone, batch),
    receive,
    async items() {
      const items = part.batch?.length ? part.batch : session.item ? [session.item] : [];
      part.batch = [];
      render();
      if (items.length && session.item !== items.at(-1)) {
        session.item = items.at(-1);
        session.emit("item");
      }
      return items;
    },
    focus: () => field.focus(),
    leave: () => document.removeEventListener("paste", paste),
  });
}

/** Which column is the label, and which the text. */
function columnsForm(table, modality, take) {
  const { columns, rows } = table;
  const pick = (pattern, other) => columns.find((name) => pattern.test(name)) ?? other;
  const text = make("select", { id: newId() }, columns.map((name) => make("option", { value: name }, name)));
  text.value = pick(TEXTS, columns[0]);
  const label = make("select", { id: newId() }, make("option", { value: "" }, t("columns.none")), columns.map((name) => make("option", { value: name }, name)));
  label.value = pick(LABELS, columns.length > 1 ? columns.at(-1) : "");
  const go = () => {
    const others = columns.filter((name) => name !== label.value);
    take(rows.map((record) => {
      const name = label.value ? record[label.value].trim() || undefined : undefined;
      return modality === "texts" ? { kind: "texts", text: record[text.value].trim(), label: name }
        : { kind: "table", row: rowOf(record, others), label: name };
    }).filter((one) => one.kind === "table" || one.text));
  };
  return [
    make("p", {}, t("columns.found", { count: rows.length, columns: columns.slice(0, 12).join(", ") })),
    make("div", { class: "fields" },
      modality === "texts" && make("div", { class: "stack" }, make("label", { for: text.id }, t("columns.text")), text),
      make("div", { class: "stack" }, make("label", { for: label.id }, t("columns.label")), label),
      button(t("columns.go"), go, { class: "first" })),
  ];
}
