// What is chosen in the picture, and what a reviewer can do with it.
import { colourOf, inWords } from "./objects.js";
import { kind } from "./shapes.js";
import { button, make, plain, TYPES } from "./words.js";

const METHODS = ["", "blur", "pixelate", "blacken"];
const MODES = { both: "follow this object, before and after", forward: "follow this object from here on", backward: "follow this object up to here", frame: "this frame only", span: "a span of time" };

const select = (label, choices, value, changed) => {
  const element = make("select", { onchange: () => changed(element.value) }, ...choices.map(([each, words]) => make("option", { value: each, textContent: words, selected: each === value })));
  return make("label", { className: "row" }, label, element);
};

export class Chosen {
  constructor(corrections, view) {
    Object.assign(this, { corrections, view, element: make("section", { className: "chosen", ariaLabel: "Chosen object" }) });
  }

  draw() {
    const { chosen } = this.view, region = chosen?.number && this.corrections.find(chosen.number);
    if (region) this.element.replaceChildren(...this.region(region));
    else if (chosen?.candidate) this.element.replaceChildren(...this.candidate(chosen.candidate));
    else if (chosen?.key) this.element.replaceChildren(...this.object(chosen));
    else this.element.replaceChildren(make("p", { className: "hint", textContent: "Choose an object in the picture or in the list." }));
  }

  heading(type, words) { return make("p", { className: `name ${colourOf(type)}` }, make("strong", { textContent: words })); }

  candidate(each) {
    const { id } = each, isTaken = this.corrections.now.taken.includes(id), take = is => () => this.corrections.take(id, is);
    const when = each.boxes ? `from ${each.from.toFixed(2)} s to ${each.to.toFixed(2)} s` : "";
    const words = [inWords({ ...each, track_id: null }), when, isTaken ? "will be redacted" : "not redacted"].filter(Boolean).join(", ");
    return [this.heading(each.type_label, words), this.view.canCorrect && (isTaken ? button("Do not redact it", take(false)) : button("Redact it", take(true), { className: "main" }))].filter(Boolean);
  }

  object({ key, each }) {
    const decision = this.corrections.now.decisions[key], decide = what => { this.corrections.decide(key, what); };
    const parts = [this.heading(each.type_label, inWords(each))];
    if (each.isNew && this.corrections.now.taken.includes(each.candidate.id)) return this.candidate(each.candidate);
    if (each.isNew) parts.push(make("p", { textContent: "With the new threshold it is redacted." }));
    if (!this.view.canCorrect || each.isNew) return parts;
    if (decision === "drop" || decision === "visible") {
      parts.push(make("p", { textContent: decision === "drop" ? "It is no object: it will not be redacted." : "It will stay visible." }), button("Redact it again", () => decide(null)));
      return parts;
    }
    parts.push(make("div", { className: "actions" }, button("Not an object", () => decide("drop")), button("Leave visible", () => decide("visible"))));
    const size = make("input", { type: "number", min: 0, max: 500, step: "any", value: decision?.kernel_size ?? "", placeholder: "as it is", onchange: () => change({ kernel_size: size.value === "" ? undefined : Number(size.value) }) });
    const change = changes => {
      const next = Object.fromEntries(Object.entries({ ...decision, ...changes }).filter(([, value]) => value !== undefined && value !== ""));
      decide(Object.keys(next).length ? next : null);
    };
    parts.push(select("Method", METHODS.map(each => [each, each || "as it is"]), decision?.method ?? "", method => change({ method })),
      make("label", { className: "row" }, "Strength", size));
    return parts;
  }

  region(region) {
    const edit = changes => this.corrections.edit(region.number, changes);
    const parts = [this.heading(region.type, `${plain(region.type)}, drawn as ${kind(region.frames[0].shape)}`),
      select("Type", TYPES.map(type => [type, plain(type)]), region.type, type => edit({ type })),
      select("Method", METHODS.map(each => [each, each || "as the others"]), region.method, method => edit({ method }))];
    if (this.corrections.isVideo) parts.push(...this.times(region, edit));
    parts.push(make("div", { className: "actions" }, button("Delete this shape", () => { this.view.choose(null); this.corrections.remove(region.number); })));
    return parts;
  }

  times(region, edit) {
    const parts = [select("When", Object.entries(MODES), region.mode, mode => edit({ mode, ...(mode === "span" ? { from: this.view.time(), to: null } : {}) }))];
    const here = (label, name) => button(label, () => edit({ [name]: this.view.time() }));
    if (region.mode !== "span") return parts;
    const until = region.to === null ? "the end" : `${region.to.toFixed(2)} s`;
    return [...parts, make("p", { textContent: `From ${region.from.toFixed(2)} s to ${until}, ${region.frames.length} key frames. Move the shape at another time to add one.` }),
      make("div", { className: "actions" }, here("Begin here", "from"), here("End here", "to"))];
  }
}
