// Decisions: keep or drop, one for each image, whatever number of lists it is in.
import { data, findNumber, getGroupNumber, getImage } from "./data.js";
import { escapeInvisible, formatCount } from "./format.js";
import { explainKeeper, getSuggestedKeeper, getSuggestion } from "./keeper_rules.js";
import { DROP, KEEP, describeEvidence, formatPlanCsv, formatPlanJson, getKey, makeRow, parsePlan } from "./plan.js";
import { explainSuggestion } from "./suggestions.js";

const NOT_DUPLICATES = "not duplicates";
const MAX_UNDO = 100;

/**
 * The decisions on the images of some cards. A card is {members, similarity, kind, reason}; members[0] is the suggested
 * keeper. Dispatches `change` after each change.
 */
export class Decisions extends EventTarget {
  // number -> {action, reason, card}; of a suggestion or a loaded plan also rule, keeper, similarity and group
  #decisions = new Map();
  #others = []; // rows of a loaded plan on images that are not on this page
  #history = [];
  #rows = null; // of the plan, until the next change
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

  hasDecision(card) {
    return card.members.some((member) => this.#decisions.has(member));
  }

  /** Whether there is a decision on a card, and none is missing on an image that is suggested to be dropped. */
  isDecided(card) {
    const isMissing = (member, position) => !this.#decisions.has(member) && getSuggestedKeeper(card, position) >= 0;
    return this.hasDecision(card) && !card.members.some(isMissing);
  }

  /** Whether all images of a card were marked as not being duplicates. */
  areDistinct(card) {
    return card.members.every((member) => this.#decisions.get(member)?.reason === NOT_DUPLICATES);
  }

  /** What the plan that is saved says: numbers of images, and bytes of those to drop. */
  get totals() {
    const rows = this.rows();
    const dropped = rows.filter((row) => row.action === DROP);
    return {
      kept: rows.length - dropped.length,
      dropped: dropped.length,
      bytes: dropped.reduce((sum, row) => sum + (Number(row.size) || 0), 0),
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
    const { rule, reason } = getImage(member).suggestion ?? {};
    const isHeld = action === DROP && rule === data.plan.sidecar;
    return `Decided to ${title}.${isHeld ? ` apply leaves it, unless you add --any-sidecars: ${reason}.` : ""}`;
  }

  /** Clear the decisions on some images of a card. Returns what was done. */
  clear(members) {
    const decided = members.filter((member) => this.#decisions.has(member));
    if (!decided.length) return "No decision to clear.";
    const title = `clear ${formatCount(decided.length, "decision")}`;
    this.#change(title, () => decided.forEach((member) => this.#decisions.delete(member)));
    return `Cleared ${formatCount(decided.length, "decision")}.`;
  }

  /** Accept the suggestions for cards; overrule: also for images with a decision. What is not dropped is kept. */
  accept(cards, { overrule }) {
    this.#change(`accept ${formatCount(cards.length, "suggestion")}`, () => {
      for (const card of cards) {
        card.members.forEach((member, position) => {
          if (overrule || !this.#decisions.has(member)) this.#acceptOne(card, member, position);
        });
      }
    });
  }

  #acceptOne(card, member, position) {
    if (this.#isKeptElsewhere(card, member)) return;
    const suggestion = getSuggestion(card, position);
    const decide = (decision) => this.#decisions.set(member, { ...suggestion, ...decision, card });
    if (!(suggestion?.keeper >= 0)) {
      const reason = suggestion?.reason || explainKeeper(card, position) || explainSuggestion(card, position);
      decide({ action: KEEP, keeper: null, reason });
    } else if (this.getAction(suggestion.keeper) === DROP) {
      this.#decisions.set(member, { action: KEEP, reason: "its keeper is dropped", card });
    } else decide({ action: DROP, keeper: getImage(suggestion.keeper) });
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
    this.#announceChange();
    return `Undone: ${title}.`;
  }

  #change(title, apply) {
    this.#history.push({ title, before: [new Map(this.#decisions), [...this.#others]] });
    if (this.#history.length > MAX_UNDO) this.#history.shift();
    apply();
    this.#announceChange();
  }

  #announceChange() {
    this.#rows = null;
    this.dispatchEvent(new Event("change"));
  }

  // Columns and values of a plan are those of the command `plan`.

  /** All decisions as rows of a plan. An image is dropped only if one that it duplicates is kept. */
  rows() {
    this.#rows ??= this.#makeRows();
    return this.#rows;
  }

  #makeRows() {
    const rows = new Map();
    const getGroup = this.#createNumbering();
    const keep = (number, card, decision) =>
      rows.set(getImage(number).key, makeRow(number, KEEP, getGroup(number, card, decision), decision));
    for (const [number, decision] of this.#decisions) {
      const card = decision.card ?? this.#getCard(number);
      if (decision.action === KEEP) {
        keep(number, card, decision);
        continue;
      }
      const keeper = this.#findKeeper(number, card, decision);
      if (!keeper) {
        keep(number, card, { reason: "no image that it duplicates is kept" });
        continue;
      }
      if (keeper.number !== undefined && !this.#decisions.has(keeper.number)) {
        keep(keeper.number, card, keepAsSuggested(keeper.number, card));
      }
      const isOwn = keeper.key === decision.keeper?.key;
      const evidence = isOwn ? decision : describeEvidence(card, number, keeper);
      const group = isOwn ? getGroup(number, card, decision) : getGroup(keeper.number ?? number, card);
      rows.set(getImage(number).key, makeRow(number, DROP, group, evidence, keeper));
    }
    this.#addOthers(rows, keep);
    return [...rows.values()];
  }

  /** Add the rows of images that are not on this page. */
  #addOthers(rows, keep) {
    const isKept = (key) => rows.get(key)?.action === KEEP || (findNumber(key) === undefined && this.#isOtherKept(key));
    for (const other of this.#others) {
      const key = getKey(other, "keeper");
      const number = findNumber(key);
      if (other.action === DROP && number !== undefined && !rows.has(key)) {
        keep(number, this.#getCard(number), keepAsSuggested(number, this.#getCard(number)));
      }
      const isOrphan = other.action === DROP && !isKept(key);
      const orphan = { ...other, action: KEEP, keeper: "", similarity: null, reason: "its keeper is dropped" };
      delete orphan.keeper_hex;
      rows.set(getKey(other, "filename"), isOrphan ? orphan : other);
    }
  }

  /** A function that gives an image on a card the number of its group: of its decision or suggestion, else of the card. */
  #createNumbering() {
    const firstGroup = 1 + this.#others.reduce((last, row) => Math.max(last, Number(row.group) || 0), -1);
    const groups = new Map();
    return (number, card, decision = null) => {
      const group = decision?.group ?? getImage(number).suggestion?.group;
      if (group !== undefined) return group;
      if (!groups.has(card)) groups.set(card, getGroupNumber(card.members) ?? firstGroup + groups.size);
      return groups.get(card);
    };
  }

  #getCard(number) {
    return this.#cards.get(number)?.[0] ?? { members: [number] };
  }

