// Draw, move, resize and delete shapes with mouse, touch and keys.
import { contains, drawn, dragged, filling, grown, handles, isLargeEnough, moved } from "./shapes.js";
import { colourOf } from "./objects.js";
import { plain, svg } from "./words.js";

//: how near a pointer must be to a handle, in pixels of the screen
const NEAR = { mouse: 10, pen: 14, touch: 24 };
//: a shorter drag of the mouse is a click, in pixels of the screen
const CLICK = 5;

export class Editor {
  // view: { time(), choose(choice), chosen, objects, say(words), type(), mode() }
  constructor(stage, corrections, view) {
    Object.assign(this, { stage, corrections, view, tool: "select", draft: null, corners: [], layer: stage.layer("shapes") });
    stage.zoom.claim = event => this.grab(event);
  }

  use(tool) {
    this.tool = tool;
    this.corners = [];
    this.stage.element.classList.toggle("drawing", tool !== "select");
    this.draw();
  }

  shown() {
    const time = this.view.time();
    return this.corrections.now.added.map(region => ({ region, shape: this.corrections.shapeAt(region, time) })).filter(each => each.shape);
  }

  draw() {
    const chosen = this.view.chosen?.number, parts = [];
    for (const { region, shape } of this.shown()) {
      const current = this.draft?.number === region.number ? this.draft.shape : shape;
      parts.push(...this.picture(region.type, current, region.number === chosen));
    }
    if (this.draft && !this.draft.number) parts.push(...this.picture(this.view.type(), this.draft.shape, false));
    if (this.corners.length) parts.push(svg("polyline", { points: this.corners.join(" "), class: "draft" }), ...this.corners.map(([cx, cy]) => svg("circle", { cx, cy, class: "handle" })));
    this.layer.replaceChildren(...parts);
  }

  picture(type, shape, isChosen) {
    const parts = [drawn(shape, { class: `drawn ${colourOf(type)}${isChosen ? " chosen" : ""}` })];
    if (isChosen) parts.push(...handles(shape).map(({ x, y }) => svg("circle", { cx: x, cy: y, class: "handle" })));
    return parts;
  }

  // what a pointer begins: a shape, a handle, a move; null: the picture is moved
  grab(event) {
    const [x, y] = this.stage.toPicture(event), unit = this.stage.unit();
    if (this.tool === "polygon") return this.click(event, () => this.corner(x, y, NEAR[event.pointerType] * unit));
    if (this.tool !== "select") return this.stretch(event, (now) => filling(this.tool, x, y, ...now), shape => this.finish(shape));
    const near = NEAR[event.pointerType] * unit, chosen = this.shown().find(each => each.region.number === this.view.chosen?.number);
    const handle = chosen && handles(chosen.shape).find(each => Math.hypot(each.x - x, each.y - y) <= near);
    const update = number => shape => this.corrections.reshape(number, shape, this.view.time());
    if (handle) return this.stretch(event, now => dragged(chosen.shape, handle, ...now), update(chosen.region.number), chosen.region.number);
    const inside = this.shown().reverse().find(each => contains(each.shape, x, y));
    if (inside) {
      this.view.choose({ number: inside.region.number });
      return this.stretch(event, now => moved(inside.shape, now[0] - x, now[1] - y), update(inside.region.number), inside.region.number);
    }
    // a click chooses, a drag moves the picture
    return this.click(event, () => this.view.choose(this.view.objects.at(x, y)));
  }

  click(start, action) {
    let last = start, isDrag = false;
    return {
      move: event => {
        isDrag ||= Math.hypot(event.clientX - start.clientX, event.clientY - start.clientY) > CLICK;
        if (isDrag) this.stage.zoom.pan(event.clientX - last.clientX, event.clientY - last.clientY);
        last = event;
      },
      end: () => isDrag || action(),
      cancel: () => {},
    };
  }

  stretch(start, shapeAt, finish, number = null) {
    let isDrag = false;
    return {
      move: event => {
        isDrag ||= Math.hypot(event.clientX - start.clientX, event.clientY - start.clientY) > CLICK;
        if (!isDrag) return;
        this.draft = { number, shape: shapeAt(this.stage.toPicture(event)) };
        this.draw();
      },
      end: () => {
        const { draft } = this;
        this.draft = null;
        if (draft && isLargeEnough(draft.shape, 2)) finish(draft.shape);
        else this.draw();
      },
      cancel: () => { this.draft = null; this.draw(); },
    };
  }

  finish(shape) {
    const number = this.corrections.add(this.view.type(), shape, this.view.time(), this.view.mode());
    this.view.choose({ number });
    this.view.finished(`${plain(this.view.type())} added. Apply redacts it.`);
  }

  corner(x, y, near) {
    const [first] = this.corners;
    if (first && this.corners.length > 2 && Math.hypot(first[0] - x, first[1] - y) <= near) return this.close();
    this.corners.push([Math.round(x), Math.round(y)]);
    if (this.corners.length === 1) this.view.say("Click the next corners. The first corner or Enter closes the shape.");
    this.draw();
  }

  close() {
    const polygon = this.corners;
    this.corners = [];
    if (polygon.length > 2 && isLargeEnough({ polygon }, 2)) this.finish({ polygon });
    else this.draw();
  }

  // a shape in the middle of what is visible, for keys
  place() {
    if (this.corners.length) return this.close();
    const [x1, y1, x2, y2] = this.stage.visible(), x = (x1 + x2) / 2, y = (y1 + y2) / 2, side = Math.min(x2 - x1, y2 - y1) / 8;
    this.finish(filling(this.tool, x - side, y - side, x + side, y + side));
  }

  remove() {
    const { chosen } = this.view;
    if (chosen?.number) { this.view.choose(null); this.corrections.remove(chosen.number); this.view.say("Deleted."); }
    else if (chosen?.key && !chosen.each.isNew) { this.corrections.decide(chosen.key, "drop"); this.view.say("This is no object any more."); }
  }

  // whether the key was one of its own
  press(event) {
    const { key, shiftKey } = event, chosen = this.shown().find(each => each.region.number === this.view.chosen?.number);
    if ((event.ctrlKey || event.metaKey) && key.toLowerCase() === "z") shiftKey ? this.corrections.redo() : this.corrections.undo();
    else if ((event.ctrlKey || event.metaKey) && key.toLowerCase() === "y") this.corrections.redo();
    else if (event.ctrlKey || event.metaKey || event.altKey) return false;
    else if ((key === "Delete" || key === "Backspace") && this.view.chosen) this.remove();
    else if (key === "Enter" && this.tool !== "select") this.place();
    else if (key === "Escape" && this.corners.length) this.use(this.tool);
    else if (key === "Escape" && this.tool !== "select") this.view.tool("select");
    else if (key === "Escape" && this.view.chosen) this.view.choose(null);
    else if (chosen && key.startsWith("Arrow")) this.nudge(chosen, key, shiftKey);
    else return false;
    return true;
  }

  nudge({ region, shape }, key, grows) {
    const step = Math.max(1, 6 * this.stage.unit()), [x, y] = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[key];
    this.corrections.reshape(region.number, grows ? grown(shape, x, y) : moved(shape, x, y), this.view.time());
  }
}
