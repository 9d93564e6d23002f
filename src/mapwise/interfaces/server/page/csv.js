// Tables in text files: CSV as RFC 4180 has it, and the same with semicolons or tabs.

/** The records of a table: its columns, and its rows as objects. */
export function records(text) {
  const body = text.replace(/^\uFEFF/, "");
  const all = cells(body, separator(body)).filter((row) => row.some((cell) => cell.trim()));
  const columns = (all.shift() || []).map((name, place) => name.trim() || `column ${place + 1}`);
  return { columns, rows: all.map((row) => Object.fromEntries(columns.map((name, place) => [name, row[place] ?? ""]))) };
}

function separator(text) {
  const first = text.slice(0, text.search(/[\r\n]|$/));
  const counts = [",", ";", "\t"].map((one) => [first.split(one).length, one]);
  return counts.reduce((best, one) => (one[0] > best[0] ? one : best))[1];
}

function cells(text, between) {
  const rows = [[]];
  let cell = "";
  let quoted = false;
  for (let place = 0; place < text.length; place += 1) {
    const letter = text[place];
    if (quoted) {
      if (letter !== '"') cell += letter;
      else if (text[place + 1] === '"') { cell += '"'; place += 1; }
      else quoted = false;
    } else if (letter === '"' && !cell) quoted = true;
    else if (letter === between) { rows.at(-1).push(cell); cell = ""; }
    else if (letter === "\n" || letter === "\r") {
      if (letter === "\r" && text[place + 1] === "\n") place += 1;
      rows.at(-1).push(cell);
      cell = "";
      rows.push([]);
    } else cell += letter;
  }
  rows.at(-1).push(cell);
  return rows;
}

/** A cell as a number where it is one, and null where it is empty. */
export function cellOf(text) {
  const trimmed = String(text).trim();
  if (!trimmed) return null;
  const number = Number(trimmed);
  return Number.isFinite(number) && /^[-+]?[\d.]/.test(trimmed) ? number : trimmed;
}

/** A row as the server takes it. */
export function rowOf(record, columns) {
  return Object.fromEntries(columns.map((name) => [name, cellOf(record[name])]));
}
