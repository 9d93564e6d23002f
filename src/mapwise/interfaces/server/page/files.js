// Files that were dropped or chosen, folders with all they hold, and what stands in them.

import { records } from "./csv.js";

const PICTURE = /\.(png|jpe?g|webp|gif|bmp)$/i;
const TABLE = /\.(csv|tsv)$/i;
const MOST = 5000;

/** Files of a drop, each with the path that it has there. */
export async function dropped(transfer) {
  const entries = [...transfer.items].map((one) => one.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return chosen(transfer.files);
  const found = [];
  for (const entry of entries) await walk(entry, found);
  return found;
}

/** Files of a field. */
export function chosen(files) {
  return [...files].map((file) => ({ file, path: file.webkitRelativePath || file.name }));
}

async function walk(entry, found) {
  if (found.length >= MOST || entry.name.startsWith(".")) return;
  if (entry.isFile) {
    const file = await new Promise((done, fail) => entry.file(done, fail));
    found.push({ file, path: entry.fullPath.replace(/^\//, "") });
    return;
  }
  const reader = entry.createReader();
  for (;;) { // a reader gives a hundred at a time
    const some = await new Promise((done, fail) => reader.readEntries(done, fail));
    if (!some.length) return;
    for (const one of some) await walk(one, found);
  }
}

/** What files hold: pictures, texts and tables. Labels of files in folders are the names of these. */
export async function contents(files) {
  const pictures = files.filter(({ file }) => PICTURE.test(file.name) || file.type.startsWith("image/"));
  const tables = [];
  const texts = [];
  for (const { file, path } of files) {
    if (TABLE.test(file.name)) tables.push(records(await file.text()));
    else if (/\.(txt|md)$/i.test(file.name)) texts.push({ path, text: await file.text() });
  }
  return {
    pictures: labelled(pictures).map(({ file, path, label }) => ({ kind: "pictures", blob: file, name: path, label })),
    texts: labelled(texts).flatMap(({ text, label }) => lines(text).map((one) => ({ kind: "texts", text: one, label }))),
    tables,
  };
}

/** Each file with the name of its folder, where there are folders beside one another. */
function labelled(files) {
  const folder = ({ path }) => path.split("/").at(-2);
  const folders = new Set(files.map(folder));
  const apart = folders.size > 1 && !folders.has(undefined);
  return files.map((one) => ({ ...one, label: apart ? folder(one) : undefined }));
}

/** The lines of a text that say something. */
export function lines(text) {
  return text.split(/\r?\n/).map((one) => one.trim()).filter(Boolean);
}
