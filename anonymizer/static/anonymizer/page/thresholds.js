// Sliders for the thresholds of a result that was kept, and what can be done with thresholds that are good.
import { save } from "./api.js";
import { rememberThresholds } from "./options.js";
import { button, make, many, plain, TYPES } from "./words.js";

//: thresholds of this server where a request names none
const DEFAULTS = JSON.parse(document.body.dataset.thresholds);

// the thresholds that a result was made with
export function thresholdsOf(task) {
  const of = type => task.thresholds?.[type] ?? task.options[`${type}-threshold`] ?? DEFAULTS[type];
  return Object.fromEntries(TYPES.map(type => [type, Number(of(type))]));
}

export class Thresholds {
  // candidates: what was seen, down to low scores; tracks: of a video; moved(values) while a slider moves, chosen(type, value) after it
  constructor(task, candidates, tracks, { moved, chosen, say }) {
    Object.assign(this, { task, candidates, tracks, moved, values: thresholdsOf(task), first: thresholdsOf(task), rows: new Map() });
    const types = TYPES.filter(type => task.object_types.includes(type));
    this.element = make("div", { className: "thresholds" },
      make("p", { textContent: tracks
        ? "A lower threshold redacts more, after Apply. Nothing is detected again."
        : "A lower threshold redacts more. The picture shows it at once; nothing is detected again." }),
      ...types.map(type => this.row(type, chosen)),
      make("div", { className: "actions" },
        button("Use for the next files", () => { rememberThresholds(this.values); say("The next files on this page get these thresholds."); }),
        button("Save as profile", () => { this.download(); say("Saved. An operator adds it with: anonymizer profile create NAME --from FILE."); })));
    this.count();
  }

  row(type, chosen) {
    const shown = make("output", {}), lowest = Math.max(0.05, Math.ceil((this.candidates.lowest[type] ?? 0) * 100) / 100);
    const slider = make("input", { type: "range", min: lowest, max: 0.95, step: 0.01, value: this.values[type], ariaLabel: `Threshold of ${plain(type)}s` });
    slider.addEventListener("input", () => { this.values[type] = Number(slider.value); this.count(); this.moved(this.values); });
    slider.addEventListener("change", () => chosen(type, Number(slider.value)));
    this.rows.set(type, { slider, shown });
    return make("label", { className: "row" }, make("span", { textContent: `${plain(type)}s` }), slider, shown);
  }

  // how many detections of a picture, or how many objects of a video
  count() {
    const tracked = (this.tracks ?? []).map(({ type, best }) => ({ type_label: type, score: best?.score ?? 1 }));
    const seen = [...tracked, ...this.candidates.detections.filter(({ track_id: isIn }) => !this.tracks || isIn === null)];
    for (const [type, { shown }] of this.rows) {
      const number = seen.filter(one => one.type_label === type && one.score >= this.values[type]).length;
      shown.textContent = `${this.values[type].toFixed(2)}: ${many(number, this.tracks ? "object" : "detection")}`;
    }
  }

  // after undo: the thresholds that are wanted now
  set(changed) {
    this.values = { ...this.first, ...changed };
    for (const [type, { slider }] of this.rows) slider.value = this.values[type];
    this.count();
  }

  // the file that `anonymizer profile create NAME --from FILE` reads
  download() {
    const name = `page-${new Date().toISOString().slice(0, 10)}`, thresholds = Object.fromEntries([...this.rows.keys()].map(type => [type, this.values[type]]));
    const profile = { name, thresholds, ...(this.task.options.format ? { format: this.task.options.format } : {}), created: new Date().toISOString() };
    const address = URL.createObjectURL(new Blob([JSON.stringify(profile, null, 2) + "\n"], { type: "application/json" }));
    save(address, `${name}.json`);
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  }
}
