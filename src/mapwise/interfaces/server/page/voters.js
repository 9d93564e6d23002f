// The examples that an answer rests on, each with its share.

import { make, show } from "./dom.js";
import { openExample, thumb } from "./example.js";
import { percent, t } from "./words.js";

const SETTLED = 350;
const MOST = 6;

/** Keep a place filled with the voters of the answer. */
export function votersOf(session, place) {
  let timer = 0;
  let running = false;
  // A learner without votes: by how much the answer would be less sure without each example. The server fits it
  // again for each, so there is one such request at a time, and the next is about what is shown by then.
  const explain = async () => {
    if (running) return;
    running = true;
    const { answer } = session;
    try {
      const explanation = await session.explain();
      if (session.answer === answer) render(session, place, influence(explanation), "voters.title", "voters.left");
    } catch {
      show(place);
    }
    running = false;
    if (session.answer && session.answer !== answer && !session.answer.votes && !session.closed) explain();
  };
  session.on("answer", () => {
    clearTimeout(timer);
    const { answer } = session;
    if (!answer || answer.problem) return show(place);
    if (answer.votes) return render(session, place, answer.votes, "voters.title", "voters.about");
    place.classList.add("stale");
    timer = setTimeout(explain, SETTLED);
    return undefined;
  });
}

/** Shares of examples by how far the log-odds of the answer fall without each. */
export function influence({ label, probability, examples }) {
  const odds = (share) => Math.log(clip(share) / (1 - clip(share)));
  const all = examples
    .filter((one) => one.probability !== null && one.probability !== undefined)
    .map((one) => ({
      example: one.example, label: one.label, decisive: one.without !== label, fall: Math.max(0, odds(probability) - odds(one.probability)),
    }));
  const total = all.reduce((sum, one) => sum + one.fall, 0);
  if (!total) return [];
  return all.map((one) => ({ ...one, share: one.fall / total })).filter((one) => one.share >= 0.005).sort((a, b) => b.share - a.share).slice(0, MOST);
}

function clip(share) {
  return Math.min(1 - 1e-9, Math.max(1e-9, share));
}

function render(session, place, votes, title, about) {
  place.classList.remove("stale");
  if (!votes.length) return show(place);
  return show(place,
    make("h3", {}, t(title)),
    make("ul", { class: `votes ${session.card.modality}` }, votes.map((vote) => {
      const example = session.example(vote.example);
      const share = percent(vote.share);
      return make("li", { class: `vote hue-${session.hue(vote.label)}` },
        example ? thumb(session, example, () => openExample(session, example)) : make("span", { class: "name-vote" }, t("voters.name")),
        make("span", { class: "share" }, share),
        make("span", { class: "label" }, vote.label),
        vote.decisive && make("span", { class: "faint" }, t("voters.decisive")));
    })),
    make("p", { class: "hint still" }, t(about)));
}
