// Two images of a card in a large view: side by side, blinking, or as their difference.
import { UNCHANGED } from "./affine.js";
import { ACCEPT, decideImage } from "./cards.js";
import { data, getImage } from "./data.js";
import { announce, createButton, createElement, isTyping, isolateText } from "./dom.js";
import { EXACT_KINDS, escapeInvisible, formatBytes, formatPercent, formatPixels, formatValue } from "./format.js";
import { createImage } from "./images.js";
import { fillStage } from "./stage.js";
import { createRelationBadge, describeVerdict, findVerdict, hasVerdicts } from "./verdicts.js";

const BLINK_INTERVAL = 700; // milliseconds
const MODES = { side: ["Side by side", "s"], blink: ["Blink", "b"], difference: ["Difference", "f"] };

const HINTS = {
  side: "",
  blink: "Both images in the same place, stretched to the shape of the left one. Click to swap them.",
  difference: "Black where the images are equal. Differences are shown four times as bright.",
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
    this.stage = createElement("div", { class: "stage" });
    this.hint = createElement("p", { class: "note hint" });
    this.facts = createElement("table", { class: "compared" });
    this.film = createElement("div", { class: "film", role: "group", "aria-label": "Images of this group" });
    this.choices = createElement("div", { class: "bar" });
    this.dialog = createElement(
      "dialog",
      { class: "viewer", "aria-labelledby": "viewer-title", onclose: () => this.#handleClose() },
      createElement(
        "header",
        { class: "bar" },
        this.title,
        this.badge,
        this.state,
        this.align,
        createElement("div", { class: "modes", role: "group", "aria-label": "How to compare" }, ...this.modes),
        createButton("Close", () => this.dialog.close(), {}, "Esc"),
      ),
      this.stage,
      this.hint,
      this.film,
      this.facts,
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
    this.hint.textContent = [(isAligned ? HINTS_ALIGNED : HINTS)[mode], verdict?.box && HINT_OF_BOX]
      .filter(Boolean)
      .join(" ");
    for (const choice of this.modes) choice.setAttribute("aria-pressed", String(choice.dataset.mode === mode));
    if (!same || !this.stage.children.length) this.#fillStage(pair, verdict, isAligned);
    this.facts.replaceChildren(...this.#createRows(pair));
    this.film.replaceChildren(
      ...(card.members.length > 2 ? card.members.map((_, position) => this.#createFrame(position)) : []),
    );
    this.choices.replaceChildren(...this.#createButtons(pair));
  }

  #fillStage(pair, verdict, aligned) {
    clearInterval(this.#timer);
    const blinks = this.#mode === "blink";
    const swap = () => images[1].classList.toggle("away");
    const images = fillStage(this.stage, pair, { mode: this.#mode, verdict, aligned, onclick: blinks ? swap : null });
    if (!blinks) return;
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) this.#timer = setInterval(swap, BLINK_INTERVAL);
  }

  #createRows(pair) {
    const [card, images] = [this.#card, pair.map(getImage)];
    const similarities = [this.#left, this.#right].map((position) => {
      if (card.isPair) return formatValue(card.value);
      if (position === 0) return `keeper (${escapeInvisible(card.reason)})`;
      const exact = EXACT_KINDS[card.kind[position]];
      return `${formatPercent(card.similarity[position])}${exact ? `, ${exact}` : ""}`;
    });
    const rows = [
      ["Name", ...images.map((image) => escapeInvisible(image.base))],
      ["Folder", ...images.map((image) => escapeInvisible(image.folder))],
      ["Pixels", ...images.map(formatPixels)],
      ["Size", ...images.map((image) => formatBytes(image.size))],
      ["Format", ...images.map((image) => image.format || "unknown")],
      ["Modified", ...images.map((image) => image.date || "unknown")],
      [card.isPair ? data.measure : "Similarity to keeper", ...similarities],
      ...(hasVerdicts ? [["Relation", ...this.#describeRelation(pair)]] : []),
      ...(images.some((image) => image.label)
        ? [["Label", ...images.map((image) => escapeInvisible(image.label))]]
        : []),
    ];
    return rows.map(([head, first, second]) => {
      const differs = first !== second ? "differs" : null;
      const cells = [first, second].map((text) => createElement("td", { class: differs }, isolateText(text)));
      return createElement("tr", {}, createElement("th", { scope: "row" }, head), ...cells);
    });
  }

  /** What each image is to the other one, with the evidence. */
  #describeRelation([left, right]) {
    return [findVerdict(left, right), findVerdict(right, left)].map((verdict) =>
      verdict ? `${verdict.relation}: ${describeVerdict(verdict)}` : "not compared",
    );
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
    const createChoice = (member, action, text, key) =>
      createButton(
        text,
        () => decideImage(decisions, card, member, action),
        {
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
        createChoice(pair[0], "keep", "Keep left"),
        createChoice(pair[0], "drop", "Drop left"),
      ),
      createElement(
        "div",
        { class: "choices", role: "group", "aria-label": "Right image" },
        createChoice(pair[1], "keep", "Keep right", "k"),
        createChoice(pair[1], "drop", "Drop right", "d"),
      ),
      !card.isPair && createButton(ACCEPT, () => decisions.accept([card]), {}, "a"),
      createButton("Not duplicates", () => decisions.markNotDuplicates(card), {}, "x"),
      !card.isPair && card.members.length > 2 && createButton("Least similar", () => this.#showLeastSimilar(), {}, "l"),
      ...navigation,
    ].filter(Boolean);
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
    const right = this.#card.members[this.#right];
    const keys = {
      ArrowLeft: () => this.#turn(-1),
      ArrowRight: () => this.#turn(1),
      t: () => this.#toggleAligned(),
      p: () => this.#go(-1),
      n: () => this.#go(1),
      l: () => this.#card.least_similar && this.#showLeastSimilar(),
      ...Object.fromEntries(Object.entries(MODES).map(([mode, [, key]]) => [key, () => this.#show({ mode })])),
    };
    if (this.decidable) {
      Object.assign(keys, {
        k: () => decideImage(this.decisions, this.#card, right, "keep"),
        d: () => decideImage(this.decisions, this.#card, right, "drop"),
        a: () => !this.#card.isPair && this.decisions.accept([this.#card]),
        x: () => this.decisions.markNotDuplicates(this.#card),
        u: () => this.decisions.clear(this.#card),
        z: () => this.decisions.undo(),
      });
    }
    if (!keys[event.key]) return;
    event.preventDefault();
    event.stopPropagation();
    keys[event.key]();
  }
}
