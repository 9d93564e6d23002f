// The screen of one predictor: its name and how good it is, what is shown to it and what it answers, its classes.

import { answerPanel } from "./answer.js";
import { classesPanel } from "./classes.js";
import { button, make, show } from "./dom.js";
import { mapPanel } from "./map.js";
import { attempt, line, tell } from "./messages.js";
import { nextPanel } from "./next.js";
import { during } from "./progress.js";
import { scorePanel } from "./score.js";
import { Session } from "./session.js";
import { showPanel } from "./showing.js";
import { takePanel } from "./take.js";
import { t } from "./words.js";

/** Fill the place with the screen of the predictor of this id; gives its session. */
export async function predictorScreen(place, id) {
  const session = new Session(id);
  const work = session.open();
  during(t("progress.list"), work);
  await work;
  show(place,
    make("div", { class: "predictor" },
      heading(session),
      make("div", { class: "teach" }, showPanel(session), answerPanel(session), classesPanel(session)),
      make("div", { class: "look" }, mapPanel(session), make("div", { class: "aside" }, nextPanel(session), takePanel(session)))));
  session.emit("card");
  session.emit("examples");
  session.emit("item");
  session.emit("answer");
  session.emit("waiting");
  return session;
}

function heading(session) {
  const name = make("h1");
  const undo = button(t("undo"), () => undoChange(session), { class: "plain", data: { key: "undo" } });
  const rename = button(t("rename"), () => renamePredictor(session), { class: "plain", data: { key: "rename" } });
  session.on("card", () => {
    name.textContent = session.card.name;
    document.title = `${session.card.name} – mapwise`;
    undo.disabled = !session.card.undo;
  });
  return make("div", { class: "title" },
    make("div", { class: "name" }, name, make("div", { class: "row" }, rename, undo)),
    scorePanel(session));
}

async function renamePredictor(session) {
  const name = await line(t("rename.title"), t("rename.label"), { value: session.card.name, action: t("rename") });
  if (name && name !== session.card.name) await attempt(() => session.change("PATCH", "", { name }));
}

/** Return to the version before. */
export async function undoChange(session) {
  if (!session.card.undo) return;
  await attempt(async () => {
    await session.undo();
    tell(t("undone"));
  });
}
