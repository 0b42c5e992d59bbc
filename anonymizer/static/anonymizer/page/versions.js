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
    const answer = await get(this.task.versions_url), list = answer.results ?? answer.versions ?? answer;
    const newest = this.task.version ?? Math.max(...list.map(each => each.number ?? each.version));
    this.element.replaceChildren(make("ol", { className: "versions" }, ...list.map(each => this.row(each, newest))));
    return list.length > 1;
  }

  row(each, newest) {
    const number = each.number ?? each.version, isShown = number === (this.shown ?? newest), by = each.actor ?? each.by ?? "";
    const words = [`Version ${number}`, number === newest ? "current" : null, isShown ? "shown" : null, by && `by ${by}`, new Date(each.created).toLocaleString(), each.comment].filter(Boolean).join(", ");
    const actions = make("div", { className: "actions" });
    if (!isShown) actions.append(button("Look at it", () => this.look(number), { ariaLabel: `Look at version ${number}` }), button("Compare", () => this.compare(number), { ariaLabel: `Compare with version ${number}` }));
    if (number !== newest) actions.append(button("Take it back", () => this.restore(number), { ariaLabel: `Take version ${number} back` }));
    return make("li", { aria: isShown ? { current: "true" } : {} }, make("p", { textContent: words }), actions);
  }
}
