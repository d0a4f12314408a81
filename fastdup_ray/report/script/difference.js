// How much two images on top of each other differ, and how much brighter that is shown.
import { createButton, createElement } from "./dom.js";

const SIDE = 256; // pixels of the larger side at which images are compared
const LEVELS = 256;
const MOST = 0.999; // part of the pixels that are not brighter than the largest difference; the rest is edges of images
const INVISIBLE = 3; // levels: what scaling and compression leave
const MAX_FACTOR = 32;
const FACTOR_OF_NOTHING = 4;

const AMPLIFICATIONS = ["auto", 4, 16]; // "auto" makes the largest difference white

/** The largest difference of two layers, from 0 to 255. layers: {image, map, clip} as `fillStage` returns them. */
async function measureDifference(layers, ratio) {
  if (!layers.every(({ image }) => image instanceof HTMLImageElement)) return null;
  await Promise.all(layers.map(({ image }) => image.decode()));
  const size = ratio > 1 ? [SIDE, Math.ceil(SIDE / ratio)] : [Math.ceil(SIDE * ratio), SIDE];
  const [first, second] = layers.map((layer) => drawLayer(layer, ...size));
  return findPeak(first, second);
}

/** The pixels of a layer on black. */
function drawLayer({ image, map: [a, b, c, d, e, f], clip }, width, height) {
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.fillRect(0, 0, width, height);
  context.setTransform(width * a, height * d, width * b, height * e, width * c, height * f);
  if (clip) clipTo(context, clip);
  context.drawImage(image, 0, 0, 1, 1);
  return context.getImageData(0, 0, width, height).data;
}

function clipTo(context, corners) {
  context.beginPath();
  corners.forEach(([x, y]) => context.lineTo(x, y));
  context.closePath();
  context.clip();
}

/** The largest difference of a channel, but for a few pixels. */
function findPeak(first, second) {
  const counts = new Uint32Array(LEVELS);
  for (let at = 0; at < first.length; at += 4) {
    const channels = [0, 1, 2].map((channel) => Math.abs(first[at + channel] - second[at + channel]));
    counts[Math.max(...channels)] += 1;
  }
  let left = (1 - MOST) * (first.length / 4);
  let level = LEVELS - 1;
  while (level > 0 && (left -= counts[level]) >= 0) level -= 1;
  return level;
}

/** How many times as bright a difference is shown, and that in words. peak: the largest difference, or null. */
function chooseAmplification(chosen, peak) {
  if (chosen !== "auto") return [chosen, `Differences are shown ${chosen} times as bright.`];
  if (peak === null) return [FACTOR_OF_NOTHING, ""];
  if (peak <= INVISIBLE) return [FACTOR_OF_NOTHING, "No difference can be seen."];
  const factor = Math.min((LEVELS - 1) / peak, MAX_FACTOR);
  return [factor, `Differences are shown ${Number(factor.toPrecision(2))} times as bright: the largest is white.`];
}

/** The choice of how bright differences are shown. onchange is called when that changes. */
export class Amplifier {
  #chosen = AMPLIFICATIONS[0];
  #layers = null;
  #peak = null; // the largest difference of the layers, once it was measured

  constructor(onchange) {
    this.onchange = onchange;
    this.choices = AMPLIFICATIONS.map((factor) => {
      const text = factor === "auto" ? "Auto" : `×${factor}`;
      return createButton(text, () => this.#choose(factor), { "aria-label": `Brightness of differences: ${text}` });
    });
    const names = { class: "modes", role: "group", "aria-label": "Brightness of differences" };
    this.element = createElement("div", names, ...this.choices);
  }

  /** Measure the difference of other layers, on a sheet of this ratio. */
  async measure(layers, ratio) {
    [this.#layers, this.#peak] = [layers, null];
    const peak = await measureDifference(layers, ratio).catch(() => null);
    if (this.#layers !== layers) return;
    this.#peak = peak;
    this.onchange();
  }

  /** Show the difference in an element. Returns how bright, in words. */
  apply(element) {
    const [factor, words] = chooseAmplification(this.#chosen, this.#peak);
    element.style.filter = `brightness(${factor})`;
    this.choices.forEach((choice, at) =>
      choice.setAttribute("aria-pressed", String(AMPLIFICATIONS[at] === this.#chosen)),
    );
    return words;
  }

  #choose(factor) {
    this.#chosen = factor;
    this.onchange();
  }
}
