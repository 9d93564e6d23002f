// Elements from values. Strings become text and never markup, whoever wrote them.

const PROPERTIES = new Set(["value", "checked", "disabled", "hidden", "selected", "multiple", "open", "draggable"]);

/** An element with attributes and children; `on` holds its listeners, `style` its properties, `data` its data set. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  fill(element, attributes, children);
  return element;
}

/** The same for a drawing. */
export function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  fill(element, attributes, children);
  return element;
}

/** Give an element attributes and children. */
export function fill(element, attributes, children = []) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (name === "style") {
      for (const [property, one] of Object.entries(value)) element.style.setProperty(property, one);
    } else if (name === "data") {
      Object.assign(element.dataset, value);
    } else if (PROPERTIES.has(name)) {
      element[name] = value;
    } else {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
}

/** Replace what an element holds; what has the focus keeps it, found again by its `data.key`. */
export function show(element, ...children) {
  const active = document.activeElement;
  const key = active && element.contains(active) ? active.dataset.key : undefined;
  element.replaceChildren();
  fill(element, {}, children);
  if (key === undefined) return;
  const again = [...element.querySelectorAll("[data-key]")].find((one) => one.dataset.key === key);
  (again || element.querySelector("button, input, textarea, select, [tabindex]"))?.focus({ preventScroll: true });
}

/** A button with words. */
export function button(text, act, attributes = {}) {
  return make("button", { type: "button", ...attributes, on: { click: act, ...attributes.on } }, text);
}

/** Say something to those who listen instead of looking. */
export function say(text) {
  document.getElementById("spoken").textContent = text;
}

let number = 0;
/** An id for a label and its field. */
export function newId() {
  number += 1;
  return `e${number}`;
}
