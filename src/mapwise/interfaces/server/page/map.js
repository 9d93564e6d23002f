// The map of the embedding: the examples of each class, and where the new one fell.

import { read } from "./api.js";
import { draw, fill, make, show } from "./dom.js";
import { openExample } from "./example.js";
import { textOf } from "./items.js";
import { list, percent, t } from "./words.js";

const [WIDTH, HEIGHT, EDGE] = [640, 400, 44];
const PICTURES = 90;
const MOST = 1500;
const SIDE = 30;
const NAMED = 12;
const SHAPES = [
  "M-6 0a6 6 0 1 0 12 0a6 6 0 1 0-12 0", "M-5.5-5.5h11v11h-11z", "M0-7L6.5 5h-13z", "M0-7L7 0L0 7L-7 0z", "M0 7L6.5-5h-13z",
  "M-2-6.5h4v4.500h4.500v4h-4.500v4.500h-4v-4.500h-4.500v-4h4.500z", "M-6.500-3L0-7l6.500 4v6L0 7l-6.500-4z", "M-7-3h14v6h-14z", "M-3-7h6v14h-6z", "M0-7L2-2h5L3 1.500L5 7L0 3.500L-5 7L-3 1.500L-7-2h5z",
];

/** The panel with the map. */
export function mapPanel(session) {
  const picture = draw("svg", { class: "map", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "group" });
  walk(picture);
  const hint = make("p", { class: "hint still" });
  const legend = make("ul", { class: "legend" });
  let plan = { points: [], axes: [] };
  const render = () => {
    const { points } = plan;
    const at = session.answer?.at;
    const place = scale([...points.map((one) => one.at), ...(at ? [at] : [])]);
    const step = Math.ceil(points.length / MOST);
    const shown = points.filter((_, row) => row % step === 0);
    const small = session.card.modality === "pictures" && shown.length <= PICTURES;
    const named = namedOf(session);
    const current = picture.querySelector("[tabindex='0']")?.dataset.key;
    picture.classList.toggle("crowded", named.length < session.names.length);
    show(picture,
      shown.map((one) => point(session, one, place(one.at), small, named)),
      centres(points).filter(([name]) => named.includes(name)).map(([name, middle]) => label(session, name, place(middle))),
      at && fallen(place(at)));
    reach(picture, points.length && [...picture.querySelectorAll("[data-key]")].find((one) => one.dataset.key === current));
    picture.setAttribute("aria-label", described(session, points, at));
    picture.toggleAttribute("hidden", !points.length);
    hint.textContent = !points.length ? t("map.none") : points.length < 3 ? t("map.few") : t("map.about", { share: percent(plan.axes.slice(0, 2).reduce((sum, one) => sum + one.share, 0)) });
    show(legend, named.map((name) => make("li", { class: `hue-${session.hue(name)}` },
      draw("svg", { viewBox: "-9 -9 18 18", "aria-hidden": "true" }, draw("path", { d: SHAPES[session.hue(name)] })), name)),
    at && make("li", {}, draw("svg", { viewBox: "-9 -9 18 18", "aria-hidden": "true", class: "ring" }, draw("circle", { r: 6.5 })), t("map.new")));
  };
  const load = async () => {
    const { content } = await read(`${session.path}/map`);
    if (content.version < (plan.version || 0)) return;
    plan = content;
    render();
  };
  session.on("examples", () => load().catch(() => {}));
  session.on("answer", render);
  return make("section", { class: "panel mapped", "aria-labelledby": "map-title" },
    make("div", { class: "heading" }, make("h2", { id: "map-title" }, t("map.title"))), picture, legend, hint);
}

/** The classes that are named: all, or of many those that the answer is about. */
function namedOf({ names, answer }) {
  if (names.length <= NAMED) return names;
  const shares = answer?.probabilities || {};
  return Object.keys(shares).sort((a, b) => shares[b] - shares[a]).slice(0, 3);
}

