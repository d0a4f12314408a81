// The points of the map: their places, and their categories.
import { data, getImage } from "./data.js";
import { escapeInvisible } from "./format.js";

/** Number of points. A point has the number of its image. */
export const pointCount = data.x.length;

/** The place of a point, in the unit of the data. */
export function getPlace(point) {
  return [data.x[point], data.y[point]];
}

/** What points can be colored by: title, names, of (the category of each point), others, none. */
export const colorings = data.colorings;

/** The name of a category, as a text without invisible characters. */
export function nameCategory(coloring, category) {
  return escapeInvisible(category < 0 ? coloring.none : (coloring.names[category] ?? coloring.others));
}

/** What is said of a point: its name, and its categories. */
export function describePoint(point) {
  const categories = colorings.map((coloring) => nameCategory(coloring, coloring.of[point]));
  return [escapeInvisible(getImage(point).base), ...categories].join(", ");
}

/** All categories of a coloring, with their points: the named ones, then the others, then none. */
export function countCategories(coloring) {
  const counts = new Map();
  for (const category of coloring.of) counts.set(category, (counts.get(category) ?? 0) + 1);
  const last = coloring.names.length;
  const order = [...coloring.names.keys(), last, -1].filter((category) => counts.has(category));
  return order.map((category) => ({ category, count: counts.get(category) }));
}

/** The nearest of some points to a place, the nearest first. */
export function findNearest([x, y], points, count) {
  const measured = points.map((point) => [(data.x[point] - x) ** 2 + (data.y[point] - y) ** 2, point]);
  measured.sort(([first, one], [second, other]) => first - second || one - other);
  return measured.slice(0, count).map(([, point]) => point);
}
