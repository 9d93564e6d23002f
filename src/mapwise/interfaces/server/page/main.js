// The page: which screen is shown, in which language, and what the keys do.

import { access } from "./api.js";
import { make } from "./dom.js";
import { listen, showKeys } from "./keys.js";
import { attempt, complain, line } from "./messages.js";
import { predictorScreen } from "./predictor.js";
import { startScreen } from "./start.js";
import { preferred, speak, t } from "./words.js";

const main = document.getElementById("main");
let session = null;

async function route() {
  if (location.hash && !location.hash.startsWith("#/")) return;
  const id = /^#\/p\/([0-9a-f]{16})$/.exec(location.hash)?.[1];
  session?.close();
  session = null;
  document.getElementById("dialog").close();
  try {
    if (id) session = await predictorScreen(main, id);
    else await startScreen(main);
  } catch (error) {
    complain(error);
    main.replaceChildren(make("div", { class: "start" },
      make("h1", {}, t("lost.title")), make("p", {}, error.message), make("p", {}, make("a", { href: "#/" }, t("lost.back")))));
  }
  main.focus({ preventScroll: true });
  scrollTo(0, 0);
}

function label() {
  const skip = document.getElementById("skip");
  skip.textContent = t("skip");
  skip.onclick = (event) => { event.preventDefault(); main.focus(); };
  const language = document.getElementById("language");
  language.setAttribute("aria-label", t("language"));
  const shortcuts = document.getElementById("shortcuts");
  shortcuts.setAttribute("aria-label", t("keys.title"));
  shortcuts.onclick = () => showKeys();
}

async function start() {
  const language = document.getElementById("language");
  language.value = preferred();
  await speak(language.value);
  label();
  language.addEventListener("change", async () => {
    localStorage.setItem("mapwise.language", language.value);
    await attempt(() => speak(language.value));
    label();
    await route();
    language.focus();
  });
  access.ask = () => line(t("token.title"), t("token.label"), { type: "password" });
  addEventListener("hashchange", route);
  // A file that misses its place must not replace the page.
  for (const name of ["dragover", "drop"]) addEventListener(name, (event) => event.preventDefault());
  listen(() => session);
  await route();
}

start();
