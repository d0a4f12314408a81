// The shortcuts of the page, outside of dialogs.
import { acceptSuggestion, decideImage } from "./cards.js";
import { announce, isTyping } from "./dom.js";

/** Listen to keys. panel: with the cards. actions: what the keys without a card do, by key. open compares a card. */
export function listenToKeys(panel, decisions, { actions, open, turnPage, isBlocked, isDecidable }) {
  document.addEventListener("keydown", (event) => {
    if (isBlocked() || isTyping(event)) return;
    const element = document.activeElement?.closest(".card");
    const keys = {
      n: () => moveFocus(panel, element, 1, turnPage),
      p: () => moveFocus(panel, element, -1, turnPage),
      ...actions,
      ...(element?.card ? getCardKeys(element, event.key) : {}),
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });

  function getCardKeys(element, key) {
    const { card } = element;
    const move = (by) =>
      element.matches(".tile") ? moveFocus(panel, element, by, turnPage) : moveCursor(element, by);
    const keys = { ArrowRight: () => move(1), ArrowLeft: () => move(-1) };
    if (document.activeElement === element && card.members) keys.Enter = () => open(card, 1);
    if (!isDecidable()) return keys;
    const cursor = document.activeElement.closest("[data-member]");
    const chosen = cursor && Number(cursor.dataset.member);
    const decide = (action) =>
      cursor ? decideImage(decisions, card, chosen, action) : announce("Choose an image with the arrow keys first.");
    Object.assign(keys, {
      k: () => decide("keep"),
      d: () => decide("drop"),
      x: () => announce(decisions.markNotDuplicates(card)),
      u: () => announce(decisions.clear(cursor ? [chosen] : card.members)),
    });
    if (!card.isPair) keys.a = () => announce(acceptSuggestion(decisions, card));
    const member = card.members[Number(key) - 1];
    if (member !== undefined) keys[key] = () => decideImage(decisions, card, member, "drop");
    return keys;
  }
}

function moveFocus(panel, current, by, turnPage) {
  const cards = [...panel.querySelectorAll(".card")];
  const at = cards.indexOf(current);
  const next = cards[at < 0 ? 0 : at + by];
  if (next) {
    next.focus();
    next.scrollIntoView({ block: "nearest" });
  } else if (at >= 0) turnPage(by);
}

/** Move the focus between the images of a card. */
function moveCursor(element, by) {
  const previews = [...element.querySelectorAll("[data-member] .preview")];
  const at = previews.findIndex((preview) => preview.closest("[data-member]").contains(document.activeElement));
  const next = at < 0 ? (by > 0 ? 0 : previews.length - 1) : at + by;
  previews[Math.min(Math.max(next, 0), previews.length - 1)]?.focus();
}
