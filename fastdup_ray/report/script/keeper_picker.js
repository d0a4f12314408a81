// The choice of the rule by which images are kept.
import { data } from "./data.js";
import { announce, createElement } from "./dom.js";
import { escapeInvisible } from "./format.js";
import { chooseKeeperRule, getKeeperRule, KEEPER_RULES } from "./keeper_rules.js";

const MAX_FOLDERS = 200; // that are offered; any other part of a path can be typed

/** A choice of rules, which begins with the one of the last visit. onchange is called after each change. */
export function createKeeperPicker(onchange) {
  const before = getKeeperRule();
  const rule = createElement(
    "select",
    { id: "keeper-rule", onchange: () => choose() },
    ...Object.entries(KEEPER_RULES).map(([name, { title }]) => createElement("option", { value: name }, title)),
  );
  const folders = createElement(
    "datalist",
    { id: "folders" },
    ...data.pictures.folders
      .slice(0, MAX_FOLDERS)
      .map((folder) => createElement("option", { value: escapeInvisible(folder) })),
  );
  const folder = createElement("input", {
    ...{ type: "text", id: "keeper-folder", list: "folders", placeholder: "part of the path", hidden: before.chosen !== "folder" },
    ...{ "aria-label": "Folder whose images are kept", onchange: () => choose() },
  });
  const choose = () => {
    const isFolder = rule.value === "folder";
    folder.hidden = !isFolder;
    chooseKeeperRule(rule.value, folder.value.trim());
    onchange();
    if (isFolder && !folder.value.trim()) {
      announce("Type a part of the paths to keep.");
      folder.focus();
    } else announce("Undecided groups follow the new rule; your decisions stay.");
  };
  rule.value = before.chosen;
  folder.value = before.folder;
  return createElement("label", { class: "keeper-picker" }, "Keep the ", rule, folder, folders);
}