/** From the plane to the picture, both axes alike. */
function scale(points) {
  const span = (axis) => {
    const all = points.map((one) => one[axis]);
    return [Math.min(...all), Math.max(...all)];
  };
  if (!points.length) return () => [WIDTH / 2, HEIGHT / 2];
  const [[left, right], [low, high]] = [span(0), span(1)];
  const factor = Math.min((WIDTH - 2 * EDGE) / (right - left || 1), (HEIGHT - 2 * EDGE) / (high - low || 1));
  return ([x, y]) => [WIDTH / 2 + (x - (left + right) / 2) * factor, HEIGHT / 2 - (y - (low + high) / 2) * factor];
}

function point(session, one, [x, y], small, named) {
  const example = session.example(one.example);
  const name = `${one.label}${example ? `: ${textOf(example)}` : ""}`;
  const group = draw("g", { class: `point hue-${session.hue(one.label)}${named.includes(one.label) ? " named" : ""}`, transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})` },
    draw("title", {}, name.slice(0, 200)));
  if (example) fill(group, { role: "button", tabindex: -1, "aria-label": name.slice(0, 200), data: { key: `point-${one.example}`, x, y }, on: { click: () => openExample(session, example) } });
  if (small && example?.preview) {
    const image = draw("image", { x: -SIDE / 2, y: -SIDE / 2, width: SIDE, height: SIDE, preserveAspectRatio: "xMidYMid slice" });
    session.picture(example).then((address) => image.setAttribute("href", address), () => {});
    group.append(image, draw("rect", { x: -SIDE / 2, y: -SIDE / 2, width: SIDE, height: SIDE, rx: 5 }));
  } else {
    group.append(draw("path", { d: SHAPES[session.hue(one.label)] }));
  }
  return group;
}

const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Tab comes to one point, and arrow keys go on to the nearest on their side; Enter opens it. */
function walk(picture) {
  picture.addEventListener("keydown", (event) => {
    const from = event.target.closest("[data-key]");
    if (!from) return;
    if (event.key === "Enter" || event.key === " ") from.dispatchEvent(new MouseEvent("click"));
    else if (WAYS[event.key]) reach(picture, nearest(picture, from, WAYS[event.key]) || from).focus();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
}

/** Let tab come to this point, or to the first. */
function reach(picture, point) {
  const all = [...picture.querySelectorAll("[data-key]")];
  const chosen = point || all[0];
  for (const one of all) one.setAttribute("tabindex", one === chosen ? 0 : -1);
  return chosen;
}

/** The nearest point on one side, of which what lies straight ahead is nearer. */
function nearest(picture, from, [right, down]) {
  const cost = (one) => {
    const [x, y] = [one.dataset.x - from.dataset.x, one.dataset.y - from.dataset.y];
    const ahead = x * right + y * down;
    return ahead > 0 ? (x * x + y * y) / ahead : Infinity;
  };
  const best = [...picture.querySelectorAll("[data-key]")].reduce((a, b) => (cost(b) < cost(a) ? b : a));
  return cost(best) < Infinity ? best : null;
}

/** Above each class, in its middle: where its name stands. */
function centres(points) {
  const sums = new Map();
  for (const { label: name, at } of points) {
    const [x, top, count] = sums.get(name) || [0, -Infinity, 0];
    sums.set(name, [x + at[0], Math.max(top, at[1]), count + 1]);
  }
  return [...sums].map(([name, [x, top, count]]) => [name, [x / count, top]]);
}

function label(session, name, [x, y]) {
  const short = name.length > 22 ? `${name.slice(0, 21)}…` : name;
  return draw("text", { x: x.toFixed(1), y: (y - SIDE / 2 - 6).toFixed(1), class: "map-label" }, short);
}

function fallen([x, y]) {
  return draw("g", { class: "fallen", transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})` },
    draw("circle", { r: 22 }), draw("circle", { r: 4, class: "middle" }));
}

function described(session, points, at) {
  const classes = t("map.described", { count: points.length, names: list(session.names.slice(0, 8)) });
  if (!at || !points.length) return classes;
  const distance = (one) => (one.at[0] - at[0]) ** 2 + (one.at[1] - at[1]) ** 2;
  const near = points.reduce((best, one) => (distance(one) < distance(best) ? one : best));
  return `${classes} ${t("map.nearest", { name: near.label })}`;
}
