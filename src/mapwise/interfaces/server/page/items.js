// What people show: pictures, texts and rows of a table, as the server takes them.

const ROWS = 64;
const BYTES = 16 << 20;

/** The body of a request about items, with their labels where they have some. */
export function bodyOf(items, labels) {
  const kind = items[0].kind;
  if (kind === "pictures") {
    const form = new FormData();
    items.forEach((item, place) => form.append("files", item.blob, `${place}.png`));
    (labels || []).forEach((label) => form.append("labels", label));
    return form;
  }
  const rows = kind === "texts" ? { texts: items.map((item) => item.text) } : { rows: items.map((item) => item.row) };
  return labels ? { ...rows, labels } : rows;
}

/** Items in parts that a request may hold. */
export function parts(items) {
  const all = [];
  let size = 0;
  for (const item of items) {
    const bytes = item.blob ? item.blob.size : 0;
    if (!all.length || all.at(-1).length >= ROWS || size + bytes > BYTES) {
      all.push([]);
      size = 0;
    }
    all.at(-1).push(item);
    size += bytes;
  }
  return all;
}

const addresses = new WeakMap();

/** An address of a picture that is in this window. */
export function addressOf(blob) {
  if (!addresses.has(blob)) addresses.set(blob, URL.createObjectURL(blob));
  return addresses.get(blob);
}

/** Let go of a picture that isn't shown any more. */
export function forget(blob) {
  if (addresses.has(blob)) URL.revokeObjectURL(addresses.get(blob));
  addresses.delete(blob);
}

/** A row of a table as a line. */
export function lineOf(row) {
  return Object.entries(row).map(([column, cell]) => `${column}: ${cell ?? "–"}`).join(" · ");
}

/** An item, or an example without a picture, as a line; "" where there is none. */
export function textOf(one) {
  if (one.text !== undefined && one.text !== null) return one.text;
  if (one.row && typeof one.row === "object") return lineOf(one.row);
  return one.name || one.source || "";
}
