// Geometry of drawn shapes, in pixels of the picture: { box: [x1, y1, x2, y2] }, { ellipse: [x, y, radius x, radius y] }
// or { polygon: [[x, y], …] }, as the API takes them. Every function returns a new shape.
import { svg } from "./words.js";

export const kind = shape => Object.keys(shape)[0];
const exact = number => Math.round(number * 10) / 10;

export function bounds(shape) {
  if (shape.box) return shape.box;
  if (shape.ellipse) {
    const [x, y, across, down] = shape.ellipse;
    return [x - across, y - down, x + across, y + down];
  }
  const columns = shape.polygon.map(([x]) => x), rows = shape.polygon.map(([, y]) => y);
  return [Math.min(...columns), Math.min(...rows), Math.max(...columns), Math.max(...rows)];
}

// the shape of a kind that fills a rectangle, whichever of its corners come first
export function filling(name, x1, y1, x2, y2) {
  const [left, right] = x1 < x2 ? [x1, x2] : [x2, x1], [top, bottom] = y1 < y2 ? [y1, y2] : [y2, y1];
  if (name === "ellipse") return { ellipse: [(left + right) / 2, (top + bottom) / 2, (right - left) / 2, (bottom - top) / 2].map(exact) };
  if (name === "box") return { box: [left, top, right, bottom].map(exact) };
  const corners = [[.25, 0], [.75, 0], [1, .5], [.75, 1], [.25, 1], [0, .5]];
  return { polygon: corners.map(([x, y]) => [exact(left + x * (right - left)), exact(top + y * (bottom - top))]) };
}

export function moved(shape, x, y) {
  if (shape.box) return { box: shape.box.map((value, side) => exact(value + (side % 2 ? y : x))) };
  if (shape.ellipse) return { ellipse: [exact(shape.ellipse[0] + x), exact(shape.ellipse[1] + y), ...shape.ellipse.slice(2)] };
  return { polygon: shape.polygon.map(([column, row]) => [exact(column + x), exact(row + y)]) };
}

// stretched so that it fills another rectangle
function stretched(shape, [left, top, right, bottom]) {
  if (!shape.polygon) return filling(kind(shape), left, top, right, bottom);
  const [x1, y1, x2, y2] = bounds(shape), across = (right - left) / Math.max(1, x2 - x1), down = (bottom - top) / Math.max(1, y2 - y1);
  return { polygon: shape.polygon.map(([x, y]) => [exact(left + (x - x1) * across), exact(top + (y - y1) * down)]) };
}

// right and bottom grow by so many pixels, for keys
export function grown(shape, x, y) {
  const [x1, y1, x2, y2] = bounds(shape);
  return stretched(shape, [x1, y1, Math.max(x1 + 2, x2 + x), Math.max(y1 + 2, y2 + y)]);
}

// points to drag: the corners of a polygon, or the corners and sides of the others
export function handles(shape) {
  if (shape.polygon) return shape.polygon.map(([x, y], corner) => ({ corner, x, y }));
  const [x1, y1, x2, y2] = bounds(shape), x = (x1 + x2) / 2, y = (y1 + y2) / 2;
  return [[x1, y1, "lt"], [x, y1, "t"], [x2, y1, "rt"], [x2, y, "r"], [x2, y2, "rb"], [x, y2, "b"], [x1, y2, "lb"], [x1, y, "l"]]
    .map(([column, row, side]) => ({ side, x: column, y: row }));
}

export function dragged(shape, handle, x, y) {
  if (shape.polygon) return { polygon: shape.polygon.map((point, corner) => corner === handle.corner ? [exact(x), exact(y)] : point) };
  const box = [...bounds(shape)];
  if (handle.side.includes("l")) box[0] = x;
  if (handle.side.includes("t")) box[1] = y;
  if (handle.side.includes("r")) box[2] = x;
  if (handle.side.includes("b")) box[3] = y;
  return filling(kind(shape), ...box);
}

export function contains(shape, x, y) {
  const [x1, y1, x2, y2] = bounds(shape);
  return x1 <= x && x <= x2 && y1 <= y && y <= y2;
}

export function isLargeEnough(shape, least) {
  const [x1, y1, x2, y2] = bounds(shape);
  return x2 - x1 >= least && y2 - y1 >= least;
}

// between two shapes of one kind; share from 0 to 1
export function between(first, second, share) {
  const name = kind(first), mix = (a, b) => exact(a + (b - a) * share);
  if (name !== kind(second) || first[name].length !== second[name].length) return first;
  if (name === "polygon") return { polygon: first.polygon.map(([x, y], corner) => [mix(x, second.polygon[corner][0]), mix(y, second.polygon[corner][1])]) };
  return { [name]: first[name].map((value, side) => mix(value, second[name][side])) };
}

// its part within the picture, or nothing
export function clipped(shape, width, height) {
  const [x1, y1, x2, y2] = bounds(shape);
  if (x2 <= 0 || y2 <= 0 || x1 >= width || y1 >= height) return null;
  if (shape.box) return { box: [Math.max(0, x1), Math.max(0, y1), Math.min(width, x2), Math.min(height, y2)] };
  return shape;
}

export function drawn(shape, attributes = {}) {
  if (shape.ellipse) {
    const [cx, cy, rx, ry] = shape.ellipse;
    return svg("ellipse", { cx, cy, rx, ry, ...attributes });
  }
  if (shape.polygon) return svg("polygon", { points: shape.polygon.join(" "), ...attributes });
  const [x, y, right, bottom] = shape.box;
  return svg("rect", { x, y, width: Math.max(0, right - x), height: Math.max(0, bottom - y), ...attributes });
}
