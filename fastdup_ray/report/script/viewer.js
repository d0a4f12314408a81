// Two images of a card in a large view: side by side, blinking, or as their difference.
import { UNCHANGED } from "./affine.js";
import { ACCEPT, acceptSuggestion, decideImage, toggleDecision } from "./cards.js";
import { createComparison, describeSimilarity } from "./comparison.js";
import { getImage } from "./data.js";
import { Amplifier } from "./difference.js";
import { announce, createButton, createElement, isTyping } from "./dom.js";
import { escapeInvisible, formatPixels } from "./format.js";
import { createImage } from "./images.js";
import { fillStage } from "./stage.js";
import { createRelationBadge, findVerdict, hasVerdicts } from "./verdicts.js";
import { Zoom } from "./zoom.js";

const BLINK_INTERVAL = 700; // milliseconds
const MODES = { side: ["Side by side", "s"], blink: ["Blink", "b"], difference: ["Difference", "f"] };

const HINTS = {
  side: "",
  blink: "Both images in the same place. Click to swap them.",
  difference: "Black where the images are equal.",
};

const HINTS_ALIGNED = {
  side: "Both images at their places in one frame.",
  blink: "Both images in one frame, each at its place. Click to swap them.",
  difference: `Only what both images show, each at its place. ${HINTS.difference}`,
};
const HINT_OF_BOX = "The place of the largest difference is outlined.";

/** The dialog. getNext(card, by): the next or the previous card, or null. */
export class Viewer {
  #card = null;
  #right = 1;
  #left = 0;
  #mode = "side";
  #aligned = true;
  #timer = 0;

