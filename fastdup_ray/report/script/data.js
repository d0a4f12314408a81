// What the page was made with: JSON in the page itself, read once.

function read(id) {
  return JSON.parse(document.getElementById(id).textContent);
}

export const data = read("data");

const meta = document.querySelector('meta[name="fastdup-server"]');

/** Where decisions are kept, and whole pictures are, when a server shows this page; null for a file. */
export const server = meta && { plan: meta.dataset.plan, picture: meta.dataset.picture };

let uris = null;

/** The data URI of a thumbnail. They are many megabytes: read when the first is shown. */
export function thumbnail(place) {
  uris ??= read("thumbnails");
  return uris[place];
}

const columns = data.pictures;
const known = new Array(columns.base.length);

/**
 * A picture by its number on the page: number, row (in features.dat), folder, base, name (folder and base), key (what
 * tells it from all others), hex, size, width, height, format, date, sha256, etag, label, reference, fixed (why it can
 * only be kept), thumb, problem.
 */
export function picture(number) {
  if (!known[number]) {
    const found = { number };
    for (const column in columns) {
      if (column !== "folders") found[column] = columns[column][number];
    }
    found.folder = columns.folders[found.folder];
    found.name = found.folder + found.base;
    found.key = found.hex || found.name;
    known[number] = found;
  }
  return known[number];
}

let numbers = null;

/** The number of the picture with a key; undefined where it is not on this page. */
export function numberOf(key) {
  numbers ??= new Map(known.length ? Array.from(known, (_, number) => [picture(number).key, number]) : []);
  return numbers.get(key);
}

/** What all folders begin with, up to a slash. */
export const commonFolder = columns.folders.reduce((common, folder) => {
  let end = 0;
  for (let place = 0; place < Math.min(common.length, folder.length) && common[place] === folder[place]; place++) {
    if (common[place] === "/") end = place + 1;
  }
  return common.slice(0, end);
}, columns.folders[0] ?? "");
