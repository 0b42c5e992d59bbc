// What a reviewer wants changed, with undo and redo; nothing is sent before `body` is.
import { between, clipped, kind } from "./shapes.js";

const EMPTY = { added: [], taken: [], decisions: {}, thresholds: {} };
//: seconds around the frame in which a shape was drawn that still are this frame
const SAME_FRAME = 1e-3;
let last = 0;

// how the API names an object: by its track, or by its number in a picture
export const keyOf = each => each.track_id === null || each.track_id === undefined ? `id ${each.id}` : `track_id ${each.track_id}`;
const named = key => { const [name, number] = key.split(" "); return { [name]: Number(number) }; };

export class Corrections {
  constructor(isVideo) {
    Object.assign(this, { isVideo, states: [EMPTY], at: 0, changed: () => {} });
  }

  get now() { return this.states[this.at]; }
  get isEmpty() { return this.at === 0; }
  get canRedo() { return this.at < this.states.length - 1; }

  put(changes) {
    this.states.splice(this.at + 1);
    this.states.push({ ...this.now, ...changes });
    this.at++;
    this.changed();
  }
  undo() { if (this.at) { this.at--; this.changed(); } }
  redo() { if (this.canRedo) { this.at++; this.changed(); } }
  clear() { this.states = [EMPTY]; this.at = 0; this.changed(); }

  find(number) { return this.now.added.find(region => region.number === number); }

  add(type, shape, time, mode) {
    const region = { number: ++last, type, mode: this.isVideo ? mode : null, from: 0, to: null, method: "", frames: [{ time, shape }] };
    this.put({ added: [...this.now.added, region] });
    return region.number;
  }
  edit(number, changes) { this.put({ added: this.now.added.map(each => each.number === number ? { ...each, ...changes } : each) }); }
  remove(number) { this.put({ added: this.now.added.filter(each => each.number !== number) }); }

  // a shape that is moved at another time of a video becomes a key frame
  reshape(number, shape, time) {
    const others = this.find(number).frames.filter(frame => this.isVideo && Math.abs(frame.time - time) > SAME_FRAME);
    this.edit(number, { frames: [...others, { time, shape }].sort((a, b) => a.time - b.time) });
  }

  // what happens with a found object: drop, visible, or { method, kernel_size }; null: as it was found
  decide(key, what) {
    const { [key]: _, ...others } = this.now.decisions;
    this.put({ decisions: what === null ? others : { ...others, [key]: what } });
  }
  // a candidate that is redacted, whatever its score
  take(id, isTaken = true) { this.put({ taken: isTaken ? [...this.now.taken, id] : this.now.taken.filter(each => each !== id) }); }
  threshold(type, value) { this.put({ thresholds: { ...this.now.thresholds, [type]: value } }); }

  // the shape of a region at a time, or null
  shapeAt(region, time) {
    const { frames, mode, from, to } = region;
    if (!this.isVideo) return frames[0].shape;
    const exact = frames.find(frame => Math.abs(frame.time - time) <= SAME_FRAME);
    if (exact || mode !== "span") return exact?.shape ?? null;
    if (time < from - SAME_FRAME || (to !== null && time > to + SAME_FRAME)) return null;
    const after = frames.findIndex(frame => frame.time > time);
    if (after === 0) return frames[0].shape;
    if (after < 0) return frames.at(-1).shape;
    const [a, b] = [frames[after - 1], frames[after]];
    return between(a.shape, b.shape, (time - a.time) / (b.time - a.time));
  }

  // the body of POST /v1/task/{id}/review
  body(width, height) {
    const { added, taken, decisions, thresholds } = this.now, of = what => Object.entries(decisions).filter(([, each]) => each === what).map(([key]) => named(key));
    const change = Object.entries(decisions).filter(([, each]) => each.method || each.kernel_size).map(([key, each]) => ({ ...named(key), ...each }));
    const parts = { add: added.map(region => this.region(region, width, height)).filter(Boolean), take: taken.map(candidate => ({ candidate })), drop: of("drop"), visible: of("visible"), change };
    const body = Object.fromEntries(Object.entries(parts).filter(([, list]) => list.length));
    if (Object.keys(thresholds).length) body.thresholds = thresholds;
    return body;
  }

  region({ type, mode, from, to, method, frames }, width, height) {
    const within = frames.map(frame => ({ time: frame.time, ...clipped(frame.shape, width, height) })).filter(frame => kind(frame) && Object.keys(frame).length > 1);
    if (!within.length) return null;
    const { time, ...shape } = within[0], region = { type, ...(method ? { method } : {}) };
    if (!this.isVideo) return { ...region, ...shape };
    // the times of the metadata are rounded
    const end = to === null ? {} : { to: to + SAME_FRAME };
    if (mode === "frame") return { ...region, ...shape, from: Math.max(0, time - SAME_FRAME), to: time + SAME_FRAME };
    if (mode === "span" && within.length === 1) return { ...region, ...shape, from: Math.max(0, from - SAME_FRAME), ...end };
    if (mode === "span") return { ...region, keyframes: within, from: Math.max(0, from - SAME_FRAME), ...(to === null ? { to: 1e6 } : end) };
    return { ...region, ...shape, from: time, follow: mode };
  }
}
