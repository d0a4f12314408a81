// Pairs below the threshold that show the same when seen in full detail: what they add to the lists.
import { data } from "./data.js";
import { createElement } from "./dom.js";

/**
 * Groups with confirmed pairs as links, too: those that no pair changes, and those that replace the others. Returns what
 * a list has with and without them: items, total, file and note.
 */
export function addConfirmedGroups({ total, items, file, confirmed }, note, noteConfirmed) {
  if (!confirmed?.total) return { items, note };
  const replaced = new Set(confirmed.replaced);
  const joined = [...items.filter((card) => !replaced.has(card.id)), ...confirmed.items];
  joined.sort((a, b) => b.count - a.count);
  const unconfirmed = { items, total, file, note };
  return {
    ...unconfirmed,
    unconfirmed,
    confirmed: {
      items: joined,
      total: total - replaced.size + confirmed.total,
      file: `${file} and ${data.lists.pairs.confirmed.file}`,
      note: noteConfirmed,
    },
  };
}

/** The same for pairs. makeCards: makes cards from the rows of a list. */
export function addConfirmedPairs({ total, items, file, confirmed }, note, makeCards) {
  const cards = makeCards(items);
  if (!confirmed?.total) return { items: cards, note };
  const unconfirmed = { items: cards, total, file, note };
  return {
    ...unconfirmed,
    unconfirmed,
    confirmed: {
      items: [...cards, ...makeCards(confirmed.items)],
      total: total + confirmed.total,
      file: `${file} and ${confirmed.file}`,
      note: `${note} Those below it are confirmed: both images show the same, at least in part.`,
    },
  };
}

/** The switch for confirmed pairs; null if they add nothing. onchange gets whether they are included. */
export function createConfirmedSwitch(lists, onchange) {
  if (!lists.some((list) => list.confirmed)) return null;
  const box = createElement("input", { type: "checkbox", id: "confirmed", onchange: () => onchange(box.checked) });
  const title = "Pairs that show the same when seen in full detail, at least in part, whatever their similarity";
  return createElement("label", { class: "confirmed", title }, box, " Include verified pairs of lower similarity");
}

/** Show or hide what confirmed pairs add to the lists. */
export function includeConfirmed(lists, included) {
  for (const list of lists) {
    if (list.confirmed) Object.assign(list, included ? list.confirmed : list.unconfirmed);
  }
}
