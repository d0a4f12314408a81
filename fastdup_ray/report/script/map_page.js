// The page of the map: its parts, the pointer, and the keys.
import { getImage } from "./data.js";
import { announce, createButton, createElement, isTyping } from "./dom.js";
import { escapeInvisible } from "./format.js";
import { createImage } from "./images.js";
import { describePoint, nameCategory, pointCount } from "./map_data.js";
import { MapDialog } from "./map_dialog.js";
import { Legend } from "./map_legend.js";
import { MapView } from "./map_view.js";

const DRAG_DISTANCE = 4; // pixels; a shorter movement is a click
const PAN = 60; // pixels
const DIRECTIONS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const KEYS =
  "The wheel zooms, dragging moves the map, a click opens an image. Keys: the arrows go to the next image in a direction, " +
  "n and p to the next and previous one that stands out; Enter opens it, Escape leaves it; + and - zoom, Shift and an " +
  "arrow move the map, 0 shows all of it.";

const root = document.getElementById("map");
const view = new MapView([Number(root.dataset.width), Number(root.dataset.height)], showTip);
const legend = new Legend(update);
const dialog = new MapDialog((point) => view.select(point));
const tip = createElement("figure", { class: "tip", hidden: true, "aria-hidden": "true" });
const board = createElement("div", { class: "board" }, view.canvas, tip);
const whole = createButton("100 %", () => view.reset(), { class: "whole", "aria-label": "Show the whole map" });
let drag = null;
let shown = -1; // the point of the tip

function update() {
  view.categories = legend.categories;
  view.matches = legend.matches;
  shown = -1; // it may be called otherwise now
  if (view.current >= 0 && !view.isMatch(view.current)) view.current = -1;
  view.draw();
}

/** Show the image of the current point beside it. */
function showTip() {
  whole.textContent = `${Math.round(100 * view.scale)} %`;
  const point = view.current;
  tip.hidden = point < 0 || drag?.moved === true;
  if (tip.hidden) return;
  if (shown !== point) {
    const { coloring } = legend;
    tip.replaceChildren(
      createImage(point, { alt: false }),
      createElement("b", {}, escapeInvisible(getImage(point).base)),
      coloring && createElement("span", { class: "facts" }, nameCategory(coloring, coloring.of[point])),
    );
    shown = point;
  }
  const [left, top] = view.locate(point);
  const { clientWidth, clientHeight } = view.canvas;
  tip.style.left = `${Math.max(0, left + 16 + tip.offsetWidth > clientWidth ? left - 16 - tip.offsetWidth : left + 16)}px`;
  tip.style.top = `${Math.max(0, Math.min(top - 20, clientHeight - tip.offsetHeight - 4))}px`;
}

function select(point) {
  if (point !== view.current) view.select(point);
}

/** The next point that stands out, in the order of the run. */
function step(by) {
  let point = view.current < 0 && by < 0 ? 0 : view.current;
  for (let count = 0; count < pointCount; count++) {
    point = (point + by + pointCount) % pointCount;
    if (view.isMatch(point)) return point;
  }
  return view.current;
}

function goTo(point) {
  select(point);
  if (point >= 0) announce(describePoint(point));
}

function handleKey(event) {
  if (isTyping(event)) return;
  const direction = DIRECTIONS[event.key];
  const actions = {
    n: () => goTo(step(1)),
    p: () => goTo(step(-1)),
    "+": () => view.zoomIn(),
    "=": () => view.zoomIn(),
    "-": () => view.zoomOut(),
    0: () => view.reset(),
    Escape: () => select(-1),
    Enter: () => view.current >= 0 && dialog.open(view.current),
    " ": () => view.current >= 0 && dialog.open(view.current),
  };
  const action = direction
    ? () => (event.shiftKey ? view.pan(-PAN * direction[0], -PAN * direction[1]) : goTo(view.findNext(direction)))
    : actions[event.key];
  if (!action) return;
  event.preventDefault();
  action();
}

function listen(canvas) {
  canvas.addEventListener("keydown", handleKey);
  canvas.addEventListener("pointerdown", (event) => {
    drag = { at: [event.clientX, event.clientY], moved: false };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!drag) return select(view.findPoint([event.offsetX, event.offsetY]));
    const by = [event.clientX - drag.at[0], event.clientY - drag.at[1]];
    if (!drag.moved && Math.hypot(...by) < DRAG_DISTANCE) return;
    drag = { at: [event.clientX, event.clientY], moved: true };
    view.pan(...by);
  });
  canvas.addEventListener("pointerup", (event) => {
    const clicked = drag && !drag.moved;
    drag = null;
    if (!clicked) return view.draw();
    const point = view.findPoint([event.offsetX, event.offsetY]);
    select(point);
    if (point >= 0) dialog.open(point);
  });
  canvas.addEventListener("pointercancel", () => (drag = null));
  canvas.addEventListener("pointerleave", () => {
    if (!drag && document.activeElement !== canvas) select(-1);
  });
}

for (const [name, value] of Object.entries({
  tabindex: "0",
  role: "application",
  "aria-label": `Map of ${pointCount} images`,
  "aria-describedby": "keys",
})) {
  view.canvas.setAttribute(name, value);
}
listen(view.canvas);
root.append(
  createElement(
    "div",
    { class: "bar tools" },
    ...legend.tools,
    createElement(
      "div",
      { class: "zoom-buttons bar", role: "group", "aria-label": "Zoom" },
      createButton("−", () => view.zoomOut(), { "aria-label": "Zoom out" }),
      whole,
      createButton("+", () => view.zoomIn(), { "aria-label": "Zoom in" }),
    ),
  ),
  createElement("div", { class: "sides-of-map" }, board, createElement("div", {}, legend.count, legend.list)),
  createElement("p", { id: "message", class: "offscreen", role: "status" }),
  createElement("p", { id: "keys", class: "note" }, KEYS),
);
update();
