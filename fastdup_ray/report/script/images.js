// An image on the page: its thumbnail and its caption.
import { copyText } from "./clipboard.js";
import { commonFolder, getImage, getThumbnail, server } from "./data.js";
import { createButton, createElement, createIcon, isolateText } from "./dom.js";
import { escapeInvisible, formatBytes, formatPixels } from "./format.js";

const MIN_WIDTH = 160; // pixels, so that a caption has room
const MIN_RATIO = 0.4;
const MAX_RATIO = 2.2; // width by height of the widest image that is shown in full
const DEFAULT_RATIO = 4 / 3;

const HTTP_CONFLICT = 409; // the server's answer for a file that changed since the run

/** Create an img element, or a box that says why there is none. fullSize: in full size if there is a server. */
export function createImage(number, { fullSize = false, alt = true } = {}) {
  const image = getImage(number);
  const fromServer = server && (fullSize || image.thumb < 0);
  if (image.thumb < 0 && !fromServer) return createPlaceholder(image, `no preview: ${image.problem}`);
  const small = image.thumb < 0 ? "data:," : getThumbnail(image.thumb);
  const element = createElement("img", {
    src: fromServer ? server.imageUrl + image.row : small,
    alt: alt ? escapeInvisible(image.base) : "",
    decoding: "async",
    loading: fromServer && !fullSize ? "lazy" : null,
    draggable: "false",
  });
  if (fromServer) element.addEventListener("error", () => replaceFailed(element, image, small), { once: true });
  return element;
}

function createPlaceholder(image, text) {
  const label = `${escapeInvisible(image.base)}: ${text}`;
  return createElement("span", { class: "placeholder", role: "img", "aria-label": label }, text);
}

/** Replace an image that failed to load: by a message if the file changed, else by its thumbnail. */
async function replaceFailed(element, image, small) {
  // An error event does not have the status of the answer.
  const answer = await fetch(element.src, { method: "HEAD" }).catch(() => null);
  if (answer?.status === HTTP_CONFLICT) element.replaceWith(createPlaceholder(image, "changed since the run"));
  else if (image.thumb < 0) element.replaceWith(createPlaceholder(image, `no preview: ${image.problem}`));
  else element.src = small;
}

/** Width by height, limited to what a row can show. */
export function getAspectRatio(number) {
  const { width, height } = getImage(number);
  return width && height ? Math.min(Math.max(width / height, MIN_RATIO), MAX_RATIO) : DEFAULT_RATIO;
}

function shortenFolder(folder) {
  const rest = folder.slice(commonFolder.length);
  return escapeInvisible(commonFolder.length > 1 && folder !== commonFolder ? rest : folder);
}

const COPY_ICON = "M5.5 5.5v-3h8v8h-3 M2.5 5.5h8v8h-8z"; // two sheets
const NAME_END = 10; // characters of a long name that are always visible
const LONG_NAME = 16; // characters

/** A name that loses its middle where it has no room. */
function createName(number) {
  const { base, name } = getImage(number);
  const characters = Array.from(escapeInvisible(base));
  const cut = characters.length > LONG_NAME ? characters.length - NAME_END : 0;
  return isolateText("", { class: "name", title: escapeInvisible(name) }, [
    cut > 0 && createElement("span", { class: "head" }, characters.slice(0, cut).join("")),
    createElement("span", { class: "tail" }, characters.slice(cut).join("")),
  ]);
}

/** The facts of an image in words: pixels, bytes, format, date. */
const FACTS = {
  pixels: formatPixels,
  bytes: (image) => formatBytes(image.size),
  format: (image) => image.format,
  date: (image) => image.date,
};

/** Whether images of a card differ in a fact, their folder or their label. */
function differ(members, describe) {
  return members.some((member) => describe(getImage(member)) !== describe(getImage(members[0])));
}

/**
 * Name, folder, pixels, bytes, format, date and label, followed by more elements. The caption of the first of some
 * `members` has all of that; the captions of the others have what is not the same for all.
 */
export function createCaption(number, members, ...more) {
  const image = getImage(number);
  const isShown = (describe) => number === members[0] || differ(members, describe);
  const facts = Object.values(FACTS)
    .filter(isShown)
    .map((describe) => describe(image))
    .filter(Boolean);
  return createElement(
    "figcaption",
    {},
    createTitle(number),
    isShown(({ folder }) => folder) &&
      isolateText(shortenFolder(image.folder), { class: "folder", title: escapeInvisible(image.folder) }),
    createElement("span", { class: "facts" }, ...facts.flatMap(createFact)),
    image.label && createElement("span", { class: "badge" }, isolateText(escapeInvisible(image.label))),
    ...more,
  );
}

/** A fact that is not broken into two lines. */
function createFact(text, position) {
  return [position > 0 && " · ", createElement("span", {}, text)];
}

/** The name of an image, and a button that copies its path. */
export function createTitle(number) {
  const { base, name } = getImage(number);
  const copy = createButton(createIcon(COPY_ICON), () => copyText(name), {
    class: "copy",
    "aria-label": `Copy the path of ${escapeInvisible(base)}`,
    title: `Copy ${escapeInvisible(name)}`,
  });
  return createElement("span", { class: "title" }, createName(number), copy);
}

/** Create a figure as wide as its image. */
export function createFigure(number, height, attributes, ...content) {
  const figure = createElement("figure", attributes, ...content);
  const ratio = getAspectRatio(number);
  figure.style.setProperty("--width", `${Math.round(Math.max(height * ratio, MIN_WIDTH))}px`);
  figure.style.setProperty("--preview", `${Math.round(height * ratio)}px`);
  figure.style.setProperty("--ratio", ratio);
  return figure;
}
