// Paper to draw on, with a mouse, a pen, a finger, or the arrow keys.

import { make, say } from "./dom.js";
import { t } from "./words.js";

const SIDE = 280;
const WIDTH = 10;
const STEP = 8;

/** A sheet of paper. `changed` is called when a stroke grows, ends, or goes. */
export class Pad {
  constructor(changed) {
    this.changed = changed;
    this.strokes = [];
    this.pen = null; // the stroke of the keyboard, while its pen is down
    this.at = [SIDE / 2, SIDE / 2];
    this.keyboard = false;
    this.canvas = make("canvas", { width: 2 * SIDE, height: 2 * SIDE, class: "paper", tabindex: "0", role: "img", "aria-label": t("pad.label") });
    this.canvas.addEventListener("pointerdown", (event) => this.begin(event));
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.canvas.addEventListener("focus", () => this.render());
    this.canvas.addEventListener("blur", () => { this.pen = null; this.keyboard = false; this.render(); });
    this.render();
  }

  get empty() {
    return !this.strokes.length;
  }

  begin(event) {
    if (event.button > 0 || this.pointer !== undefined) return;
    event.preventDefault();
    this.canvas.focus({ preventScroll: true });
    this.keyboard = false;
    this.pointer = event.pointerId;
    this.canvas.setPointerCapture(event.pointerId);
    const stroke = [this.point(event)];
    this.strokes.push(stroke);
    const move = (next) => {
      if (next.pointerId !== this.pointer) return;
      const all = next.getCoalescedEvents?.() || [];
      (all.length ? all : [next]).forEach((one) => stroke.push(this.point(one)));
      this.render();
      this.changed();
    };
    const end = (next) => {
      if (next.pointerId !== this.pointer) return;
      this.pointer = undefined;
      for (const [name, listener] of Object.entries(listeners)) this.canvas.removeEventListener(name, listener);
      this.changed();
    };
    const listeners = { pointermove: move, pointerup: end, pointercancel: end };
    for (const [name, listener] of Object.entries(listeners)) this.canvas.addEventListener(name, listener);
    this.render();
    this.changed();
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width * SIDE, (event.clientY - box.top) / box.height * SIDE];
  }

  key(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (moves[event.key]) {
      const step = event.shiftKey ? 3 * STEP : STEP;
      this.at = this.at.map((one, axis) => Math.min(SIDE - 8, Math.max(8, one + step * moves[event.key][axis])));
      this.pen?.push([...this.at]);
    } else if (event.key === " ") {
      if (!this.pen) this.strokes.push(this.pen = [[...this.at]]);
      else this.pen = null;
      say(t(this.pen ? "pad.down" : "pad.up"));
    } else return;
    event.preventDefault();
    this.keyboard = true;
    this.render();
    if (this.pen) this.changed();
  }

  undo() {
    this.pen = null;
    this.strokes.pop();
    this.render();
    this.changed();
  }

  clear() {
    this.pen = null;
    this.strokes = [];
    this.render();
  }

  render() {
    const context = this.canvas.getContext("2d");
    context.setTransform(2, 0, 0, 2, 0, 0);
    context.clearRect(0, 0, SIDE, SIDE);
    ink(context, this.strokes);
    if (this.keyboard && document.activeElement === this.canvas) {
      context.beginPath();
      context.arc(...this.at, this.pen ? 4 : 8, 0, 7);
      context.lineWidth = 2;
      context.strokeStyle = "#0b5cad";
      context.stroke();
    }
  }

  /** The drawing as a PNG, black on white. */
  picture() {
    const canvas = make("canvas", { width: SIDE, height: SIDE });
    const context = canvas.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, SIDE, SIDE);
    ink(context, this.strokes);
    return new Promise((done) => canvas.toBlob(done, "image/png"));
  }
}

function ink(context, strokes) {
  context.strokeStyle = context.fillStyle = "#000";
  context.lineWidth = WIDTH;
  context.lineCap = context.lineJoin = "round";
  for (const stroke of strokes) {
    context.beginPath();
    context.moveTo(...stroke[0]);
    for (let place = 1; place < stroke.length - 1; place += 1) {
      const [x, y] = stroke[place];
      const [nextX, nextY] = stroke[place + 1];
      context.quadraticCurveTo(x, y, (x + nextX) / 2, (y + nextY) / 2);
    }
    context.lineTo(...stroke.at(-1));
    context.stroke();
  }
}
