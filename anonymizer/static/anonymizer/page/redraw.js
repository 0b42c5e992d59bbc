// Draws in the browser what the server would redact, over the original: other thresholds and drawn shapes show at once.
// It is a preview: the cells are like those of the server, without its noise.
import { bounds, filling } from "./shapes.js";
import { make } from "./words.js";

//: cells across the shorter side, and how far an object is enlarged, as in the package
const CELLS = { face: 3, "license-plate": 1, person: 3, vehicle: 3 }, MARGINS = { face: 0.2, "license-plate": 0.3, person: 0.2, vehicle: 0.2 };
const SOFT = 0.3;
//: the longest sides of the canvas, of a patch, and of the small picture that gives the colours
const CANVAS = 2048, PATCH = 256, SMALL = 1024;

const canvasOf = (width, height) => make("canvas", { width: Math.max(1, Math.round(width)), height: Math.max(1, Math.round(height)) });

// COCO's run lengths: differences of numbers of 5 bits a character
export function runLengths(text) {
  const runs = [];
  for (let at = 0; at < text.length;) {
    let value = 0, shift = 0, more = true;
    while (more) {
      const part = text.charCodeAt(at++) - 48;
      value |= (part & 31) << shift;
      shift += 5;
      more = (part & 32) !== 0;
      if (!more && part & 16) value |= -1 << shift;
    }
    runs.push(runs.length > 2 ? value + runs[runs.length - 2] : value);
  }
  return runs;
}

export class Redraw {
  constructor(image, width, height, method) {
    const scale = Math.min(1, CANVAS / Math.max(width, height)), few = Math.min(1, SMALL / Math.max(width, height));
    Object.assign(this, { image, width, height, method, scale, few, patches: new Map() });
    this.element = canvasOf(width * scale, height * scale);
    this.element.className = "redrawn";
    this.small = canvasOf(width * few, height * few);
    this.small.getContext("2d").drawImage(image, 0, 0, this.small.width, this.small.height);
  }

  // objects: { key, type_label, bbox or shape, mask_rle, method }
  draw(objects) {
    const context = this.element.getContext("2d");
    context.clearRect(0, 0, this.element.width, this.element.height);
    for (const each of objects) {
      const { patch, box: [x1, y1, x2, y2] } = this.patch(each);
      context.drawImage(patch, x1 * this.scale, y1 * this.scale, (x2 - x1) * this.scale, (y2 - y1) * this.scale);
    }
  }

  patch(each) {
    const id = JSON.stringify([each.shape ?? each.bbox, each.method ?? null, each.type_label, Boolean(each.mask_rle)]);
    if (!this.patches.has(id)) this.patches.set(id, this.make(each));
    return this.patches.get(id);
  }

  make({ type_label: type, bbox, shape, mask_rle: mask, method = this.method }) {
    const tight = shape ? bounds(shape) : bbox, short = Math.min(tight[2] - tight[0], tight[3] - tight[1]);
    // an outline reaches up to its soft edge
    const margin = ((MARGINS[type] ?? 0.2) + (mask && !shape ? SOFT : 0)) * short;
    const box = [Math.max(0, tight[0] - margin), Math.max(0, tight[1] - margin), Math.min(this.width, tight[2] + margin), Math.min(this.height, tight[3] + margin)];
    const [width, height] = [box[2] - box[0], box[3] - box[1]], fit = Math.min(1, PATCH / Math.max(width, height));
    const patch = canvasOf(width * fit, height * fit), context = patch.getContext("2d");
    if (method === "blacken") { context.fillStyle = "#000"; context.fillRect(0, 0, patch.width, patch.height); }
    else this.cells(context, patch, box, CELLS[type] ?? 3, method);
    context.globalCompositeOperation = "destination-in";
    if (mask?.counts && !shape) context.drawImage(this.mask(mask, box, patch), 0, 0);
    else {
      context.beginPath();
      const round = shape ? shape.ellipse : type === "face", corners = shape?.polygon;
      if (corners) for (const [x, y] of corners) context.lineTo((x - box[0]) * fit, (y - box[1]) * fit);
      else if (round) { const [x, y, across, down] = filling("ellipse", 0, 0, patch.width, patch.height).ellipse; context.ellipse(x, y, Math.max(1, across), Math.max(1, down), 0, 0, 7); }
      else context.rect(0, 0, patch.width, patch.height);
      context.fill();
    }
    return { patch, box };
  }

  cells(context, patch, box, number, method) {
    const [x, y, right, bottom] = box.map(value => value * this.few), width = Math.max(1, right - x), height = Math.max(1, bottom - y), short = Math.min(width, height) / number;
    const grid = canvasOf(number === 1 ? 1 : width / short, number === 1 ? 1 : height / short), small = grid.getContext("2d");
    small.imageSmoothingQuality = "high";
    small.drawImage(this.small, x, y, width, height, 0, 0, grid.width, grid.height);
    context.imageSmoothingEnabled = method !== "pixelate";
    context.drawImage(grid, 0, 0, patch.width, patch.height);
  }

  // the outline, at the size of a patch
  mask({ size: [height], counts }, box, patch) {
    const mask = canvasOf(patch.width, patch.height), context = mask.getContext("2d"), pixels = context.createImageData(mask.width, mask.height);
    const scale = mask.width / (box[2] - box[0]);
    let at = 0, covered = false;
    for (const run of typeof counts === "string" ? runLengths(counts) : counts) {
      for (let from = at; covered && from < at + run;) {
        const column = Math.floor(from / height), top = from - column * height, bottom = Math.min(height, top + at + run - from);
        const x = Math.floor((column - box[0]) * scale);
        for (let y = Math.max(0, Math.floor((top - box[1]) * scale)); x >= 0 && x < mask.width && y < Math.min(mask.height, (bottom - box[1]) * scale); y++) pixels.data[(y * mask.width + x) * 4 + 3] = 255;
        from += bottom - top;
      }
      at += run;
      covered = !covered;
    }
    context.putImageData(pixels, 0, 0);
    return mask;
  }
}
