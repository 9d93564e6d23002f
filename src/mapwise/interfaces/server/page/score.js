// How good it is, honestly: a number only with its interval, and what more examples would bring.

import { make, show } from "./dom.js";
import { percent, t } from "./words.js";

/** The score beside the name. */
export function scorePanel(session) {
  const place = make("section", { class: "score", "aria-label": t("score.title") });
  session.on("card", () => {
    show(place, contents(session));
    place.dataset.state = session.card.score.state;
  });
  return place;
}

function contents(session) {
  const { score, classes } = session.card;
  if (score.state === "not ready") return [make("p", { class: "big" }, t("score.none")), make("p", {}, t("score.none.about"))];
  if (score.state === "computing") return [make("p", { class: "big wait" }, t("score.computing")), make("p", {}, t("score.computing.about"))];
  if (score.state !== "known") {
    const fewest = classes.filter((one) => one.examples < 3);
    return [
      make("p", { class: "big" }, t("score.few")),
      make("p", {}, fewest.length ? t("score.few.about", { names: fewest.slice(0, 4).map((one) => one.name).join(", "), count: fewest.length }) : score.text),
    ];
  }
  const interval = { "--low": score.low, "--high": score.high, "--at": score.accuracy, "--chance": score.chance };
  return [
    make("p", { class: "big" }, t(score.guesses ? "score.guesses" : "score.known", { share: percent(score.accuracy), low: percent(score.low), high: percent(score.high) })),
    make("div", { class: "interval", "aria-hidden": "true", style: interval }, make("span", { class: "span" }), make("span", { class: "dot" }), make("span", { class: "chance" })),
    make("p", {}, t("score.interval", { count: score.rows, chance: percent(score.chance) })),
    outlook(score),
    score.confusions.length > 0 && !score.guesses && confusion(score),
  ];
}

function outlook({ more }) {
  const next = more.find((one) => one.more >= 5) || more.at(-1);
  return next && make("p", {}, t("score.more", { count: next.more, share: percent(next.accuracy), low: percent(next.low), high: percent(next.high) }));
}

function confusion({ confusions }) {
  const { class: name, taken_for: other } = confusions[0];
  return make("p", {}, t("score.confused", { name, other }));
}
