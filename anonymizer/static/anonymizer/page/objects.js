// The layer of what was found: a frame for each object, with its type, score, track and model.
import { keyOf } from "./corrections.js";
import { drawn } from "./shapes.js";
import { hasTrack, plain, svg, trackName, TYPES } from "./words.js";

//: height of a label in pixels of the screen
const LABEL_PX = 18;

export const colourOf = type => TYPES.includes(type) ? type : "";

// one line on an object
export function inWords(each) {
  const track = hasTrack(each) ? ` ${trackName(each.track_id)}` : "";
  const source = { tracker: "filled by the tracker", caller: "drawn by a person", verification: "found in the second look" }[each.source];
  return [plain(each.type_label) + track, each.score?.toFixed(2), each.model, source, each.is_anonymised === false ? "not redacted" : null].filter(Boolean).join(", ");
}

export class Objects {
  constructor(stage) {
    Object.assign(this, { stage, element: stage.layer("objects"), shown: [], chosen: null, candidate: null, labels: "score" });
  }

  // decisions: by key what a reviewer wants
  draw(detections, decisions = {}) {
    this.shown = detections;
    this.decisions = decisions;
    const candidate = this.candidate && drawn({ box: this.candidate.bbox }, { class: "free chosen" });
    this.element.replaceChildren(...detections.flatMap(each => this.frame(each)), ...(candidate ? [candidate] : []));
  }

  frame(each) {
    const key = keyOf(each), decision = this.decisions[key], isFree = decision === "drop" || decision === "visible";
    const state = `${colourOf(each.type_label)}${each.source === "tracker" ? " filled" : ""}${isFree ? " free" : ""}${key === this.chosen ? " chosen" : ""}`;
    const frame = drawn({ box: each.bbox }, { class: state });
    if (this.labels === "none") return [frame];
    // at the upper edge there is no room above the box
    const [x, y] = each.bbox, text = svg("text", { x, y, dy: y < LABEL_PX * this.stage.unit() ? "1.1em" : "-.3em" });
    const short = [each.score?.toFixed(2), hasTrack(each) && trackName(each.track_id)].filter(Boolean).join(" ");
    text.textContent = (this.labels === "all" ? inWords(each) : short) + (decision === "drop" ? " no object" : decision === "visible" ? " stays visible" : "");
    return [frame, text];
  }

  // the smallest object at a point
  at(x, y) {
    const area = ([x1, y1, x2, y2]) => (x2 - x1) * (y2 - y1);
    const hit = this.shown.filter(({ bbox: [x1, y1, x2, y2] }) => x1 <= x && x <= x2 && y1 <= y && y <= y2);
    return hit.sort((a, b) => area(a.bbox) - area(b.bbox))[0] ?? null;
  }
}
