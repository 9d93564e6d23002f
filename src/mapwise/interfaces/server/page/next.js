// "Please label this one": of what lies without a label, what teaches most; and examples that look mislabelled.

import { query } from "./api.js";
import { button, make, show } from "./dom.js";
import { move, openExample, thumb, undoable } from "./example.js";
import { bodyOf, parts } from "./items.js";
import { attempt } from "./messages.js";
import { during } from "./progress.js";
import { itemView } from "./view.js";
import { t } from "./words.js";

const MOST = 256;

/** The panel of what is worth a look. */
export function nextPanel(session) {
  const next = make("div", { class: "next" });
  const doubts = make("div", { class: "doubts" });
  const right = new Set();
  let asking = null;

  const suggest = async () => {
    asking?.abort();
    const { waiting, card } = session;
    if (!waiting.length) return show(next, make("p", { class: "faint" }, t(`next.none.${card.modality}`)));
    const first = waiting.slice(0, MOST);
    let best = { item: waiting[0], suggestion: null };
    if (card.ready) {
      asking = new AbortController();
      try {
        best = await bestOf(session, first, asking.signal);
      } catch (error) {
        if (error.name === "AbortError") return undefined;
        best.problem = error.message;
      }
    }
    if (session.waiting !== waiting) return undefined;
    return show(next, suggestionCard(session, best));
  };
  session.on("waiting version", suggest);

  const doubt = () => {
    const suspects = session.card.suspects.filter((one) => !right.has(one.example) && session.example(one.example));
    show(doubts, suspects.length > 0 && [
      make("h3", {}, t("doubts.title")),
      make("ul", {}, suspects.slice(0, 4).map((one) => doubtCard(session, one, () => { right.add(one.example); doubt(); }))),
    ]);
  };
  session.on("card examples", doubt);
  return make("section", { class: "panel", "aria-labelledby": "next-title" },
    make("div", { class: "heading" }, make("h2", { id: "next-title" }, t("next.title"))), next, doubts);
}

/** The item that is most worth a label: the best of each request, the least sure of these. */
async function bestOf(session, items, signal) {
  let best = null;
  for (const set of parts(items)) {
    const work = query(`${session.path}/which-next?count=1`, bodyOf(set), signal);
    during(t("progress.next"), work);
    const suggestion = (await work).content.suggestions[0];
    const weight = 2 * suggestion.unsure + suggestion.unlike;
    if (!best || weight > best.weight) best = { item: set[suggestion.row], suggestion, weight };
  }
  return best;
}

function suggestionCard(session, { item, suggestion, problem }) {
  const label = (name) => attempt(async () => {
    await session.add([item], name);
    session.settle(item);
    undoable(session, t("label.added", { name, count: 1 }));
  });
  return [
    make("div", { class: "suggestion" }, itemView(item),
      make("div", {}, make("p", {}, problem || reason(suggestion)), make("p", { class: "faint" }, t("next.left", { count: session.waiting.length })))),
    make("div", { class: "chips" },
      session.names.map((name) => button(make("span", {}, name), () => label(name), { class: `chip hue-${session.hue(name)}`, data: { key: `next ${name}` }, "aria-label": t("label.as", { name }) })),
      button(t("next.skip"), () => session.settle(item), { class: "plain", data: { key: "skip" } }),
      button(t("next.show"), () => session.present(item), { class: "plain", data: { key: "show" } })),
  ];
}

function reason(suggestion) {
  if (!suggestion) return t("next.begin");
  const { label: name, runner_up: other, unsure, unlike } = suggestion;
  const first = unsure ? t("next.unsure", { name, other }) : t("next.probably", { name });
  return unlike ? `${first} ${t("next.unlike")}` : first;
}

function doubtCard(session, suspect, keep) {
  const example = session.example(suspect.example);
  return make("li", { class: "doubt" },
    thumb(session, example, () => openExample(session, example), suspect),
    make("p", {}, t("example.doubt", { name: suspect.label, other: suspect.taken_for })),
    make("div", { class: "row" },
      button(t("doubts.move", { name: suspect.taken_for }), () => move(session, example, suspect.taken_for), { class: "plain", data: { key: `move ${example.id}` } }),
      button(t("doubts.keep"), keep, { class: "plain", data: { key: `keep ${example.id}` } })));
}
