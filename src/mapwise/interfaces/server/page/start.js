// The start: begin with drawings, pictures, texts or a table, or go on with a predictor that is there.

import { Problem, read, write } from "./api.js";
import { button, draw, make, newId, show } from "./dom.js";
import { ENCODERS, KINDS, OTHER_LANGUAGES } from "./kinds.js";
import { attempt, confirmed, tell } from "./messages.js";
import { during } from "./progress.js";
import { language, moment, t } from "./words.js";

/** The screen, in an element. */
export async function startScreen(place) {
  document.title = "mapwise";
  const list = make("div", { class: "stack" });
  show(place,
    make("div", { class: "start" },
      make("div", { class: "welcome" }, make("h1", {}, t("start.title")), make("p", { class: "lead" }, t("start.lead"))),
      make("ul", { class: "choices" }, Object.keys(KINDS).map((kind) => make("li", {}, choice(kind)))),
      more(),
      make("section", { class: "panel", "aria-labelledby": "yours" }, make("h2", { id: "yours" }, t("start.yours")), list)));
  await fillList(list);
}

function choice(kind) {
  const icon = draw("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" }, draw("path", { d: KINDS[kind].icon }));
  return make("button", { type: "button", class: "choice", data: { kind }, on: { click: () => begin(kind) } },
    icon, make("strong", {}, t(`kind.${kind}`)), make("span", {}, t(`kind.${kind}.about`)));
}

/** Begin with a kind: the first of its encoders that the server has. */
async function begin(kind, encoder) {
  const { modality, encoders } = KINDS[kind];
  const wanted = encoder ? [encoder] : (language !== "en" && OTHER_LANGUAGES[kind]) || encoders;
  await attempt(async () => {
    let absent = null;
    for (const name of wanted) {
      try {
        const body = { name: t(`kind.${kind}.name`), modality, encoder: name };
        const work = write("POST", "/v1/predictors", body);
        during(t("progress.begin"), work);
        const { content } = await work;
        if (absent) tell(t("start.without", { detail: absent.detail }));
        location.hash = `#/p/${content.id}`;
        return;
      } catch (error) {
        if (!(error instanceof Problem) || error.status !== 422) throw error;
        absent = error;
      }
    }
    throw absent;
  });
}

function more() {
  const kind = make("select", { id: newId() }, Object.keys(KINDS).filter((one) => ENCODERS[one].length)
    .map((one) => make("option", { value: one }, t(`kind.${one}`))));
  const encoder = make("select", { id: newId() });
  const fill = () => show(encoder, ENCODERS[kind.value].map((one) => make("option", { value: one }, t(`encoder.${one}`))));
  kind.addEventListener("change", fill);
  fill();
  const file = make("input", { type: "file", id: newId(), accept: ".safetensors", class: "unseen", on: { change: () => open(file.files[0]) } });
  return make("details", { class: "more" },
    make("summary", {}, t("start.more")),
    make("div", { class: "fields" },
      make("div", { class: "stack" }, make("label", { for: kind.id }, t("start.kind")), kind),
      make("div", { class: "stack" }, make("label", { for: encoder.id }, t("start.encoder")), encoder),
      button(t("start.begin"), () => begin(kind.value, encoder.value))),
    make("div", { class: "stack" }, file, make("label", { for: file.id, class: "button fit" }, t("start.open"))));
}

async function open(file) {
  if (!file) return;
  await attempt(async () => {
    const form = new FormData();
    form.append("file", file, "predictor.safetensors");
    form.append("name", file.name.replace(/\.safetensors$/, "").slice(0, 200) || t("untitled"));
    const work = write("POST", "/v1/predictors", form);
    during(t("progress.open"), work);
    location.hash = `#/p/${(await work).content.id}`;
  });
}

async function fillList(place, after = "", before = []) {
  const work = read(`/v1/predictors?limit=100&after=${after}`);
  during(t("progress.list"), work);
  const { content } = await work;
  const all = [...before, ...content.predictors];
  const newest = [...all].sort((a, b) => b.updated.localeCompare(a.updated));
  show(place,
    all.length ? make("ul", { class: "predictors" }, newest.map((one) => predictor(one, () => fillList(place))))
      : make("p", { class: "faint" }, t("start.none")),
    content.next && button(t("start.next"), () => attempt(() => fillList(place, content.next, all))));
}

function predictor(one, again) {
  const about = [t(`modality.${one.modality}`), t("count.classes", { count: one.classes }), t("count.examples", { count: one.examples })];
  return make("li", {},
    make("a", { href: `#/p/${one.id}` },
      make("strong", {}, one.name),
      make("span", { class: "faint" }, about.join(" · ")),
      make("span", { class: "faint when" }, moment(one.updated))),
    button("×", async () => {
      if (!(await confirmed(t("start.remove"), t("start.remove.sure", { name: one.name }), t("remove")))) return;
      await attempt(() => write("DELETE", `/v1/predictors/${one.id}`));
      await attempt(again);
    }, { class: "quiet round", "aria-label": t("start.remove.name", { name: one.name }) }));
}
