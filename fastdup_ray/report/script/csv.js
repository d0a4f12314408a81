// CSV (RFC 4180, UTF-8). A name that is not UTF-8 keeps its bytes.

const utf8 = new TextDecoder("utf-8", { fatal: true });

/**
 * The rows of a CSV, each a list of cells {text, hex}; hex if the cell is not UTF-8. bytes: Uint8Array. The header
 * decides whether the delimiter is a comma or a semicolon, which some spreadsheets write.
 */
export function parseCsv(bytes) {
  const rows = [];
  let row = [];
  let cell = [];
  let quoted = false;
  const endCell = () => {
    row.push(decodeCell(Uint8Array.from(cell)));
    cell = [];
  };
  const endRow = () => {
    endCell();
    if (row.length > 1 || row[0].text) rows.push(row);
    row = [];
  };
  const header = bytes.subarray(0, bytes.indexOf(0x0a) + 1 || bytes.length);
  const delimiter = header.includes(0x2c) || !header.includes(0x3b) ? 0x2c : 0x3b;
  const start = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0; // byte order mark
  for (let index = start; index < bytes.length; index++) {
    const byte = bytes[index];
    if (quoted) {
      if (byte !== 0x22) cell.push(byte);
      else if (bytes[index + 1] === 0x22) cell.push(bytes[++index]);
      else quoted = false;
    } else if (byte === 0x22) quoted = true;
    else if (byte === delimiter) endCell();
    else if (byte === 0x0a) endRow();
    else if (byte !== 0x0d || bytes[index + 1] !== 0x0a) cell.push(byte);
  }
  if (cell.length || row.length) endRow();
  return rows;
}

function decodeCell(bytes) {
  try {
    return { text: utf8.decode(bytes), hex: "" };
  } catch {
    return { text: "", hex: Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("") };
  }
}

/** The parts of a Blob. rows: lists of cells, as `parseCsv` gives them. */
export function formatCsv(rows) {
  const parts = [];
  for (const row of rows) {
    row.forEach((cell, index) => parts.push(index ? "," : "", ...formatCell(cell)));
    parts.push("\n");
  }
  return parts;
}

function formatCell({ text, hex }) {
  if (!hex) return [/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text];
  const bytes = Uint8Array.from(hex.match(/../g), (pair) => parseInt(pair, 16));
  const doubled = Array.from(bytes).flatMap((byte) => (byte === 0x22 ? [byte, byte] : [byte]));
  return ['"', Uint8Array.from(doubled), '"'];
}
