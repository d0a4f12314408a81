// Zooming and panning of the stage: all sheets in step.

const MAX_SCALE = 16;
const STEP = 1.5;
const DRAG_DISTANCE = 4; // pixels; a shorter movement is a click
const CENTER = [0.5, 0.5];

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/** What part of its sheets a stage shows. onchange gets the scale. */
export class Zoom {
  #scale = 1;
  #place = [0, 0]; // of the top left corner of the whole image, in parts of its sheet
  #drag = null;

  constructor(stage, onchange) {
    this.stage = stage;
    this.onchange = onchange;
    stage.addEventListener("wheel", (event) => this.#handleWheel(event), { passive: false });
    stage.addEventListener("pointerdown", (event) => this.#startDrag(event));
    stage.addEventListener("pointermove", (event) => this.#moveDrag(event));
    stage.addEventListener("pointerup", () => this.#endDrag());
    stage.addEventListener("pointercancel", () => this.#endDrag());
    stage.addEventListener("click", (event) => this.#suppressClick(event), { capture: true });
  }

  /** Show the whole images. */
  reset() {
    this.#set(1, [0, 0]);
  }

  zoomIn() {
    this.#zoom(STEP, CENTER);
  }

  zoomOut() {
    this.#zoom(1 / STEP, CENTER);
  }

  /** Show the chosen part in the current sheets. */
  apply() {
    const [x, y] = this.#place;
    for (const view of this.stage.querySelectorAll(".view")) {
      view.style.transform = `translate(${100 * x}%, ${100 * y}%) scale(${this.#scale})`;
    }
    this.stage.style.setProperty("--scale", this.#scale);
    this.stage.classList.toggle("zoomed", this.#scale > 1);
    this.onchange(this.#scale);
  }

  #set(scale, place) {
    this.#scale = scale;
    this.#place = place.map((part) => clamp(part, 1 - scale, 0));
    this.apply();
  }

  /** point: that stays where it is, in parts of the sheet. */
  #zoom(factor, point) {
    const scale = clamp(this.#scale * factor, 1, MAX_SCALE);
    const place = point.map((part, axis) => part - ((part - this.#place[axis]) / this.#scale) * scale);
    this.#set(scale, place);
  }

  #handleWheel(event) {
    const sheet = event.target.closest(".sheet");
    if (!sheet) return;
    event.preventDefault();
    const { left, top, width, height } = sheet.getBoundingClientRect();
    const point = [(event.clientX - left) / width, (event.clientY - top) / height];
    this.#zoom(event.deltaY < 0 ? STEP : 1 / STEP, point);
  }

  #startDrag(event) {
    const sheet = event.target.closest(".sheet");
    if (!sheet || this.#scale === 1) return;
    const { width, height } = sheet.getBoundingClientRect();
    this.#drag = { start: [event.clientX, event.clientY], size: [width, height], place: this.#place, moved: false };
  }

  #moveDrag(event) {
    const drag = this.#drag;
    if (!drag || drag.ended) return;
    const by = [event.clientX - drag.start[0], event.clientY - drag.start[1]];
    if (!drag.moved && Math.hypot(...by) < DRAG_DISTANCE) return;
    if (!drag.moved) this.stage.setPointerCapture(event.pointerId);
    drag.moved = true;
    this.#set(
      this.#scale,
      drag.place.map((part, axis) => part + by[axis] / drag.size[axis]),
    );
  }

  #endDrag() {
    if (this.#drag) this.#drag.ended = true;
  }

  /** A click that ends a drag is none. */
  #suppressClick(event) {
    if (this.#drag?.moved) event.stopPropagation();
    this.#drag = null;
  }
}
