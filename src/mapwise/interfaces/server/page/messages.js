// Short messages at the edge of the page, and questions that wait for an answer.

import { button, make, newId, say } from "./dom.js";
import { t } from "./words.js";

const STAYS = 6000;

/** Say what happened, perhaps with one thing to do about it. */
export function tell(text, { act, action, bad = false } = {}) {
  const place = document.getElementById("messages");
  const message = make("div", { class: bad ? "message bad" : "message" }, make("p", {}, text));
  if (act) message.append(button(action, () => { message.remove(); act(); }, { class: "plain" }));
  message.append(button("×", () => message.remove(), { class: "quiet round", "aria-label": t("close") }));
  place.replaceChildren(message);
  say(text);
  setTimeout(() => message.remove(), bad ? 3 * STAYS : STAYS);
}

/** Show an error in words. */
export function complain(error) {
  if (error.name === "AbortError") return;
  tell(error.message, { bad: true });
}

/** Run something a person started; what goes wrong is shown. */
export async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    complain(error);
    return undefined;
  }
}

/** Open the dialog; `fill(close)` gives what it holds. Gives what it was closed with. */
export function converse(title, fill) {
  const dialog = document.getElementById("dialog");
  if (dialog.open) dialog.close();
  const before = document.activeElement;
  return new Promise((done) => {
    const close = (value) => {
      dialog.returnValue = "";
      if (dialog.open) dialog.close();
      dialog.replaceChildren();
      if (before?.isConnected) before.focus();
      done(value);
    };
    const id = newId();
    dialog.setAttribute("aria-labelledby", id);
    dialog.replaceChildren(
      make("div", { class: "heading" },
        make("h2", { id }, title),
        button("×", () => close(undefined), { class: "quiet round", "aria-label": t("close") })),
      ...[fill(close)].flat(),
    );
    dialog.oncancel = (event) => { event.preventDefault(); close(undefined); };
    dialog.onclick = (event) => { if (event.target === dialog) close(undefined); };
    dialog.showModal();
  });
}

/** Ask for a yes. */
export function confirmed(title, text, yes) {
  return converse(title, (close) => [
    make("p", {}, text),
    make("div", { class: "row end" },
      button(t("cancel"), () => close(false)),
      button(yes, () => close(true), { class: "danger" })),
  ]);
}

/** Ask for a line of text. */
export function line(title, label, { value = "", type = "text", action } = {}) {
  return converse(title, (close) => {
    const id = newId();
    const field = make("input", { id, type, value, maxlength: 200, autocomplete: "off" });
    return make("form", { class: "stack", on: { submit: (event) => { event.preventDefault(); close(field.value.trim()); } } },
      make("label", { for: id }, label), field,
      make("div", { class: "row end" },
        button(t("cancel"), () => close(undefined)),
        make("button", { class: "first", type: "submit" }, action || t("ok"))));
  });
}