  #isOtherKept(key) {
    return this.#others.some((row) => getKey(row, "filename") === key && row.action === KEEP);
  }

  /** The keeper of a dropped image: that of its decision if it is kept, else the suggested one, else one with the same bytes. */
  #findKeeper(number, card, { keeper }) {
    if (keeper) {
      const isKept = keeper.number === undefined ? this.#isOtherKept(keeper.key) : this.getAction(keeper.number) !== DROP;
      if (isKept) return keeper;
    }
    const suggested = getImage(number).suggestion?.keeper ?? -1;
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

  /**
   * Replace all decisions by those of a plan. bytes: Uint8Array, JSON or CSV. merge: decisions that were made before stay.
   * Throws an Error with one line.
   */
  read(bytes, { merge = false } = {}) {
    const rows = parsePlan(bytes);
    const decisions = new Map();
    const others = [];
    for (const row of rows) {
      const number = findNumber(getKey(row, "filename"));
      if (number === undefined) others.push(row);
      else {
        const { action, rule, reason, similarity, group } = row;
        decisions.set(number, { action, rule, reason, similarity, group, keeper: readKeeper(row) });
      }
    }
    this.#change("load a plan", () => {
      this.#decisions = new Map([...decisions, ...(merge ? this.#decisions : [])]);
      this.#others = others;
    });
  }
}

/** The keeper that a row of a plan names; null if it names none. */
function readKeeper(row) {
  if (!row.keeper) return null;
  const key = getKey(row, "keeper");
  return { key, name: row.keeper, hex: row.keeper_hex ?? "", number: findNumber(key) };
}

/** Why an image without a decision is kept for others: as the plan of the run has it, if that keeps it. */
function keepAsSuggested(number, card) {
  const position = card.members.indexOf(number);
  const suggestion = position >= 0 ? getSuggestion(card, position) : getImage(number).suggestion;
  if (suggestion?.keeper === -1) return suggestion;
  return { reason: position >= 0 ? explainKeeper(card, position) : "" };
}
