// The map on its canvas: what part of it is shown, and how it is drawn.
import { getPlace, pointCount } from "./map_data.js";

const MAX_SCALE = 200;
const STEP = 1.5;
const MARGIN = 24; // pixels around the points
const REACH = 14; // pixels from the pointer to a point that it means
const RADII = [
  [300, 6],
  [2000, 4.5],
  [8000, 3.2],
  [Infinity, 2.4],
]; // number of points -> pixels
const FAINT = 0.12; // opacity of points that do not match
const CATEGORIES = 10;

const limit = (value, low, high) => Math.min(Math.max(value, low), high);

/** A canvas with the points. onchange is called when another part of the map is shown. */
export class MapView {
  #scale = 1;
  #center;
  #colors = {};
  #frame = 0;

  constructor(extent, onchange) {
    this.extent = extent;
    this.onchange = onchange;
    this.#center = extent.map((size) => size / 2);
    this.canvas = document.createElement("canvas");
    this.categories = new Int8Array(pointCount).fill(-1); // of each point
    this.matches = null; // 1 for each point that matches, or null if all do
    this.current = -1; // the point that is outlined
    this.size = [0, 0]; // pixels
    new ResizeObserver(() => this.#resize()).observe(this.canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#readColors());
    this.canvas.addEventListener("wheel", (event) => this.#handleWheel(event), { passive: false });
  }

  get scale() {
    return this.#scale;
  }

  /** Pixels of the screen for one unit of the map. */
  get #unit() {
    const units = this.size.map((size, axis) => (size - 2 * MARGIN) / Math.max(this.extent[axis], 1));
    return this.#scale * Math.min(...units);
  }

  /** Where a point is on the canvas, in pixels. */
  locate(point) {
    return this.#project(point, this.#unit);
  }

  #project(point, unit) {
    const [x, y] = getPlace(point);
    return [this.size[0] / 2 + (x - this.#center[0]) * unit, this.size[1] / 2 + (y - this.#center[1]) * unit];
  }

  isInside([left, top], margin = 0) {
    return left >= -margin && top >= -margin && left <= this.size[0] + margin && top <= this.size[1] + margin;
  }

  isMatch(point) {
    return !this.matches || this.matches[point] === 1;
  }

  /** The point at a place of the canvas; -1 if there is none. */
  findPoint([x, y]) {
    let nearest = -1;
    let least = REACH ** 2;
    const unit = this.#unit;
    for (let point = 0; point < pointCount; point++) {
      if (!this.isMatch(point)) continue;
      const [left, top] = this.#project(point, unit);
      const distance = (left - x) ** 2 + (top - y) ** 2;
      if (distance < least) [nearest, least] = [point, distance];
    }
    return nearest;
  }

  /** The nearest point in a direction from the current one; from the middle of the canvas if there is none. */
  findNext([dx, dy]) {
    const [x, y] = this.#middle();
    const unit = this.#unit;
    let [next, least] = [this.current, Infinity];
    for (let point = 0; point < pointCount; point++) {
      if (point === this.current || !this.isMatch(point)) continue;
      const [left, top] = this.#project(point, unit);
      const ahead = (left - x) * dx + (top - y) * dy;
      const aside = Math.abs((left - x) * dy) + Math.abs((top - y) * dx);
      const cost = this.current < 0 ? Math.hypot(left - x, top - y) : ahead + 2 * aside;
      if ((this.current < 0 || ahead > 0.5) && cost < least) [next, least] = [point, cost];
    }
    return next;
  }

  /** Outline a point, and move the map if the point is out of sight. */
  select(point) {
    this.current = point;
    if (point >= 0 && !this.isInside(this.locate(point))) this.#center = getPlace(point);
    this.draw();
  }

  zoomIn() {
    this.#zoom(STEP, this.#middle());
  }

  zoomOut() {
    this.#zoom(1 / STEP, this.#middle());
  }

  reset() {
    this.#scale = 1;
    this.#center = this.extent.map((size) => size / 2);
    this.draw();
  }

  /** Move the map by pixels. */
  pan(dx, dy) {
    this.#moveTo([this.#center[0] - dx / this.#unit, this.#center[1] - dy / this.#unit]);
  }

  /** The current point, or else the middle of the canvas, in pixels. */
  #middle() {
    return this.current < 0 ? this.size.map((size) => size / 2) : this.locate(this.current);
  }

  /** place: on the canvas, where the map stays as it is. */
  #zoom(factor, [x, y]) {
    const [dx, dy] = [x - this.size[0] / 2, y - this.size[1] / 2];
    const before = this.#unit;
    this.#scale = limit(this.#scale * factor, 1, MAX_SCALE);
    const change = 1 / before - 1 / this.#unit;
    this.#moveTo([this.#center[0] + dx * change, this.#center[1] + dy * change]);
  }