  constructor(decisions, getNext) {
    this.decisions = decisions;
    this.getNext = getNext;
    this.title = createElement("h2", { id: "viewer-title" });
    this.state = createElement("span", { class: "state", role: "status" });
    this.modes = Object.entries(MODES).map(([mode, [text, key]]) => {
      const choice = createButton(text, () => this.#show({ mode }), {}, key);
      choice.dataset.mode = mode;
      return choice;
    });
    this.align = createButton("Align", () => this.#toggleAligned(), { class: "align", hidden: !hasVerdicts }, "t");
    this.badge = createElement("span", { class: "relations" });
    this.similarity = createElement("span", { class: "fact" });
    this.stage = createElement("div", { class: "stage" });
    this.whole = createButton("", () => this.zoom.reset(), { class: "whole", "aria-label": "Whole image" });
    this.zoom = new Zoom(this.stage, (scale) => (this.whole.textContent = `${Math.round(100 * scale)} %`));
    this.amplifier = new Amplifier(() => this.dialog.open && this.#showHints());
    this.message = createElement("p", { class: "message", role: "status" });
    this.hint = createElement("p", { class: "note hint" });
    this.facts = createElement("div", { class: "comparison" });
    this.film = createElement("div", { class: "film", role: "group", "aria-label": "Images of this group" });
    this.choices = createElement("div", { class: "bar" });
    this.dialog = createElement(
      "dialog",
      { class: "viewer", "aria-labelledby": "viewer-title", onclose: () => this.#handleClose() },
      createElement(
        "header",
        { class: "bar" },
        this.title,
        this.similarity,
        this.badge,
        this.state,
        createElement(
          "div",
          { class: "modes zoom", role: "group", "aria-label": "Zoom" },
          createButton("−", () => this.zoom.zoomOut(), { "aria-label": "Zoom out", "aria-keyshortcuts": "-" }),
          this.whole,
          createButton("+", () => this.zoom.zoomIn(), { "aria-label": "Zoom in", "aria-keyshortcuts": "+" }),
        ),
        this.align,
        createElement("div", { class: "modes", role: "group", "aria-label": "How to compare" }, ...this.modes),
        createButton("Close", () => this.dialog.close(), {}, "Esc"),
      ),
      this.stage,
      createElement("div", { class: "bar hints" }, this.amplifier.element, this.hint),
      this.film,
      this.facts,
      this.message,
      this.choices,
    );
    this.dialog.addEventListener("keydown", (event) => this.#handleKey(event));
    decisions.addEventListener("change", () => this.dialog.open && this.#show({}));
    document.body.append(this.dialog);
  }

  get isOpen() {
    return this.dialog.open;
  }

  /** Show the first image of a card and the one at `position`. */
  open(card, position, getTitle, decidable) {
    this.decidable = decidable;
    this.getTitle = getTitle;
    this.focusBefore = document.activeElement;
    if (!this.dialog.open) this.dialog.showModal();
    this.#show({ card, left: 0, right: position || 1 });
    this.modes.find((choice) => choice.dataset.mode === this.#mode).focus();
  }

  #handleClose() {
    clearInterval(this.#timer);
    this.stage.replaceChildren();
    this.zoom.reset();
    this.focusBefore?.focus?.();
  }

  #toggleAligned() {
    if (!this.align.disabled) this.#show({ aligned: !this.#aligned });
  }

  #show(change) {
    const before = [this.#card, this.#left, this.#right, this.#mode, this.#aligned];
    const { card, left, right, mode, aligned } = {
      ...{ card: this.#card, left: this.#left, right: this.#right, mode: this.#mode, aligned: this.#aligned },
      ...change,
    };
    const after = [card, left, right, mode, aligned];
    const same = after.every((value, index) => value === before[index]);
    [this.#card, this.#left, this.#right, this.#mode, this.#aligned] = after;
    const pair = [left, right].map((position) => card.members[position]);
    this.title.textContent = `${this.getTitle(card)} · image ${right + 1} of ${card.members.length}`;
    const [first, second] = pair.map((member) => this.decisions.getAction(member) || "undecided");
    const decided = pair.some((member) => this.decisions.getAction(member));
    this.state.textContent = decided ? `left: ${first}, right: ${second}` : "";
    const verdict = findVerdict(...pair);
    const canAlign = Boolean(verdict?.matrix) && verdict.matrix.some((value, index) => value !== UNCHANGED[index]);
    const isAligned = canAlign && aligned;
    this.align.disabled = !canAlign;
    this.align.setAttribute("aria-pressed", String(isAligned));
    this.badge.replaceChildren(...[createRelationBadge(pair[1], pair[0])].filter(Boolean));
    this.similarity.textContent = describeSimilarity(card, left, right);
    this.hints = [
      (isAligned ? HINTS_ALIGNED : HINTS)[mode],
      verdict?.box && HINT_OF_BOX,
      !isAligned && mode !== "side" && describeSizes(pair),
    ];
    this.amplifier.element.hidden = mode !== "difference";
    if (![0, 1, 2].every((at) => before[at] === after[at])) this.zoom.reset();
    for (const choice of this.modes) choice.setAttribute("aria-pressed", String(choice.dataset.mode === mode));
    if (!same || !this.stage.children.length) this.#fillStage(pair, verdict, isAligned);
    this.#showHints();
    this.facts.replaceChildren(...createComparison(card, [left, right]).filter(Boolean));
    this.film.replaceChildren(
      ...(card.members.length > 2 ? card.members.map((_, position) => this.#createFrame(position)) : []),
    );
    this.choices.replaceChildren(...this.#createButtons(pair));
  }

  #fillStage(pair, verdict, aligned) {
    clearInterval(this.#timer);
    const blinks = this.#mode === "blink";
    const swap = () => layers[1].image.classList.toggle("away");
    const onclick = blinks ? swap : null;
    const { layers, ratio } = fillStage(this.stage, pair, { mode: this.#mode, verdict, aligned, onclick });
    this.zoom.apply();
    if (this.#mode === "difference") this.amplifier.measure(layers, ratio);
    if (!blinks) return;
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) this.#timer = setInterval(swap, BLINK_INTERVAL);
  }

  /** Show the hints, and differences as bright as they say. */
  #showHints() {
    const layers = this.#mode === "difference" && this.stage.querySelector(".layers");
    const brightness = layers && this.amplifier.apply(layers);
    this.hint.textContent = [...this.hints, brightness].filter(Boolean).join(" ");
  }

  #createFrame(position) {
    const member = this.#card.members[position];
    const frame = createButton("", () => this.#show({ right: position }), {
      "aria-label": escapeInvisible(getImage(member).base),
      "aria-current": String(position === this.#right),
      class: "frame",
    });
    frame.dataset.action = this.decisions.getAction(member);
    frame.append(createImage(member, { alt: false }));
    return frame;
  }

  #createButtons(pair) {
    const [card, decisions] = [this.#card, this.decisions];
    const noun = card.isPair ? "pair" : "group";
    const navigation = [
      createButton(`Previous ${noun}`, () => this.#go(-1), {}, "p"),
      createButton(`Next ${noun}`, () => this.#go(1), {}, "n"),
    ];
    if (!this.decidable) return navigation;
    const createChoice = (member, action, text, key, shortcut) =>
      createButton(
        text,
        () => toggleDecision(decisions, card, member, action),
        {
          "aria-keyshortcuts": shortcut,
          class: action,
          "aria-pressed": String(decisions.getAction(member) === action),
          disabled: action === "drop" && Boolean(getImage(member).fixed),
        },
        key,
      );
    return [
      createElement(
        "div",
        { class: "choices", role: "group", "aria-label": "Left image" },
        createChoice(pair[0], "keep", "Keep left", "Shift k", "Shift+K"),
        createChoice(pair[0], "drop", "Drop left", "Shift d", "Shift+D"),
      ),
      createElement(
        "div",
        { class: "choices", role: "group", "aria-label": "Right image" },
        createChoice(pair[1], "keep", "Keep right", "k", "k"),
        createChoice(pair[1], "drop", "Drop right", "d", "d"),
      ),
      !card.isPair && createButton(ACCEPT, () => this.#accept(), { class: "strong" }, "a"),
      createButton("Not duplicates", () => this.#markDistinct(), {}, "x"),
      !card.isPair && card.members.length > 2 && createButton("Least similar", () => this.#showLeastSimilar(), {}, "l"),
      ...navigation,
    ].filter(Boolean);
  }

  #accept() {
    if (!this.#card.isPair) announce(acceptSuggestion(this.decisions, this.#card));
  }

  #markDistinct() {
    announce(this.decisions.markNotDuplicates(this.#card));
  }

  #showLeastSimilar() {
    const [left, right] = this.#card.least_similar;
    this.#show({ left, right });
    announce("These are the two least similar images of the group.");
  }

  #go(by) {
    const next = this.getNext(this.#card, by);
    if (next) this.#show({ card: next, left: 0, right: 1 });
    else announce(by > 0 ? "This is the last one." : "This is the first one.");
  }

  /** Show another image on the right. */
  #turn(by) {
    const count = this.#card.members.length;
    let right = this.#right;
    do right = (right + by + count) % count;
    while (right === this.#left && count > 2);
    this.#show({ right, left: right === this.#left ? 0 : this.#left });
  }

  #handleKey(event) {
    if (isTyping(event)) return;
    const [left, right] = [this.#left, this.#right].map((position) => this.#card.members[position]);
    const decide = (action) => decideImage(this.decisions, this.#card, event.shiftKey ? left : right, action);
    const keys = {
      arrowleft: () => this.#turn(-1),
      arrowright: () => this.#turn(1),
      "+": () => this.zoom.zoomIn(),
      "=": () => this.zoom.zoomIn(),
      "-": () => this.zoom.zoomOut(),
      0: () => this.zoom.reset(),
      t: () => this.#toggleAligned(),
      p: () => this.#go(-1),
      n: () => this.#go(1),
      l: () => this.#card.least_similar && this.#showLeastSimilar(),
      ...Object.fromEntries(Object.entries(MODES).map(([mode, [, key]]) => [key, () => this.#show({ mode })])),
    };
    if (this.decidable) {
      Object.assign(keys, {
        k: () => decide("keep"),
        d: () => decide("drop"),
        a: () => this.#accept(),
        x: () => this.#markDistinct(),
        u: () => announce(this.decisions.clear(this.#card.members)),
        z: () => announce(this.decisions.undo()),
      });
    }
    const key = keys[event.key.toLowerCase()];
    if (!key) return;
    event.preventDefault();
    event.stopPropagation();
    key();
  }
}

/** That the right image is stretched, if it is. */
function describeSizes(pair) {
  const [left, right] = pair.map((number) => formatPixels(getImage(number)));
  return left === right ? "" : `The sizes differ (${left} and ${right}): the right image is scaled to the left one.`;
}
