// What is to be kept and to be dropped: by picture, so that a picture in two lists has one fate.
import { data, numberOf, picture } from "./data.js";
import { EXACT } from "./words.js";
import { formatCsv, parseCsv } from "./csv.js";

const KEEP = "keep";
const DROP = "drop";
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
    const keep = (number, card, chosen) => rows.set(picture(number).key, row(number, groupOf(card), chosen));
    for (const [number, chosen] of this.#chosen) {
      const card = chosen.card ?? this.#cards.get(number)?.[0] ?? { members: [number] };
      const keeper = chosen.action === DROP ? this.#keeperOf(number, card, chosen) : null;
      if (!keeper) {
        const lost = chosen.action === DROP ? { action: KEEP, reason: "no picture that it is a copy of is kept" } : chosen;
        keep(number, card, lost);
        continue;
      }
      const known = numberOf(keeper.key);
      if (known !== undefined && !this.#chosen.has(known)) {
        keep(known, card, { action: KEEP, reason: card.members[0] === known ? card.reason : "" });
      }
      rows.set(picture(number).key, row(number, groupOf(card), chosen, keeper, card));
    }
    const kept = (key) => rows.get(key)?.action === KEEP || (numberOf(key) === undefined && this.#keepsElsewhere(key));
    for (const other of this.#others) {
      const key = other.keeper_hex || other.keeper;
      if (other.action === DROP && numberOf(key) !== undefined && !rows.has(key)) {
        keep(numberOf(key), this.#cards.get(numberOf(key))?.[0] ?? { members: [numberOf(key)] }, { action: KEEP });
      }
      const orphan = other.action === DROP && !kept(key);
      const saved = { ...other, action: KEEP, keeper: "", similarity: null, reason: "its keeper is dropped" };
      delete saved.keeper_hex;
      rows.set(other.filename_hex || other.filename, orphan ? saved : other);
    }
    return [...rows.values()];
  }

  #keepsElsewhere(key) {
    return this.#others.some((row) => (row.filename_hex || row.filename) === key && row.action === KEEP);
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
    return JSON.stringify({ format: data.plan.format, pictures: this.rows() }, null, 0) + "\n";
  }

  /** The parts of a Blob. */
  toCsv() {
    const cells = (row) => data.plan.columns.map((column) => cell(row, column));
    const header = data.plan.columns.map((text) => ({ text, hex: "" }));
    return formatCsv([header, ...this.rows().map(cells)]);
  }

  /** Takes a plan in the place of all decisions. bytes: Uint8Array, JSON or CSV. Raises `Error` with one line. */
  read(bytes) {
    const rows = bytes[0] === 0x7b ? rowsOfJson(bytes) : rowsOfCsv(bytes);
    const chosen = new Map();
    const others = [];
    for (const row of rows) {
      const number = numberOf(row.filename_hex || row.filename);
      if (number === undefined) others.push(row);
      else {
        const keeper = row.keeper && { key: row.keeper_hex || row.keeper, name: row.keeper, hex: row.keeper_hex ?? "" };
        chosen.set(number, { action: row.action, rule: row.rule, reason: row.reason, keeper, likeness: row.similarity });
      }
    }
    this.#change(() => {
      this.#chosen = chosen;
      this.#others = others;
    });
  }
}

/** A row of the plan on a picture of this page. */
function row(number, group, chosen, keeper = null, card = null) {
  const own = picture(number);
  const given = keeper !== null && keeper === chosen.keeper;
  const made = {
    filename: own.name,
    action: chosen.action,
    group,
    keeper: keeper ? keeper.name : "",
    similarity: keeper ? (given ? chosen.likeness : likeness(own, keeper, card)) : null,
    rule: chosen.rule ?? data.plan.by_hand,
    reason: chosen.reason || (keeper ? `${copyOf(own, keeper, card)} its keeper` : "the one that is kept"),
    size: own.size,
    sha256: own.sha256,
    etag: own.etag,
    reference: own.reference,
  };
  if (own.hex) made.filename_hex = own.hex;
  if (keeper?.hex) made.keeper_hex = keeper.hex;
  return made;
}

function copyOf(own, keeper, card) {
  if (own.sha256 && own.sha256 === keeper.sha256) return `${EXACT.bytes} as`;
  const place = card.members.indexOf(own.number);
  const exact = card.members[0] === keeper.number && card.kind?.[place];
  return exact ? `${EXACT[exact]} as` : "near copy of";
}

/** Their cosine, as far as the page knows it: each picture's with the suggested keeper of its card. */
function likeness(own, keeper, card) {
  if (own.sha256 && own.sha256 === keeper.sha256) return 1;
  const [a, b] = [own.number, keeper.number].map((number) => card.members.indexOf(number));
  if (!data.cosine && card.isPair) return null;
  if (b === 0) return card.similarity?.[a] ?? null;
  return a === 0 ? (card.similarity?.[b] ?? null) : null;
}

function cell(row, column) {
  const content = row[column];
  const text = content === null ? "" : typeof content === "boolean" ? String(Number(content)) : String(content);
  return row[`${column}_hex`] ? { text: "", hex: row[`${column}_hex`] } : { text, hex: "" };
}

function rowsOfJson(bytes) {
  let content;
  try {
    content = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw new Error(`This is no plan: ${error.message}`);
  }
  if (content.format !== data.plan.format || !Array.isArray(content.pictures)) {
    throw new Error(`This is no plan: its format is not ${data.plan.format}.`);
  }
  return content.pictures.map((row) => checked({ ...row }));
}

function rowsOfCsv(bytes) {
  const [header = [], ...rows] = parseCsv(bytes);
  const names = header.map(({ text }) => text);
  const missing = data.plan.columns.find((column) => !names.includes(column));
  if (missing) throw new Error(`This is no plan: the column ${missing} is missing.`);
  return rows.map((cells) => {
    const made = {};
    for (const column of data.plan.columns) {
      const { text, hex } = cells[names.indexOf(column)] ?? { text: "", hex: "" };
      made[column] = hex ? printable(hex) : text;
      if (hex) made[`${column}_hex`] = hex;
    }
    for (const column of ["similarity", "size"]) made[column] = made[column] === "" ? null : Number(made[column]);
    made.group = Number(made.group);
    made.reference = made.reference === "1";
    return checked(made);
  });
}

/** A name that is not UTF-8, for people: other bytes as \xNN. */
function printable(hex) {
  return hex.replace(/../g, (pair) => {
    const byte = parseInt(pair, 16);
    return byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : `\\x${pair}`;
  });
}

function checked(row) {
  const action = String(row.action ?? "").trim().toLowerCase();
  if (typeof row.filename !== "string" || ![KEEP, DROP].includes(action)) {
    throw new Error(`This is no plan: ${KEEP} or ${DROP} is missing of ${JSON.stringify(row.filename ?? null)}.`);
  }
  return { ...row, action };
}
