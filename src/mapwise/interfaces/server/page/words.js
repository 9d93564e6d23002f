// What the page says, from one file of text a language.

const LANGUAGES = ["en", "zh"];
let words = {};
let plurals = new Intl.PluralRules("en");
export let language = "en";

/** The language that was chosen here before, or that of the browser. */
export function preferred() {
  const before = localStorage.getItem("mapwise.language");
  const wanted = [before, ...navigator.languages].filter(Boolean).map((one) => one.slice(0, 2));
  return wanted.find((one) => LANGUAGES.includes(one)) || "en";
}

/** Speak a language from now on. */
export async function speak(name) {
  const reply = await fetch(`words.${name}.json`);
  words = await reply.json();
  language = name;
  plurals = new Intl.PluralRules(name);
  document.documentElement.lang = name === "zh" ? "zh-CN" : name;
}

/** The text of a key, with {names} filled in; `count` chooses among its forms. */
export function t(key, values = {}) {
  let text = words[key];
  if (text && typeof text === "object") text = text[plurals.select(values.count)] ?? text.other;
  if (text === undefined) return key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? plain(values[name]) : whole));
}

function plain(value) {
  return typeof value === "number" ? new Intl.NumberFormat(language).format(value) : String(value);
}

/** A share, 0..1, in per cent. */
export function percent(share) {
  return new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 0 }).format(share);
}

/** A list, such as "plus, cross and corner". */
export function list(names) {
  return new Intl.ListFormat(language).format(names);
}

/** A moment as people of this language write it. */
export function moment(text) {
  return new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" }).format(new Date(text));
}

/** Whether there are words for a key. */
export function has(key) {
  return key in words;
}
