// The versions of a result: listed, looked at, compared, taken back.
import { get } from "./api.js";
import { button, make } from "./words.js";

export class Versions {
  // look(version), compare(version or null), restore(version)
  constructor(task, shown, { look, compare, restore, say }) {
    Object.assign(this, { task, shown, look, compare, restore, say, element: make("div", {}) });
  }

  // whether there is more than one
  async load() {
    if (!this.task.versions_url) return false;
    const list = await get(this.task.versions_url);
    this.element.replaceChildren(make("ol", { className: "versions" }, ...list.map(each => this.row(each))));
    return list.length > 1;
  }

  row(each) {
    const { version: number, served: isServed } = each, isShown = number === (this.shown ?? this.task.version);
    const did = ["added", "taken", "dropped", "visible", "changed"].filter(name => each[name]).map(name => `${each[name]} ${name}`).join(", ");
    const words = [`Version ${number}`, isServed && "current", isShown && "shown", each.approved && "approved", each.status !== "done" && each.status, each.by && `by ${each.by}`,
      new Date(each.created).toLocaleString(), did, each.comment, each.error].filter(Boolean).join(", ");
    const actions = make("div", { className: "actions" });
    if (!isShown && each.status === "done") actions.append(button("Look at it", () => this.look(number), { ariaLabel: `Look at version ${number}` }), button("Compare", () => this.compare(number), { ariaLabel: `Compare with version ${number}` }));
    if (!isServed && each.status === "done") actions.append(button("Bring it back", () => this.restore(number), { ariaLabel: `Bring version ${number} back` }));
    return make("li", { aria: isShown ? { current: "true" } : {} }, make("p", { textContent: words }), actions);
  }
}
