// What is to be kept and to be dropped: by picture, so that a picture in two lists has one fate.
import { numberOf, picture } from "./data.js";
import { DROP, KEEP, csvOf, jsonOf, keyOf, ownRow, readPlan } from "./plan.js";

const NOT_DUPLICATES = "not duplicates";
const STEPS_BACK = 100;

/**
 * A card is a set of pictures that one decides on together: {members, similarity, kind, reason}, members[0] is the
 * suggested keeper. Sends `change` after each change.
 */
export class Decisions extends EventTarget {
  #chosen = new Map(); // number -> {action, reason, card}, and of what was read {rule, keeper} as well
  #others = []; // rows of a plan on pictures that are not on this page
  #before = [];
  #cards = new Map(); // number -> the cards that it is on

  constructor(cards) {
    super();
    for (const card of cards) {
      for (const member of card.members) {
        if (!this.#cards.has(member)) this.#cards.set(member, []);
        this.#cards.get(member).push(card);
      }
    }
  }

  /** "keep", "drop", or "". */
  of(member) {
    return this.#chosen.get(member)?.action ?? "";
  }

  isDecided(card) {
    return card.members.some((member) => this.#chosen.has(member));
  }

  areDistinct(card) {
    return card.members.every((member) => this.#chosen.get(member)?.reason === NOT_DUPLICATES);
  }

  get totals() {
    const dropped = [...this.#chosen].filter(([, { action }]) => action === DROP);
    const elsewhere = this.#others.filter((row) => row.action === DROP);
    const size = (rows) => rows.reduce((sum, row) => sum + (Number(row.size) || 0), 0);
    return {
      kept: this.#chosen.size - dropped.length + this.#others.length - elsewhere.length,
      dropped: dropped.length + elsewhere.length,
      bytes: size(dropped.map(([number]) => picture(number))) + size(elsewhere),
      elsewhere: this.#others.length,
    };
  }

  /** Chooses for one picture of a card; the same again takes it back. Returns why it cannot be, or "". */
  choose(card, member, action) {
    if (this.of(member) === action) {
      this.#change(() => this.#chosen.delete(member));
      return "";
    }
    if (action === DROP) {
      const { fixed } = picture(member);
      if (fixed) return `It cannot be dropped: it is ${fixed}.`;
      const left = card.members.some((other) => other !== member && this.of(other) !== DROP);
      if (!left) return "One of them has to stay: keep another one first.";
    }
    this.#change(() => this.#chosen.set(member, { action, card }));
    return "";
  }

  /** Keeps the suggested keeper of each card, and what can only be kept; drops the rest. */
  accept(cards) {
    this.#change(() => {
      for (const card of cards) {
        card.members.forEach((member, place) => {
          const stays = place === 0 || picture(member).fixed || this.#keepsAnother(card, member);
          this.#chosen.set(member, { action: stays ? KEEP : DROP, card, reason: place === 0 ? card.reason : "" });
        });
      }
    });
  }

  /** Whether a picture was kept by name in another list: accepting a suggestion here does not turn that round. */
  #keepsAnother(card, member) {
    const chosen = this.#chosen.get(member);
    return chosen?.action === KEEP && chosen.card !== card && chosen.reason !== NOT_DUPLICATES;
  }

  areNotDuplicates(card) {
    this.#change(() => {
      for (const member of card.members) this.#chosen.set(member, { action: KEEP, card, reason: NOT_DUPLICATES });
    });
  }

  forget(card) {
    this.#change(() => card.members.forEach((member) => this.#chosen.delete(member)));
  }

  forgetAll() {
    this.#change(() => {
      this.#chosen.clear();
      this.#others = [];
    });
  }

  undo() {
    const before = this.#before.pop();
    if (!before) return false;
    [this.#chosen, this.#others] = before;
    this.dispatchEvent(new Event("change"));
    return true;
  }

  #change(act) {
    this.#before.push([new Map(this.#chosen), [...this.#others]]);
    if (this.#before.length > STEPS_BACK) this.#before.shift();
    act();
    this.dispatchEvent(new Event("change"));
  }

  // The plan: its columns, and what they may hold, are those of the command `plan`.

  /** All decisions as rows of a plan. A picture is dropped only beside a kept one that it is a copy of. */
  rows() {
    const rows = new Map();
    const first = 1 + this.#others.reduce((most, row) => Math.max(most, Number(row.group) || 0), -1);
    const groups = new Map();
    const groupOf = (card) => {
      if (!groups.has(card)) groups.set(card, first + groups.size);
      return groups.get(card);
    };
    const keep = (number, card, chosen) => rows.set(picture(number).key, ownRow(number, groupOf(card), chosen));
    for (const [number, chosen] of this.#chosen) {
      const card = chosen.card ?? this.#cards.get(number)?.[0] ?? { members: [number] };
      const keeper = chosen.action === DROP ? this.#keeperOf(number, card, chosen) : null;
      if (!keeper) {
        const lost =
          chosen.action === DROP ? { action: KEEP, reason: "no picture that it is a copy of is kept" } : chosen;
        keep(number, card, lost);
        continue;
      }
      const known = numberOf(keeper.key);
      if (known !== undefined && !this.#chosen.has(known)) {
        keep(known, card, { action: KEEP, reason: card.members[0] === known ? card.reason : "" });
      }
      rows.set(picture(number).key, ownRow(number, groupOf(card), chosen, keeper, card));
    }
    const kept = (key) => rows.get(key)?.action === KEEP || (numberOf(key) === undefined && this.#keepsElsewhere(key));
    for (const other of this.#others) {
      const key = keyOf(other, "keeper");
      if (other.action === DROP && numberOf(key) !== undefined && !rows.has(key)) {
        keep(numberOf(key), this.#cards.get(numberOf(key))?.[0] ?? { members: [numberOf(key)] }, { action: KEEP });
      }
      const orphan = other.action === DROP && !kept(key);
      const saved = { ...other, action: KEEP, keeper: "", similarity: null, reason: "its keeper is dropped" };
      delete saved.keeper_hex;
      rows.set(keyOf(other, "filename"), orphan ? saved : other);
    }
    return [...rows.values()];
  }

  #keepsElsewhere(key) {
    return this.#others.some((row) => keyOf(row, "filename") === key && row.action === KEEP);
  }

  /** The picture that a dropped one is a copy of: {key, name, hex}; of several the one with the same bytes. */
  #keeperOf(number, card, chosen) {
    const given = chosen.keeper && numberOf(chosen.keeper.key);
    if (chosen.keeper && (given === undefined ? this.#keepsElsewhere(chosen.keeper.key) : this.of(given) !== DROP)) {
      return chosen.keeper;
    }
    for (const { members } of [card, ...(this.#cards.get(number) ?? [])]) {
      const left = members.filter((member) => member !== number && this.of(member) !== DROP).map(picture);
      const { sha256 } = picture(number);
      if (left.length) return left.find((other) => sha256 && other.sha256 === sha256) ?? left[0];
    }
    return null;
  }

  toJson() {
    return jsonOf(this.rows());
  }

  /** The parts of a Blob. */
  toCsv() {
    return csvOf(this.rows());
  }

  /** Takes a plan in the place of all decisions. bytes: Uint8Array, JSON or CSV. Raises `Error` with one line. */
  read(bytes) {
    const rows = readPlan(bytes);
    const chosen = new Map();
    const others = [];
    for (const row of rows) {
      const number = numberOf(keyOf(row, "filename"));
      if (number === undefined) others.push(row);
      else {
        const keeper = row.keeper && { key: keyOf(row, "keeper"), name: row.keeper, hex: row.keeper_hex ?? "" };
        chosen.set(number, {
          action: row.action,
          rule: row.rule,
          reason: row.reason,
          keeper,
          likeness: row.similarity,
        });
      }
    }
    this.#change(() => {
      this.#chosen = chosen;
      this.#others = others;
    });
  }
}
