// The bars under the stage: how a result is looked at, and how it is corrected.
import { button, make, plain, TYPES } from "./words.js";

const TOOLS = [["select", "Choose", "Choose and move (Escape)"], ["box", "Box", "Draw a box"], ["ellipse", "Ellipse", "Draw an ellipse"], ["polygon", "Polygon", "Draw a polygon"]];

// before and after, layers, zoom
export function viewTools(view) {
  const { stage } = view, { zoom } = stage;
  const split = make("input", { type: "range", min: 0, max: 100, value: 0, disabled: true, oninput: () => stage.split(split.value) });
  const before = make("label", { className: "split", hidden: true }, "Original", split);
  view.canSplit = can => { before.hidden = split.disabled = !can; if (can && !stage.plane.querySelector(".split-line")) stage.plane.append(make("div", { className: "split-line", hidden: Number(split.value) === 0 })); };
  const labels = make("select", { ariaLabel: "Labels of objects", onchange: () => { view.objects.labels = labels.value; view.refresh(); } },
    ...[["score", "boxes with scores"], ["all", "boxes with all details"], ["none", "boxes only"], ["off", "no boxes"]].map(([value, textContent]) => make("option", { value, textContent })));
  view.showLabels = value => { labels.value = value; labels.dispatchEvent(new Event("change")); };
  labels.addEventListener("change", () => { view.objects.element.style.display = labels.value === "off" ? "none" : ""; });
  const mask = make("input", { type: "checkbox", onchange: () => view.media.showMask(mask.checked).catch(error => view.fail(error)) });
  const hasMask = !view.isVideo && view.files.url("instance-mask");
  const zooms = make("div", { className: "group" }, button("−", () => zoom.by(1 / 1.4), { ariaLabel: "Smaller" }), button("+", () => zoom.by(1.4), { ariaLabel: "Larger" }),
    button("All", () => zoom.reset(), { ariaLabel: "Show all" }), button("1:1", () => stage.showPixels(), { ariaLabel: "Show the real pixels" }));
  return make("div", { className: "tools" }, before, labels, hasMask ? make("label", {}, mask, "masks") : null, zooms);
}

// tools to draw, undo, and apply
export function correctionBar(view) {
  const type = make("select", { ariaLabel: "Type of what you draw" }, ...TYPES.map(each => make("option", { value: each, textContent: plain(each) })));
  const open = button("Correct this result", () => { show(!isOpen()); view.stage.element.focus(); }, { className: "main", hidden: true, aria: { expanded: "false" } });
  const tools = new Map(TOOLS.map(([name, text, label]) => [name, button(text, () => { use(name); view.stage.element.focus(); }, { title: label, aria: { pressed: String(name === "select") } })]));
  const undo = button("Undo", () => view.corrections.undo(), { title: "Ctrl+Z" }), redo = button("Redo", () => view.corrections.redo(), { title: "Ctrl+Y" });
  const apply = button("Apply", () => view.apply(), { className: "main" });
  const hint = make("p", { className: "hint" });
  const bar = make("div", { className: "bar", role: "toolbar", ariaLabel: "Corrections", hidden: true },
    make("div", { className: "group" }, ...tools.values()), make("label", {}, "as ", type), make("div", { className: "group" }, undo, redo), apply, hint);
  const worth = button("Next worth a look", () => view.nextWorth(), { className: "worth", title: "N" });
  const element = make("div", { className: "correction" }, make("div", { className: "tools" }, open, worth), bar);
  const isOpen = () => !bar.hidden;
  const hasKeys = !matchMedia("(pointer: coarse)").matches, hints = {
    select: ["Choose what needs no redaction, and say why beside it. Drag a shape or its handles to change it."],
    box: ["Drag over what was missed.", "Enter puts a box in the middle, arrow keys move it, Shift and arrow keys resize it."],
    ellipse: ["Drag over what was missed.", "Enter puts an ellipse in the middle."],
    polygon: ["Choose the corners, and then the first one again.", "Enter closes the shape, or puts one in the middle."],
  };
  function use(name) {
    for (const [each, tool] of tools) tool.setAttribute("aria-pressed", String(each === name));
    hint.textContent = hints[name].slice(0, hasKeys ? 2 : 1).join(" ");
    view.editor.use(name);
  }
  function show(isShown) {
    bar.hidden = !isShown;
    open.textContent = isShown ? "Close the tools" : "Correct this result";
    open.classList.toggle("main", !isShown);
    open.setAttribute("aria-expanded", String(isShown));
    use(isShown ? "box" : "select");
  }
  const update = () => {
    undo.disabled = apply.disabled = view.corrections.isEmpty;
    redo.disabled = !view.corrections.canRedo;
    if (!view.corrections.isEmpty && !isOpen() && view.canCorrect) show(true);
  };
  const ready = can => { open.hidden = !can; };
  return { element, type, use, update, ready, get isOpen() { return isOpen(); } };
}
