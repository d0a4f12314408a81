// Decisions: keep or drop, one for each image, whatever number of lists it is in.
import { findNumber, getGroupNumber, getImage } from "./data.js";
import { explainKeeper, getSuggestedKeeper, isSuggestedKeeper } from "./keeper_rules.js";
import { escapeInvisible, formatCount } from "./format.js";
import { DROP, KEEP, formatPlanCsv, formatPlanJson, getKey, makeRow, parsePlan } from "./plan.js";
import { explainSuggestion } from "./suggestions.js";

const NOT_DUPLICATES = "not duplicates";
const MAX_UNDO = 100;

/**
 * The decisions on the images of some cards. A card is {members, similarity, kind, reason}; members[0] is the suggested
 * keeper. Dispatches `change` after each change.
 */
export class Decisions extends EventTarget {
  #decisions = new Map(); // number -> {action, reason, card}; of a loaded plan also {rule, keeper, similarity}
  #others = []; // rows of a loaded plan on images that are not on this page
  #history = [];
  #cards = new Map(); // number -> the cards that have it

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
  getAction(member) {
    return this.#decisions.get(member)?.action ?? "";
  }

  isDecided(card) {
    return card.members.some((member) => this.#decisions.has(member));
  }

  /** Whether all images of a card were marked as not being duplicates. */
  areDistinct(card) {
    return card.members.every((member) => this.#decisions.get(member)?.reason === NOT_DUPLICATES);
  }

  get totals() {
    const dropped = [...this.#decisions].filter(([, { action }]) => action === DROP);
    const elsewhere = this.#others.filter((row) => row.action === DROP);
    const sumSizes = (rows) => rows.reduce((sum, row) => sum + (Number(row.size) || 0), 0);
    return {
      kept: this.#decisions.size - dropped.length + this.#others.length - elsewhere.length,
      dropped: dropped.length + elsewhere.length,
      bytes: sumSizes(dropped.map(([number]) => getImage(number))) + sumSizes(elsewhere),
      elsewhere: this.#others.length,
    };
  }

  /** Keep or drop one image of a card. Returns what was done, or why it is refused. */
  decide(card, member, action) {
    const { base, fixed } = getImage(member);
    const name = escapeInvisible(base);
    if (action === DROP) {
      if (fixed) return `This image cannot be dropped: it is ${fixed}.`;
      const keepsOther = card.members.some((other) => other !== member && this.getAction(other) !== DROP);
      if (!keepsOther) return "Keep at least one image in each group.";
    }
    const title = `${action === DROP ? "drop" : "keep"} ${name}`;
    this.#change(title, () => this.#decisions.set(member, { action, card }));
    return `Decided to ${title}.`;
  }

  /** Clear the decisions on some images of a card. Returns what was done. */
  clear(members) {
    const decided = members.filter((member) => this.#decisions.has(member));
    if (!decided.length) return "No decision to clear.";
    const title = `clear ${formatCount(decided.length, "decision")}`;
    this.#change(title, () => decided.forEach((member) => this.#decisions.delete(member)));
    return `Cleared ${formatCount(decided.length, "decision")}.`;
  }

  /** Accept the suggestions of cards: drop what is suggested to be dropped, keep the rest. Returns how many are dropped. */
  accept(cards) {
    this.#change(`accept ${formatCount(cards.length, "suggestion")}`, () => {
      for (const card of cards) {
        card.members.forEach((member, position) => {
          const keeper = getSuggestedKeeper(card, position);
          const isOrphan = !card.members.includes(keeper) && this.getAction(keeper) === DROP;
          const keep = keeper < 0 || isOrphan || this.#isKeptElsewhere(card, member);
          const kept = card.keepers && !isSuggestedKeeper(card, position) ? explainSuggestion(card, position) : "";
          const reason = explainKeeper(card, position) || kept;
          this.#decisions.set(member, { action: keep ? KEEP : DROP, card, reason: keep ? reason : "" });
        });
      }
    });
    const members = new Set(cards.flatMap((card) => card.members));
    return [...members].filter((member) => this.getAction(member) === DROP).length;
  }

  /** Whether the user kept an image on another card; a suggestion does not overrule that. */
  #isKeptElsewhere(card, member) {
    const decision = this.#decisions.get(member);
    return decision?.action === KEEP && decision.card !== card && decision.reason !== NOT_DUPLICATES;
  }

  /** Keep all images of a card. Returns what was done. */
  markNotDuplicates(card) {
    this.#change("mark as not duplicates", () => {
      for (const member of card.members) this.#decisions.set(member, { action: KEEP, card, reason: NOT_DUPLICATES });
    });
    return `Marked as not duplicates: ${formatCount(card.members.length, "image")} to keep.`;
  }

  clearAll() {
    this.#change("clear all decisions", () => {
      this.#decisions.clear();
      this.#others = [];
    });
  }

  /** Make what was done so far final. */
  forgetHistory() {
    this.#history = [];
  }

  get canUndo() {
    return this.#history.length > 0;
  }

  /** Undo the last change. Returns what was undone. */
  undo() {
    if (!this.canUndo) return "Nothing to undo.";
    const { title, before } = this.#history.pop();
    [this.#decisions, this.#others] = before;
    this.dispatchEvent(new Event("change"));
    return `Undone: ${title}.`;
  }

  #change(title, apply) {
    this.#history.push({ title, before: [new Map(this.#decisions), [...this.#others]] });
    if (this.#history.length > MAX_UNDO) this.#history.shift();
    apply();
    this.dispatchEvent(new Event("change"));
  }

  // Columns and values of a plan are those of the command `plan`.

  /** All decisions as rows of a plan. An image is dropped only if one that it duplicates is kept. */
  rows() {
    const rows = new Map();
    const firstGroup = 1 + this.#others.reduce((last, row) => Math.max(last, Number(row.group) || 0), -1);
    const groups = new Map();
    const getGroup = (card) => {
      if (!groups.has(card)) groups.set(card, getGroupNumber(card.members) ?? firstGroup + groups.size);
      return groups.get(card);
    };
    const keep = (number, card, decision) => rows.set(getImage(number).key, makeRow(number, getGroup(card), decision));
    for (const [number, decision] of this.#decisions) {
      const card = decision.card ?? this.#cards.get(number)?.[0] ?? { members: [number] };
      const keeper = decision.action === DROP ? this.#findKeeper(number, card, decision) : null;
      if (!keeper) {
        const orphan = { action: KEEP, reason: "no image that it duplicates is kept" };
        keep(number, card, decision.action === DROP ? orphan : decision);
        continue;
      }
      const keeperNumber = findNumber(keeper.key);
      if (keeperNumber !== undefined && !this.#decisions.has(keeperNumber)) {
        const reason = explainKeeper(card, card.members.indexOf(keeperNumber));
        keep(keeperNumber, card, { action: KEEP, reason });
      }
      rows.set(getImage(number).key, makeRow(number, getGroup(card), decision, keeper, card));
    }
    const isKept = (key) => rows.get(key)?.action === KEEP || (findNumber(key) === undefined && this.#isOtherKept(key));
    for (const other of this.#others) {
      const key = getKey(other, "keeper");
      const number = findNumber(key);
      if (other.action === DROP && number !== undefined && !rows.has(key)) {
        keep(number, this.#cards.get(number)?.[0] ?? { members: [number] }, { action: KEEP });
      }
      const isOrphan = other.action === DROP && !isKept(key);
      const orphan = { ...other, action: KEEP, keeper: "", similarity: null, reason: "its keeper is dropped" };
      delete orphan.keeper_hex;
      rows.set(getKey(other, "filename"), isOrphan ? orphan : other);
    }
    return [...rows.values()];
  }

  #isOtherKept(key) {
    return this.#others.some((row) => getKey(row, "filename") === key && row.action === KEEP);
  }

  /** The keeper of a dropped image: {key, name, hex}. That of a loaded plan comes first, then one with the same bytes. */
  #findKeeper(number, card, { keeper }) {
    if (keeper) {
      const keeperNumber = findNumber(keeper.key);
      const isKept = keeperNumber === undefined ? this.#isOtherKept(keeper.key) : this.getAction(keeperNumber) !== DROP;
      if (isKept) return keeper;
    }
    const position = card.members.indexOf(number);
    const suggested = card.keepers && position >= 0 ? getSuggestedKeeper(card, position) : -1;
    if (suggested >= 0 && this.getAction(suggested) !== DROP) return getImage(suggested);
    for (const { members } of [card, ...(this.#cards.get(number) ?? [])]) {
      const others = members.filter((member) => member !== number && this.getAction(member) !== DROP).map(getImage);
      const { sha256 } = getImage(number);
      if (others.length) return others.find((other) => sha256 && other.sha256 === sha256) ?? others[0];
    }
    return null;
  }

  toJson() {
    return formatPlanJson(this.rows());
  }

  /** The parts of a Blob. */
  toCsv() {
    return formatPlanCsv(this.rows());
  }

  /** Replace all decisions by those of a plan. bytes: Uint8Array, JSON or CSV. Throws an Error with one line. */
  read(bytes) {
    const rows = parsePlan(bytes);
    const decisions = new Map();
    const others = [];
    for (const row of rows) {
      const number = findNumber(getKey(row, "filename"));
      if (number === undefined) others.push(row);
      else {
        const keeper = row.keeper && { key: getKey(row, "keeper"), name: row.keeper, hex: row.keeper_hex ?? "" };
        const { action, rule, reason, similarity } = row;
        decisions.set(number, { action, rule, reason, keeper, similarity });
      }
    }
    this.#change("load a plan", () => {
      this.#decisions = decisions;
      this.#others = others;
    });
  }
}
