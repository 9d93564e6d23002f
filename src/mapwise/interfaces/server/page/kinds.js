// What a predictor can be about, and what reads it. The first encoder that the server has is taken.

export const KINDS = {
  drawings: { modality: "pictures", encoders: ["drawings"], icon: "M4 20l3.5-.8L19 7.7 16.3 5 4.8 16.5zM14 7l3 3" },
  pictures: { modality: "pictures", encoders: ["photos", "auto"], icon: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.5 9h.1" },
  texts: { modality: "texts", encoders: ["auto"], icon: "M4 6h16M4 11h16M4 16h10" },
  table: { modality: "table", encoders: ["auto"], icon: "M4 5h16v14H4zM4 10h16M4 14.5h16M10 5v14" },
};

/** Further encoders to choose, by kind. */
export const ENCODERS = {
  drawings: ["drawings", "ink"],
  pictures: ["photos", "pixels"],
  texts: ["words", "minilm", "languages", "text-hash"],
  table: [],
};

/** In Chinese, words of an English table say little. */
export const OTHER_LANGUAGES = { texts: ["languages", "auto"] };

const DRAWN = new Set(["drawings", "ink"]);

/** Whether pictures of a predictor are drawn rather than dropped. */
export function isDrawn(card) {
  return DRAWN.has(card.encoder.name);
}
