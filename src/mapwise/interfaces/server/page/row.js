// A row of a table, typed cell by cell; its columns are those of the examples.

import { cellOf } from "./csv.js";
import { button, make, newId, show } from "./dom.js";
import { t } from "./words.js";

const SOON = 200;

/** The part with a field for each column. */
export function rowPart(session) {
  const fields = make("div", { class: "cells" });
  let columns = [];
  let timer = 0;
  const rowNow = () => Object.fromEntries(columns.map((name, place) => [name, cellOf(fields.querySelectorAll("input")[place].value)]));
  const some = () => [...fields.querySelectorAll("input")].some((field) => field.value.trim());
  const look = () => session.present(some() ? { kind: "table", row: rowNow() } : null);
  const render = () => {
    const rows = session.examples.map((one) => one.row).filter(Boolean);
    const now = Object.keys(rows[0] || {});
    if (columns.length && now.join("\n") === columns.join("\n")) return;
    columns = now;
    show(fields, columns.length ? columns.map((name) => {
      const id = newId();
      const field = make("input", { id, autocomplete: "off", placeholder: String(rows[0][name] ?? ""), data: { key: `cell ${name}` } });
      field.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(look, SOON); });
      return make("div", { class: "stack" }, make("label", { for: id }, name), field);
    }) : make("p", { class: "faint" }, t("row.none")));
  };
  session.on("examples", render);
  render();
  return {
    element: make("div", { class: "stack" }, fields, make("div", { class: "row" },
      button(t("row.empty"), () => { fields.querySelectorAll("input").forEach((field) => { field.value = ""; }); session.present(null); }, { class: "plain" }))),
    async items() {
      clearTimeout(timer);
      return some() ? [{ kind: "table", row: rowNow() }] : session.item ? [session.item] : [];
    },
    focus: () => fields.querySelector("input")?.focus(),
    leave: () => clearTimeout(timer),
  };
}
