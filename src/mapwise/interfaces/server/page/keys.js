// The keys, which can be turned off: people who dictate would press them by accident.

import { button, make, newId } from "./dom.js";
import { converse } from "./messages.js";
import { undoChange } from "./predictor.js";
import { teach } from "./showing.js";
import { t } from "./words.js";

const OFF = "mapwise.keys";
const KEYS = [["1 – 9", "keys.class"], ["N", "keys.new"], ["S", "keys.show"], ["Backspace", "keys.stroke"], ["C", "keys.clear"], ["Ctrl Z", "keys.undo"], ["?", "keys.list"]];
const DRAWING = [["← ↑ → ↓", "keys.move"], ["Space", "keys.pen"]];

const active = () => localStorage.getItem(OFF) !== "off";

/** Listen to the keys; `current()` is the session that is shown, or null. */
export function listen(current) {
  addEventListener("keydown", (event) => {
    if (document.getElementById("dialog").open) return;
    const typing = event.target.matches("input, textarea, select");
    const session = current();
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z" && !typing && session) {
      event.preventDefault();
      undoChange(session);
      return;
    }
    if (typing || event.ctrlKey || event.metaKey || event.altKey || !active()) return;
    const act = event.key === "?" ? showKeys : session && actionOf(event.key, session);
    if (!act) return;
    event.preventDefault();
    act();
  });
}

function actionOf(key, session) {
  const { pad } = session.way;
  if (/^[1-9]$/.test(key) && session.names[key - 1] !== undefined) return () => teach(session, session.names[key - 1]);
  if (key === "n") return () => document.querySelector("[data-key=new-class]").focus();
  if (key === "s") return () => session.way.focus();
  if (key === "Backspace" && pad && !pad.empty) return () => pad.undo();
  if (key === "c" && pad) return () => session.way.clear();
  return null;
}

/** The list of keys. */
export function showKeys() {
  return converse(t("keys.title"), (close) => {
    const id = newId();
    const on = make("input", { type: "checkbox", id, checked: active(), on: { change: () => localStorage.setItem(OFF, on.checked ? "on" : "off") } });
    const rows = ([key, word]) => [make("dt", {}, make("kbd", {}, key)), make("dd", {}, t(word))];
    return [
      make("dl", { class: "keys" }, KEYS.map(rows)),
      make("h3", {}, t("keys.drawing")),
      make("dl", { class: "keys" }, DRAWING.map(rows)),
      make("div", { class: "row" }, on, make("label", { for: id }, t("keys.on"))),
      make("div", { class: "row end" }, button(t("ok"), () => close())),
    ];
  });
}
