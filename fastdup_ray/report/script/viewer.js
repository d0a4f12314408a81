// Two pictures of a card, large: side by side, blinking over one another, or their difference.
import { data, picture } from "./data.js";
import { button, foreign, isTyping, make, tell } from "./elements.js";
import { choose } from "./cards.js";
import { image, proportion } from "./pictures.js";
import { EXACT, bytes, pixels, value, visible } from "./words.js";

const BLINK = 700; // milliseconds
const MODES = { side: ["Side by side", "s"], blink: ["Blink", "b"], difference: ["Difference", "f"] };

const HINTS = {
  side: "",
  blink: "Laid over one another, stretched to the proportions of the left one; a click swaps them.",
  difference: "Black where they are the same; what differs is shown four times as bright.",
};

/** The dialog. step(card, by): the card before or after one, or null. */
export class Viewer {
  #card = null;
  #place = 1;
  #against = 0;
  #mode = "side";
  #timer = 0;

  constructor(decisions, step) {
    this.decisions = decisions;
    this.step = step;
    this.title = make("h2", { id: "viewer-title" });
    this.state = make("span", { class: "state", role: "status" });
    this.modes = Object.entries(MODES).map(([mode, [words, key]]) => {
      const made = button(words, () => this.#show({ mode }), {}, key);
      made.dataset.mode = mode;
      return made;
    });
    this.stage = make("div", { class: "stage" });
    this.hint = make("p", { class: "note hint" });
    this.told = make("table", { class: "compared" });
    this.film = make("div", { class: "film", role: "group", "aria-label": "Pictures of this group" });
    this.choices = make("div", { class: "bar" });
    this.dialog = make(
      "dialog",
      { class: "viewer", "aria-labelledby": "viewer-title", onclose: () => this.#closed() },
      make(
        "header",
        { class: "bar" },
        this.title,
        this.state,
        make("div", { class: "modes", role: "group", "aria-label": "How to compare" }, ...this.modes),
        button("Close", () => this.dialog.close(), {}, "Esc"),
      ),
      this.stage,
      this.hint,
      this.film,
      this.told,
      this.choices,
    );
    this.dialog.addEventListener("keydown", (event) => this.#key(event));
    decisions.addEventListener("change", () => this.dialog.open && this.#show({}));
    document.body.append(this.dialog);
  }

  get isOpen() {
    return this.dialog.open;
  }

  open(card, place, title, decidable) {
    this.decidable = decidable;
    this.titled = title;
    this.from = document.activeElement;
    if (!this.dialog.open) this.dialog.showModal();
    this.#show({ card, place: place || 1, against: 0 });
    this.modes.find((made) => made.dataset.mode === this.#mode).focus();
  }

  #closed() {
    clearInterval(this.#timer);
    this.stage.replaceChildren();
    this.from?.focus?.();
  }

  #show({ card = this.#card, place = this.#place, against = this.#against, mode = this.#mode }) {
    const same = card === this.#card && place === this.#place && against === this.#against && mode === this.#mode;
    [this.#card, this.#place, this.#against, this.#mode] = [card, place, against, mode];
    const pair = [against, place].map((at) => card.members[at]);
    this.title.textContent = `${this.titled(card)} · picture ${place + 1} of ${card.members.length}`;
    const [left, right] = pair.map((member) => this.decisions.of(member));
    this.state.textContent = left || right ? `left: ${left || "undecided"}, right: ${right || "undecided"}` : "";
    this.hint.textContent = HINTS[mode];
    for (const made of this.modes) made.setAttribute("aria-pressed", String(made.dataset.mode === mode));
    if (!same || !this.stage.children.length) this.#stage(pair);
    this.told.replaceChildren(...this.#rows(pair));
    this.film.replaceChildren(...(card.members.length > 2 ? card.members.map((_, at) => this.#frame(at)) : []));
    this.choices.replaceChildren(...this.#buttons(pair));
  }

  #stage(pair) {
    clearInterval(this.#timer);
    const images = pair.map((member) => image(member, { whole: true }));
    this.stage.dataset.mode = this.#mode;
    this.stage.style.setProperty("--ratio", proportion(pair[0]));
    const swap = () => images[1].classList.toggle("away");
    const blinks = this.#mode === "blink";
    this.stage.replaceChildren(make("div", { class: "layers", onclick: blinks ? swap : null }, ...images));
    if (!blinks) return;
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) this.#timer = setInterval(swap, BLINK);
  }

  #rows(pair) {
    const [card, both] = [this.#card, pair.map(picture)];
    const alike = [this.#against, this.#place].map((at) => {
      if (card.isPair) return value(card.value);
      if (at === 0) return `the keeper: ${visible(card.reason)}`;
      return `${value(card.similarity[at])}${card.kind[at] ? `, ${EXACT[card.kind[at]]}` : ""}`;
    });
    const rows = [
      ["Name", ...both.map((shown) => visible(shown.base))],
      ["Folder", ...both.map((shown) => visible(shown.folder))],
      ["Pixels", ...both.map(pixels)],
      ["Bytes", ...both.map((shown) => bytes(shown.size))],
      ["Format", ...both.map((shown) => shown.format || "unknown")],
      ["Changed", ...both.map((shown) => shown.date || "unknown")],
      [card.isPair ? data.measure : "Similarity to the keeper", ...alike],
      ...(both.some((shown) => shown.label) ? [["Label", ...both.map((shown) => visible(shown.label))]] : []),
    ];
    return rows.map(([head, first, second]) => {
      const differs = first !== second ? "differs" : null;
      const cells = [first, second].map((text) => make("td", { class: differs }, foreign(text)));
      return make("tr", {}, make("th", { scope: "row" }, head), ...cells);
    });
  }

  #frame(at) {
    const member = this.#card.members[at];
    const made = button("", () => this.#show({ place: at }), {
      "aria-label": visible(picture(member).base),
      "aria-current": String(at === this.#place),
      class: "frame",
    });
    made.dataset.action = this.decisions.of(member);
    made.append(image(member, { alt: false }));
    return made;
  }

  #buttons(pair) {
    const [card, decisions] = [this.#card, this.decisions];
    const go = [
      button("Previous group", () => this.#go(-1), {}, "p"),
      button("Next group", () => this.#go(1), {}, "n"),
    ];
    if (!this.decidable) return go;
    const choice = (member, action, words, key) =>
      button(
        words,
        () => choose(decisions, card, member, action),
        {
          class: action,
          "aria-pressed": String(decisions.of(member) === action),
          disabled: action === "drop" && Boolean(picture(member).fixed),
        },
        key,
      );
    return [
      make(
        "div",
        { class: "choices", role: "group", "aria-label": "Left picture" },
        choice(pair[0], "keep", "Keep left"),
        choice(pair[0], "drop", "Drop left"),
      ),
      make(
        "div",
        { class: "choices", role: "group", "aria-label": "Right picture" },
        choice(pair[1], "keep", "Keep right", "k"),
        choice(pair[1], "drop", "Drop right", "d"),
      ),
      !card.isPair && button("Keep first, drop rest", () => decisions.accept([card]), {}, "a"),
      button("Not duplicates", () => decisions.areNotDuplicates(card), {}, "x"),
      !card.isPair && card.members.length > 2 && button("Least alike", () => this.#strangers(), {}, "l"),
      ...go,
    ].filter(Boolean);
  }

  #strangers() {
    const [against, place] = this.#card.strangers;
    this.#show({ against, place });
    tell("The two least alike of this group.");
  }

  #go(by) {
    const next = this.step(this.#card, by);
    if (next) this.#show({ card: next, place: 1, against: 0 });
    else tell("There is no further group.");
  }

  #turn(by) {
    const many = this.#card.members.length;
    let place = this.#place;
    do place = (place + by + many) % many;
    while (place === this.#against && many > 2);
    this.#show({ place, against: place === this.#against ? 0 : this.#against });
  }

  #key(event) {
    if (isTyping(event)) return;
    const right = this.#card.members[this.#place];
    const keys = {
      ArrowLeft: () => this.#turn(-1),
      ArrowRight: () => this.#turn(1),
      p: () => this.#go(-1),
      n: () => this.#go(1),
      l: () => this.#card.strangers && this.#strangers(),
      ...Object.fromEntries(Object.entries(MODES).map(([mode, [, key]]) => [key, () => this.#show({ mode })])),
    };
    if (this.decidable) {
      Object.assign(keys, {
        k: () => choose(this.decisions, this.#card, right, "keep"),
        d: () => choose(this.decisions, this.#card, right, "drop"),
        a: () => !this.#card.isPair && this.decisions.accept([this.#card]),
        x: () => this.decisions.areNotDuplicates(this.#card),
        u: () => this.decisions.forget(this.#card),
        z: () => this.decisions.undo(),
      });
    }
    if (!keys[event.key]) return;
    event.preventDefault();
    event.stopPropagation();
    keys[event.key]();
  }
}
