// The plan as CSV: RFC 4180, in UTF-8, where a name that is not UTF-8 keeps its bytes.

const strict = new TextDecoder("utf-8", { fatal: true });

/**
 * The rows of a CSV, each a list of cells. bytes: Uint8Array. A cell is {text, hex}; hex where it is not UTF-8. Some
 * spreadsheets write semicolons for commas: the header tells.
 */
export function parseCsv(bytes) {
  const rows = [];
  let row = [];
  let cell = [];
  let quoted = false;
  const endCell = () => {
    row.push(asText(Uint8Array.from(cell)));
    cell = [];
  };
  const endRow = () => {
    endCell();
    if (row.length > 1 || row[0].text) rows.push(row);
    row = [];
  };
  const header = bytes.subarray(0, bytes.indexOf(0x0a) + 1 || bytes.length);
  const delimiter = header.includes(0x2c) || !header.includes(0x3b) ? 0x2c : 0x3b;
  const start = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0; // as spreadsheets write it
  for (let place = start; place < bytes.length; place++) {
    const byte = bytes[place];
    if (quoted) {
      if (byte !== 0x22) cell.push(byte);
      else if (bytes[place + 1] === 0x22) cell.push(bytes[++place]);
      else quoted = false;
    } else if (byte === 0x22) quoted = true;
    else if (byte === delimiter) endCell();
    else if (byte === 0x0a) endRow();
    else if (byte !== 0x0d || bytes[place + 1] !== 0x0a) cell.push(byte);
  }
  if (cell.length || row.length) endRow();
  return rows;
}

function asText(bytes) {
  try {
    return { text: strict.decode(bytes), hex: "" };
  } catch {
    return { text: "", hex: Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("") };
  }
}

/** The parts of a Blob. rows: lists of cells, as `parseCsv` gives them. */
export function formatCsv(rows) {
  const parts = [];
  for (const row of rows) {
    row.forEach((cell, place) => parts.push(place ? "," : "", ...cellParts(cell)));
    parts.push("\n");
  }
  return parts;
}

function cellParts({ text, hex }) {
  if (!hex) return [/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text];
  const bytes = Uint8Array.from(hex.match(/../g), (pair) => parseInt(pair, 16));
  const doubled = Array.from(bytes).flatMap((byte) => (byte === 0x22 ? [byte, byte] : [byte]));
  return ['"', Uint8Array.from(doubled), '"'];
}
