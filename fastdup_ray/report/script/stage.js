// Two images in the viewer: side by side or on top of each other, aligned, with the place that differs outlined.
import { composeMaps, fitBox, getBounds, invertMap, mapBox, mapCorners, UNCHANGED } from "./affine.js";
import { getImage } from "./data.js";
import { createElement } from "./dom.js";
import { createImage, getAspectRatio } from "./images.js";

const WHOLE = [0, 0, 1, 1];

/**
 * Fill the stage. pair: the numbers of the left and the right image. verdict: of the left one on the right one, or null.
 * aligned: whether the right image is laid where it belongs in the left one. onclick: of the images. Returns the layers
 * {image, map, clip} and the ratio of the sheet; map: takes places of the image to the sheet; clip: the corners of what
 * is shown of it, or null for all.
 */
export function fillStage(stage, pair, { mode, verdict, aligned, onclick = null }) {
  stage.dataset.mode = mode;
  const images = pair.map((number) => createImage(number, { fullSize: true }));
  const frame = aligned ? findFrame(verdict.matrix, mode) : WHOLE;
  const view = fitBox(frame);
  const ratio =
    (aligned ? getShape(pair[0]) : getAspectRatio(pair[0])) * ((frame[2] - frame[0]) / (frame[3] - frame[1]));
  const isClipped = mode === "difference" && aligned;
  const layers = images.map((image, position) => ({
    image,
    map: aligned ? composeMaps(view, position ? verdict.matrix : UNCHANGED) : UNCHANGED,
    clip: isClipped ? mapCorners(position ? invertMap(verdict.matrix) : verdict.matrix) : null,
  }));
  const boxes = findBoxes(verdict, aligned).map((box) => box && mapBox(view, box));
  if (aligned) layers.forEach((layer) => placeLayer(layer, ratio));
  if (mode === "side") {
    const ratios = aligned ? [ratio, ratio] : pair.map(getShape);
    const cells = images.map((image, position) => createSheet(ratios[position], [image], boxes[position]));
    stage.replaceChildren(createElement("div", { class: "sides" }, ...cells));
  } else {
    stage.replaceChildren(createSheet(ratio, images, boxes[0], onclick));
  }
  return { layers, ratio };
}

/** The part of the plane to show, in the left image: all of both images, or what they share. */
function findFrame(matrix, mode) {
  const bounds = getBounds(mapCorners(matrix));
  const [outer, inner] = [Math.min, Math.max];
  const [low, high] = mode === "difference" ? [inner, outer] : [outer, inner];
  const frame = [low(bounds[0], 0), low(bounds[1], 0), high(bounds[2], 1), high(bounds[3], 1)];
  return frame[0] < frame[2] && frame[1] < frame[3] ? frame : WHOLE;
}

/** The box of the largest difference in the left and in the right image. */
function findBoxes(verdict, aligned) {
  if (!verdict?.box) return [null, null];
  const { box, matrix } = verdict;
  return [box, aligned ? box : matrix && mapBox(invertMap(matrix), box)];
}

/** Width by height; that of a card for an image of unknown size. */
function getShape(number) {
  const { width, height } = getImage(number);
  return width && height ? width / height : getAspectRatio(number);
}

/** Move an image that fills its sheet, and clip it. ratio: of the sheet. */
function placeLayer({ image, map: [a, b, c, d, e, f], clip }, ratio) {
  image.style.transformOrigin = "0 0";
  image.style.transform = `translate(${100 * c}%, ${100 * f}%) matrix(${a}, ${d / ratio}, ${b * ratio}, ${e}, 0, 0)`;
  if (clip) image.style.clipPath = `polygon(${clip.map(([x, y]) => `${100 * x}% ${100 * y}%`).join(", ")})`;
}

function createSheet(ratio, images, box, onclick) {
  const layers = createElement("div", { class: "layers", onclick }, ...images);
  const view = createElement("div", { class: "view" }, layers, box && createOutline(box));
  const sheet = createElement("div", { class: "sheet" }, view);
  sheet.style.setProperty("--ratio", ratio);
  return createElement("div", { class: "cell" }, sheet);
}

function createOutline([left, top, right, bottom]) {
  const outline = createElement("div", {
    class: "outline",
    role: "img",
    "aria-label": "Place of the largest difference",
  });
  Object.assign(outline.style, {
    left: `${100 * left}%`,
    top: `${100 * top}%`,
    width: `${100 * (right - left)}%`,
    height: `${100 * (bottom - top)}%`,
  });
  return outline;
}