  #moveTo(center) {
    const middle = this.extent.map((size) => size / 2);
    this.#center = this.#scale === 1 ? middle : center.map((at, axis) => limit(at, 0, this.extent[axis]));
    this.draw();
  }

  #handleWheel(event) {
    event.preventDefault();
    this.#zoom(event.deltaY < 0 ? STEP : 1 / STEP, [event.offsetX, event.offsetY]);
  }

  #readColors() {
    const style = getComputedStyle(document.documentElement);
    const read = (name) => style.getPropertyValue(name).trim();
    this.#colors = { ink: read("--ink"), none: read("--none"), others: read("--others") };
    for (let category = 0; category < CATEGORIES; category++) this.#colors[category] = read(`--category-${category}`);
    this.draw();
  }

  #resize() {
    this.size = [this.canvas.clientWidth, this.canvas.clientHeight];
    const density = devicePixelRatio || 1;
    [this.canvas.width, this.canvas.height] = this.size.map((size) => Math.round(size * density));
    this.draw();
  }

  /** Draw the map in the next frame. */
  draw() {
    if (this.#frame) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      if (!this.#colors.ink) this.#readColors();
      this.#drawNow();
      this.onchange();
    });
  }

  #drawNow() {
    const context = this.canvas.getContext("2d");
    context.setTransform(this.canvas.width / this.size[0], 0, 0, this.canvas.height / this.size[1], 0, 0);
    context.clearRect(0, 0, ...this.size);
    const radius = RADII.find(([most]) => pointCount <= most)[1] * Math.min(this.#scale ** 0.25, 2);
    for (const [category, matched, points] of this.#batches(radius)) {
      context.globalAlpha = matched ? 0.85 : FAINT;
      context.fillStyle = this.getColor(category);
      context.beginPath();
      for (const [left, top] of points) {
        context.moveTo(left + radius, top);
        context.arc(left, top, radius, 0, 2 * Math.PI);
      }
      context.fill();
    }
    if (this.current >= 0) this.#outline(context, this.locate(this.current), radius);
  }

  #outline(context, [left, top], radius) {
    context.globalAlpha = 1;
    context.strokeStyle = this.#colors.ink;
    context.lineWidth = 2;
    context.beginPath();
    context.arc(left, top, radius + 4, 0, 2 * Math.PI);
    context.stroke();
  }

  /** Visible points by category and by whether they match; those that matter most come last, on top. */
  #batches(radius) {
    const batches = new Map();
    const unit = this.#unit;
    for (let point = 0; point < pointCount; point++) {
      const place = this.#project(point, unit);
      if (!this.isInside(place, radius)) continue;
      const matched = this.isMatch(point);
      const key = `${matched ? 1 : 0}${this.categories[point] >= 0 ? 1 : 0} ${this.categories[point]}`;
      if (!batches.has(key)) batches.set(key, [this.categories[point], matched, []]);
      batches.get(key)[2].push(place);
    }
    return [...batches.keys()].sort().map((key) => batches.get(key));
  }

  getColor(category) {
    if (category < 0) return this.#colors.none;
    return this.#colors[category < CATEGORIES ? category : "others"];
  }
}
