// The tiles at the top: what the run found, and the way to it.
import { data } from "./data.js";
import { createButton, createElement } from "./dom.js";
import { formatBytes, formatNumber, formatPercent } from "./format.js";

/** Fill the list of tiles. open(list, order) shows a list. */
export function fillTiles(box, lists, open) {
  const find = (id) => lists.find((list) => list.id === id);
  const addTile = (number, title, list, order) => {
    const tile = createButton("", () => open(list, order), { "data-list": list.id });
    tile.append(createElement("b", {}, number), createElement("span", {}, title));
    box.append(createElement("li", {}, tile));
  };
  const addCount = (id, title, order) => {
    const list = find(id);
    if (list?.total) addTile(formatNumber(list.total), title, list, order);
  };
  box.replaceChildren();
  addCount("leakage", "leaks", "file");
  addCount("groups", "groups", "size");
  const groups = find("groups");
  if (groups?.items.length) {
    const loosest = Math.min(...groups.items.map((card) => card.lowest));
    addTile(formatPercent(loosest), "lowest similarity in a group", groups, "loosest");
  }
  const reclaimable = groups ?? find("exact");
  if (data.reclaim && reclaimable?.items.length) {
    addTile(formatBytes(data.reclaim), "in images that are safe to drop", reclaimable, "bytes");
  }
  addCount("exact", "sets of exact duplicates", "bytes");
  addCount("outliers", "outliers, unlike all others", "file");
  addCount("conflicts", "label conflicts", "file");
  addCount("bad", "bad files", "name");
  addCount("changes", "changes since the last run", "file");
}
