// What the predictor answers: a bar for each class, "none of these", and the examples that voted.

import { make, say, show } from "./dom.js";
import { itemView } from "./view.js";
import { votersOf } from "./voters.js";
import { has, list, percent, t } from "./words.js";

const MOST = 12;
const SPOKEN = 900;

/** The panel with the live bars. */
export function answerPanel(session) {
  const item = make("div", { class: "queried" });
  const head = make("p", { class: "verdict" });
  const bars = make("ul", { class: "bars" });
  const note = make("p", { class: "hint still" });
  const voters = make("div", { class: "voters" });
  let timer = 0;

  session.on("item", () => show(item, session.item ? itemView(session.item) : null));
  const render = () => {
    const { answer, card } = session;
    show(head, headline(session));
    show(bars, rows(session));
    const why = answer && !answer.problem && (answer.unknown === null ? t("answer.unsure") : answer.truncated ? t("answer.cut") : "");
    note.textContent = why || "";
    note.hidden = !why;
    head.classList.toggle("none", Boolean(answer?.unknown));
    clearTimeout(timer);
    if (answer && card.ready) timer = setTimeout(() => say(head.textContent), SPOKEN);
  };
  session.on("answer card", render);
  votersOf(session, voters);
  return make("section", { class: "panel answer", "aria-labelledby": "answer-title" },
    make("div", { class: "heading" }, make("h2", { id: "answer-title" }, t("answer.title"))),
    make("div", { class: "verdicts" }, item, head), bars, note, voters);
}

/** The answer as one line. */
export function headline(session) {
  const { answer, card, item } = session;
  if (!card.ready) return missing(session);
  if (!item) return t(`answer.wait.${card.modality}`);
  if (!answer) return "…";
  if (answer.problem) return answer.problem;
  if (answer.unknown) return [make("strong", {}, t("none")), make("span", {}, t("answer.closest", { name: answer.label }))];
  return [make("strong", {}, answer.label), make("span", {}, percent(answer.probability))];
}

/** What is missing before it can answer, in words. */
function missing(session) {
  const { card } = session;
  const present = card.classes.filter((one) => one.examples).map((one) => one.name);
  const key = `missing.${card.modality}`;
  if (present.length) return t("missing.another", { names: list(present.slice(0, 5)) });
  return has(key) ? t(key) : card.missing;
}

function rows(session) {
  const { answer, card } = session;
  const shares = answer?.probabilities || {};
  const names = session.names;
  // The classes keep their places, so that bars grow and don't jump; of many, the highest.
  const shown = names.length <= MOST ? names : [...names].sort((a, b) => (shares[b] || 0) - (shares[a] || 0)).slice(0, MOST);
  const all = shown.map((name) => bar(name, shares[name] ?? null, `hue-${session.hue(name)}`, answer && !answer.unknown && answer.label === name));
  if (names.length > MOST) all.push(make("li", { class: "faint" }, t("answer.others", { count: names.length - MOST })));
  if (card.ready) all.push(noneBar(answer));
  return all;
}

function bar(name, share, hue, best) {
  return make("li", { class: `bar ${hue}${best ? " best" : ""}`, data: { label: name, share: share === null ? "" : share.toFixed(4) } },
    make("span", { class: "label" }, name),
    make("span", { class: "track", "aria-hidden": "true" }, make("span", { style: { "--share": share ?? 0 } })),
    make("span", { class: "share" }, share === null ? "" : percent(share)));
}

function noneBar(answer) {
  const unknown = answer?.unknown;
  const word = unknown === true ? t("yes") : unknown === false ? t("no") : unknown === null ? t("unknown") : "";
  return make("li", { class: `bar none${unknown ? " best" : ""}`, data: { none: String(unknown ?? "") } },
    make("span", { class: "label" }, t("none")),
    make("span", { class: "track", "aria-hidden": "true" }, make("span", { style: { "--share": unknown ? 1 : 0 } })),
    make("span", { class: "share" }, word));
}
