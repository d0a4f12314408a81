// Affine maps of the plane, [a, b, c, d, e, f]: (x, y) becomes (a x + b y + c, d x + e y + f). The places of an image go
// from 0 to 1 of its width and height.

export const UNCHANGED = [1, 0, 0, 0, 1, 0];
const CORNERS = [
  [0, 0],
  [1, 0],
  [1, 1],
  [0, 1],
];

export function invertMap([a, b, c, d, e, f]) {
  const area = a * e - b * d;
  return [e, -b, b * f - c * e, -d, a, c * d - a * f].map((value) => value / area);
}

/** The map that applies `inner`, then `outer`. */
export function composeMaps(outer, [a, b, c, d, e, f]) {
  const [p, q, r, s, t, u] = outer;
  return [p * a + q * d, p * b + q * e, p * c + q * f + r, s * a + t * d, s * b + t * e, s * c + t * f + u];
}

/** Where a map takes the corners of an image, clockwise. */
export function mapCorners([a, b, c, d, e, f], corners = CORNERS) {
  return corners.map(([x, y]) => [a * x + b * y + c, d * x + e * y + f]);
}

/** The smallest box around some points: [left, top, right, bottom]. */
export function getBounds(points) {
  const [across, down] = [0, 1].map((axis) => points.map((point) => point[axis]));
  return [Math.min(...across), Math.min(...down), Math.max(...across), Math.max(...down)];
}

/** The smallest box around a box that was mapped. */
export function mapBox(map, [left, top, right, bottom]) {
  const corners = [
    [left, top],
    [right, top],
    [right, bottom],
    [left, bottom],
  ];
  return getBounds(mapCorners(map, corners));
}

/** The map that takes a box to the whole of an image. */
export function fitBox([left, top, right, bottom]) {
  return invertMap([right - left, 0, left, 0, bottom - top, top]);
}
