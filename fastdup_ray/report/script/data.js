// The data of the report: JSON in the page itself, parsed once.

function parseElement(id) {
  return JSON.parse(document.getElementById(id).textContent);
}

export const data = parseElement("data");

const meta = document.querySelector('meta[name="fastdup-server"]');

/** The addresses of the plan and of full-size images (followed by a row) on the server; null for a page opened as a file. */
export const server = meta && { planUrl: meta.dataset.plan, imageUrl: meta.dataset.picture };

let thumbnails = null;

/** The data URI of a thumbnail. All of them are many megabytes, so they are parsed when the first one is shown. */
export function getThumbnail(index) {
  thumbnails ??= parseElement("thumbnails");
  return thumbnails[index];
}

const columns = data.pictures;
const images = new Array(columns.base.length);

/**
 * An image by its number on the page: number, row (its index in features.dat), folder, base, name (folder and base),
 * key (unique), hex (the bytes of a name that is not UTF-8), size, width, height, format, date, time (what the rule
 * `oldest` goes by: milliseconds since 1970, or null), sha256, etag, label, reference, fixed (why it cannot be dropped),
 * group (its component_id, or null), suggestion (its row in the default plan of the run, or null), thumb (index of its
 * thumbnail, or -1), problem (why it has none).
 */
export function getImage(number) {
  if (!images[number]) {
    const image = { number };
    for (const column in columns) {
      if (column !== "folders") image[column] = columns[column][number];
    }
    image.folder = columns.folders[image.folder];
    image.name = image.folder + image.base;
    image.key = image.hex || image.name;
    image.suggestion = readSuggestion(columns.suggestion?.[number]);
    images[number] = image;
  }
  return images[number];
}

/** A row of the default plan: keeper (a number, or -1 if the image is kept), similarity, rule, reason and group. */
function readSuggestion(row) {
  if (!row) return null;
  const [keeper, similarity, rule, reason, group] = row;
  return { keeper, similarity, rule, reason, group };
}

/** The number that a group of images has in all outputs: the lowest component_id in it; null without components. */
export function getGroupNumber(members) {
  const numbers = members.map((number) => getImage(number).group).filter((number) => number !== null);
  return numbers.length ? Math.min(...numbers) : null;
}

let numbers = null;

/** The number of the image with this key; undefined if it is not on the page. */
export function findNumber(key) {
  numbers ??= new Map(images.length ? Array.from(images, (_, number) => [getImage(number).key, number]) : []);
  return numbers.get(key);
}

/** The longest path that all folders begin with, up to a slash. */
export const commonFolder = columns.folders.reduce((common, folder) => {
  let end = 0;
  for (let index = 0; index < Math.min(common.length, folder.length) && common[index] === folder[index]; index++) {
    if (common[index] === "/") end = index + 1;
  }
  return common.slice(0, end);
}, columns.folders[0] ?? "");
