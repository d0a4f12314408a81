// The table of bad files.
import { data } from "./data.js";
import { createElement, isolateText } from "./dom.js";
import { escapeInvisible, formatNumber } from "./format.js";

const inWords = new Map(data.lists.bad.codes.map(([code, words]) => [code, words]));

/** "1 empty, 2 cut off". */
export function describeBadFiles() {
  return data.lists.bad.codes.map(([, words, count]) => `${formatNumber(count)} ${words}`).join(", ");
}

/** Create the table of bad files. */
export function createBadTable(rows) {
  const headings = ["File", "Problem", "Details"].map((text) => createElement("th", { scope: "col" }, text));
  const body = rows.map(([name, code, message]) => {
    const cut = name.lastIndexOf("/") + 1;
    const file = [
      isolateText(escapeInvisible(name.slice(cut)), { class: "name" }),
      isolateText(escapeInvisible(name.slice(0, cut)), { class: "folder" }),
    ];
    return createElement(
      "tr",
      {},
      createElement("td", {}, ...file),
      createElement("td", {}, createElement("span", { title: code }, inWords.get(code) ?? code)),
      createElement("td", {}, escapeInvisible(message)),
    );
  });
  const head = createElement("thead", {}, createElement("tr", {}, ...headings));
  return createElement("table", { class: "bad" }, head, createElement("tbody", {}, ...body));
}
