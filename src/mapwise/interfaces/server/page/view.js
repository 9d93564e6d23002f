// A small view of something that is shown to a predictor.

import { make } from "./dom.js";
import { addressOf, lineOf } from "./items.js";
import { t } from "./words.js";

/** A picture, or the words of a text or a row. */
export function itemView(item) {
  if (item.blob) return make("img", { class: item.drawn ? "thumb drawn" : "thumb", src: addressOf(item.blob), alt: item.name || t("item.picture") });
  return make("blockquote", {}, item.text ?? lineOf(item.row));
}
