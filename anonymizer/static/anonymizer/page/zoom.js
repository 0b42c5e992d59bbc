// Zoom and pan of an element in its frame: wheel, drag, two fingers, keys.
const MOST = 40;

export class Zoom {
  constructor(frame, plane, changed = () => {}) {
    Object.assign(this, { frame, plane, changed, scale: 1, x: 0, y: 0, pointers: new Map(), held: null });
    // who takes a drag of one pointer instead: returns { move, end, cancel } or null
    this.claim = () => null;
    frame.addEventListener("wheel", event => { event.preventDefault(); this.by(Math.exp(-event.deltaY / 400), event); }, { passive: false });
    frame.addEventListener("pointerdown", event => this.down(event));
    frame.addEventListener("pointermove", event => this.drag(event));
    frame.addEventListener("pointerup", event => this.up(event, "end"));
    frame.addEventListener("pointercancel", event => this.up(event, "cancel"));
    frame.addEventListener("dblclick", event => { if (!event.defaultPrevented) this.by(this.scale > 3 ? 1 / this.scale : 2.5, event); });
  }

  down(event) {
    if (event.button > 0) return;
    this.frame.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, event);
    if (this.pointers.size > 1) { this.held?.cancel(); this.held = null; }
    else this.held = this.claim(event);
  }

  up(event, how) {
    this.pointers.delete(event.pointerId);
    this.held?.[how]?.(event);
    this.held = null;
  }

  drag(event) {
    const last = this.pointers.get(event.pointerId);
    if (!last) return;
    const other = [...this.pointers.values()].find(each => each.pointerId !== event.pointerId);
    if (this.held) this.held.move(event);
    else if (other) {
      const length = from => Math.hypot(from.clientX - other.clientX, from.clientY - other.clientY);
      this.by(length(event) / Math.max(1, length(last)), { clientX: (event.clientX + other.clientX) / 2, clientY: (event.clientY + other.clientY) / 2 });
    } else this.pan(event.clientX - last.clientX, event.clientY - last.clientY);
    this.pointers.set(event.pointerId, event);
  }

  pan(x, y) { this.x += x; this.y += y; this.apply(); }

  // whether the key was one of its own
  press({ key }) {
    const moves = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
    if (moves[key]) this.pan(...moves[key]);
    else if (key === "+" || key === "=") this.by(1.4);
    else if (key === "-") this.by(1 / 1.4);
    else if (key === "0") this.reset();
    else return false;
    return true;
  }

  // around a point of the page; default: the middle
  by(factor, point = null) {
    const box = this.frame.getBoundingClientRect(), next = Math.min(MOST, Math.max(1, this.scale * factor));
    const x = (point?.clientX ?? box.left + box.width / 2) - box.left, y = (point?.clientY ?? box.top + box.height / 2) - box.top;
    this.x = x - (x - this.x) * next / this.scale;
    this.y = y - (y - this.y) * next / this.scale;
    this.scale = next;
    this.apply();
  }

  // make a rectangle of the frame, at zoom 1, about a third of it
  show([x1, y1, x2, y2]) {
    const { clientWidth, clientHeight } = this.frame;
    this.scale = Math.min(MOST, Math.max(1, Math.min(clientWidth / (3 * (x2 - x1)), clientHeight / (3 * (y2 - y1)))));
    this.x = clientWidth / 2 - this.scale * (x1 + x2) / 2;
    this.y = clientHeight / 2 - this.scale * (y1 + y2) / 2;
    this.apply();
  }

  reset() { Object.assign(this, { scale: 1, x: 0, y: 0 }); this.apply(); }

  apply() {
    const { clientWidth, clientHeight } = this.frame;
    // the picture never leaves its frame
    this.x = Math.min(0, Math.max(clientWidth * (1 - this.scale), this.x));
    this.y = Math.min(0, Math.max(clientHeight * (1 - this.scale), this.y));
    this.plane.style.setProperty("--zoom", this.scale);
    this.plane.style.transform = `translate(${this.x}px, ${this.y}px) scale(${this.scale})`;
    this.changed();
  }
}
