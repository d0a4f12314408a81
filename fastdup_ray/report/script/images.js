// An image on the page: its thumbnail and its caption.
import { commonFolder, getImage, getThumbnail, server } from "./data.js";
import { createElement, isolateText } from "./dom.js";
import { escapeInvisible, formatBytes, formatPixels } from "./format.js";

const MIN_WIDTH = 160; // pixels, so that a caption has room
const MIN_RATIO = 0.4;
const MAX_RATIO = 2.2; // width by height of the widest image that is shown in full
const DEFAULT_RATIO = 4 / 3;

const HTTP_CONFLICT = 409; // the server's answer for a file that changed since the run

/** Create an img element, or a box that says why there is none. fullSize: in full size if there is a server. */
export function createImage(number, { fullSize = false, alt = true } = {}) {
  const image = getImage(number);
  const fromServer = fullSize && server;
  if (image.thumb < 0 && !fromServer) return createPlaceholder(image, `no preview: ${image.problem}`);
  const small = image.thumb < 0 ? "data:," : getThumbnail(image.thumb);
  const element = createElement("img", {
    src: fromServer ? server.imageUrl + image.row : small,
    alt: alt ? escapeInvisible(image.base) : "",
    decoding: "async",
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

/** Name, folder, pixels, bytes, format, date and label, followed by more elements. */
export function createCaption(number, ...more) {
  const image = getImage(number);
  const facts = [formatPixels(image), formatBytes(image.size), image.format].filter(Boolean).join(" · ");
  return createElement(
    "figcaption",
    {},
    isolateText(escapeInvisible(image.base), { class: "name", title: escapeInvisible(image.name) }),
    isolateText(shortenFolder(image.folder), { class: "folder", title: escapeInvisible(image.folder) }),
    createElement("span", { class: "facts" }, facts),
    image.date && createElement("span", { class: "facts" }, image.date),
    image.label && createElement("span", { class: "badge" }, isolateText(escapeInvisible(image.label))),
    ...more,
  );
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
