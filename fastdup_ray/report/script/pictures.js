// A picture on the page: its thumbnail, and what is told of it.
import { commonFolder, picture, server, thumbnail } from "./data.js";
import { foreign, make } from "./elements.js";
import { bytes, pixels, visible } from "./words.js";

const NARROW = 160; // pixels that a caption takes at least
const WIDE = 2.2; // width by height of the widest that is shown whole

const CHANGED = 409; // the server's answer for a file that is not the one that the run saw

/** An image, or a box that says why there is none. whole: as large as it can be had. */
export function image(number, { whole = false, alt = true } = {}) {
  const shown = picture(number);
  if (shown.thumb < 0 && !(whole && server)) return placeholder(shown, `no picture: ${shown.problem}`);
  const small = shown.thumb < 0 ? "data:," : thumbnail(shown.thumb);
  const made = make("img", {
    src: whole && server ? server.picture + shown.row : small,
    alt: alt ? visible(shown.base) : "",
    decoding: "async",
    draggable: "false",
  });
  if (whole && server) made.addEventListener("error", () => explain(made, shown, small), { once: true });
  return made;
}

function placeholder(shown, words) {
  return make("span", { class: "placeholder", role: "img", "aria-label": `${visible(shown.base)}: ${words}` }, words);
}

/** Says that a file changed; what cannot be had for another reason is shown as its thumbnail. */
async function explain(made, shown, small) {
  const answer = await fetch(made.src, { method: "HEAD" }).catch(() => null); // an image does not say why it failed
  if (answer?.status === CHANGED) made.replaceWith(placeholder(shown, "changed since the run"));
  else made.src = small;
}

/** Width by height, within what a row can show. */
export function proportion(number) {
  const { width, height } = picture(number);
  return width && height ? Math.min(Math.max(width / height, 0.4), WIDE) : 4 / 3;
}

export function shortFolder(folder) {
  const rest = folder.slice(commonFolder.length);
  return visible(commonFolder.length > 1 && folder !== commonFolder ? rest : folder);
}

/** Name, folder, pixels, bytes, format and date, and more below. */
export function caption(number, ...more) {
  const shown = picture(number);
  const facts = [pixels(shown), bytes(shown.size), shown.format].filter(Boolean).join(" · ");
  return make(
    "figcaption",
    {},
    foreign(visible(shown.base), { class: "name", title: visible(shown.name) }),
    foreign(shortFolder(shown.folder), { class: "folder", title: visible(shown.folder) }),
    make("span", { class: "facts" }, facts),
    shown.date && make("span", { class: "facts" }, shown.date),
    shown.label && make("span", { class: "badge" }, foreign(visible(shown.label))),
    ...more,
  );
}

/** A figure as wide as its picture. */
export function figure(number, height, attributes, ...content) {
  const made = make("figure", attributes, ...content);
  const width = height * proportion(number);
  made.style.setProperty("--width", `${Math.round(Math.max(width, NARROW))}px`);
  made.style.setProperty("--look", `${Math.round(width)}px`);
  made.style.setProperty("--ratio", proportion(number));
  return made;
}
