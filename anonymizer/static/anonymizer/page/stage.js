// The frame that shows a picture with its layers, and the way from points of the page to pixels of the picture.
import { make, svg } from "./words.js";
import { Zoom } from "./zoom.js";

export class Stage {
  constructor(label) {
    this.plane = make("div", { className: "plane" });
    this.element = make("div", { className: "stage", tabIndex: 0, role: "application", ariaLabel: label }, this.plane);
    this.width = this.height = 1;
    this.layers = [];
    this.zoom = new Zoom(this.element, this.plane, () => this.fit());
    this.watch = new ResizeObserver(() => { this.zoom.apply(); });
    this.watch.observe(this.element);
  }

  setSize(width, height) {
    if (width === this.width && height === this.height) return;
    Object.assign(this, { width, height });
    for (const layer of this.layers) layer.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.fit();
  }

  // a drawing over the picture, in its pixels
  layer(className) {
    const layer = svg("svg", { "aria-hidden": "true", class: className, viewBox: `0 0 ${this.width} ${this.height}` });
    this.layers.push(layer);
    this.plane.append(layer);
    return layer;
  }

  // pixels of the stage for a pixel of the picture at zoom 1, as `object-fit: contain` places it
  contain() {
    const { clientWidth, clientHeight } = this.element;
    const scale = Math.max(1e-6, Math.min(clientWidth / this.width, clientHeight / this.height));
    return { scale, left: (clientWidth - scale * this.width) / 2, top: (clientHeight - scale * this.height) / 2 };
  }

  // pixels of the picture for a pixel of the screen: lines and letters keep their size
  unit() { return 1 / (this.contain().scale * this.zoom.scale); }

  fit() { this.plane.style.setProperty("--unit", this.unit()); }

  toPicture({ clientX, clientY }) {
    const box = this.element.getBoundingClientRect(), { scale, left, top } = this.contain(), { x, y, scale: zoom } = this.zoom;
    return [((clientX - box.left - x) / zoom - left) / scale, ((clientY - box.top - y) / zoom - top) / scale];
  }

  // what is visible of the picture
  visible() {
    const box = this.element.getBoundingClientRect();
    const [x1, y1] = this.toPicture({ clientX: box.left, clientY: box.top }), [x2, y2] = this.toPicture({ clientX: box.right, clientY: box.bottom });
    return [Math.max(0, x1), Math.max(0, y1), Math.min(this.width, x2), Math.min(this.height, y2)];
  }

  show([x1, y1, x2, y2]) {
    const { scale, left, top } = this.contain();
    this.zoom.show([left + scale * x1, top + scale * y1, left + scale * x2, top + scale * y2]);
  }

  // one pixel of the picture is one of the screen
  showPixels() { this.zoom.by(1 / (this.contain().scale * devicePixelRatio * this.zoom.scale)); }

  split(percent) {
    this.element.style.setProperty("--split", `${percent}%`);
    this.plane.querySelector(".split-line")?.toggleAttribute("hidden", Number(percent) === 0);
  }

  close() { this.watch.disconnect(); }
}
