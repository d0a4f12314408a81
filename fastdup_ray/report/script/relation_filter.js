// The filter of a list by what its images are to each other.
import { createElement } from "./dom.js";
import { formatCount } from "./format.js";
import { hasVerdicts, RELATIONS } from "./verdicts.js";

/** A choice of relations. onchange gets the relation, or "" for any. Its function `update` counts those of a list; `select`: its field. */
export function createRelationFilter(onchange) {
  const select = createElement("select", {
    id: "relation",
    "aria-label": "Relation",
    onchange: () => onchange(select.value),
  });
  const label = createElement("label", { hidden: true }, "Relation ", select);
  label.select = select;
  label.update = (list) => {
    label.hidden = !hasVerdicts || !list.getRelations;
    if (label.hidden) return;
    const counts = new Map();
    for (const item of list.items) {
      for (const relation of list.getRelations(item)) counts.set(relation, (counts.get(relation) ?? 0) + 1);
    }
    const { value } = select;
    const options = RELATIONS.filter((relation) => counts.has(relation) || relation === value).map((relation) =>
      createElement("option", { value: relation }, `${relation} (${formatCount(counts.get(relation) ?? 0, list.noun)})`),
    );
    select.replaceChildren(createElement("option", { value: "" }, "any"), ...options);
    select.value = value;
  };
  return label;
}
