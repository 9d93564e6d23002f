// Take it along: the predictor's file, its learner as ONNX, and the same as code.

import { bytes, read } from "./api.js";
import { button, make, newId, show } from "./dom.js";
import { attempt, tell } from "./messages.js";
import { during } from "./progress.js";
import { t } from "./words.js";

const WAYS = ["python", "command", "curl"];

/** The panel with what a predictor is taken along by. */
export function takePanel(session) {
  const code = make("div", { class: "code" });
  const save = button(t("take.file"), () => download(session, "file"), { class: "first", data: { key: "save" } });
  const onnx = button(t("take.onnx"), () => download(session, "onnx"), { data: { key: "onnx" } });
  let way = WAYS[0];
  let texts = null;
  const render = () => {
    if (!texts) return;
    const id = newId();
    const text = way === "curl" ? texts.curl : `# ${texts.download}\n${texts[way]}`;
    show(code,
      make("div", { class: "row", role: "group", "aria-label": t("take.code") },
        WAYS.map((one) => button(t(`take.${one}`), () => { way = one; render(); }, { class: "tab", "aria-pressed": String(one === way), data: { key: one } })),
        button(t("take.copy"), () => copy(text), { class: "plain", data: { key: "copy" } })),
      make("pre", { id, tabindex: "0", "aria-label": t(`take.${way}`) }, make("code", {}, text)));
  };
  session.on("card", () => { save.disabled = onnx.disabled = !session.card.ready; });
  read(`${session.path}/code`).then(({ content }) => { texts = content; render(); }, () => {});
  return make("section", { class: "panel", "aria-labelledby": "take-title" },
    make("div", { class: "heading" }, make("h2", { id: "take-title" }, t("take.title"))),
    make("div", { class: "row" }, save, onnx),
    make("p", { class: "hint still" }, t("take.about")), code);
}

function download(session, what) {
  return attempt(async () => {
    const work = bytes(`${session.path}/${what}`);
    during(t("progress.file"), work);
    const { blob, name } = await work;
    const address = URL.createObjectURL(blob);
    const link = make("a", { href: address, download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 60000);
    tell(t("take.saved", { name }));
  });
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // without https a page has no clipboard
    const field = make("textarea", { value: text, class: "unseen" });
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
  tell(t("take.copied"));
}
