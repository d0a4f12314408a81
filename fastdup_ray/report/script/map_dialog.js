// One image of the map, large, and those that are next to it.
import { getImage, server } from "./data.js";
import { createButton, createElement } from "./dom.js";
import { escapeInvisible } from "./format.js";
import { createCaption, createImage } from "./images.js";
import { colorings, findNearest, getPlace, nameCategory, pointCount } from "./map_data.js";

const NEARBY = 12; // images

/** A dialog. onselect gets the point that it shows. */
export class MapDialog {
  constructor(onselect) {
    this.onselect = onselect;
    this.element = createElement("dialog", { class: "shown", "aria-label": "Image" });
    document.body.append(this.element);
  }

  open(point) {
    this.#fill(point);
    if (!this.element.open) this.element.showModal();
    this.element.querySelector(".close").focus();
  }

  #fill(point) {
    const all = Array.from({ length: pointCount }, (_, other) => other).filter((other) => other !== point);
    const nearby = findNearest(getPlace(point), all, NEARBY);
    const facts = colorings.map((coloring) => this.#describe(coloring, point));
    this.element.replaceChildren(
      createElement(
        "figure",
        {},
        createElement("div", { class: "large" }, createImage(point, { fullSize: true })),
        createCaption(point, [point], ...facts, createLink(point)),
      ),
      nearby.length > 0 && createElement("h2", {}, "Nearest on the map"),
      createElement("div", { class: "film" }, ...nearby.map((other) => this.#createFrame(other))),
      createElement("p", { class: "message", role: "status" }),
      createButton("Close", () => this.element.close(), { class: "close" }),
    );
    this.onselect(point);
  }

  #describe(coloring, point) {
    const category = coloring.of[point];
    const name = nameCategory(coloring, category);
    if (category < 0 || coloring.title === "Label") return null; // the caption has the label
    const title = name.toLowerCase().startsWith(coloring.title.toLowerCase()) ? "" : `${coloring.title}: `;
    return createElement("span", { class: "facts" }, title, name);
  }

  #createFrame(point) {
    const name = escapeInvisible(getImage(point).base);
    const frame = createButton("", () => this.open(point), { class: "frame", title: name, "aria-label": name });
    frame.append(createImage(point, { alt: false }));
    return frame;
  }
}

/** A link to the file of an image, where a page may have one: from disk to disk. */
function createLink(point) {
  const { name, hex, fixed } = getImage(point);
  if (server || location.protocol !== "file:" || !/^\/[^/]/.test(name) || fixed.startsWith("inside")) return null;
  const path = hex
    ? hex.replace(/../g, "%$&").replaceAll(/%2f/gi, "/")
    : name.split("/").map(encodeURIComponent).join("/");
  return createElement("a", { href: `file://${path}`, target: "_blank", rel: "noopener noreferrer" }, "Open the file");
}
