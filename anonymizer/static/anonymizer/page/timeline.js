// The tracks of a video over time, and the moments that a person should look at.
import { clock, make, svg, TYPES } from "./words.js";

//: a track of fewer frames is short; an object with a shorter side below so many pixels is small
const SHORT_FRAMES = 3, SMALL_PX = 24;
//: how far above its threshold a score is doubtful, and how many moments are listed
const NEAR = 0.1, MOST = 100;
const ROW = 8;

export class Timeline {
  constructor(frames, task, seek) {
    Object.assign(this, { frames, task, seek });
    this.clock = make("span", {});
    this.line = svg("line", { y1: 0, class: "now" });
    this.tracks = this.collect();
    this.element = make("div", { className: "timeline" }, this.draw());
  }

  // runs of frames by track; an object without a track stands for itself
  collect() {
    const tracks = new Map();
    this.frames.forEach((frame, number) => {
      frame.detections.forEach((each, row) => {
        const key = each.track_id ?? `${number}-${row}`;
        if (!tracks.has(key)) tracks.set(key, { key, type: each.type_label, runs: [], frames: 0, best: null });
        const track = tracks.get(key), filled = each.source === "tracker", last = track.runs.at(-1);
        if (last && last.end === number && last.filled === filled) last.end++;
        else if (!last || last.end <= number) track.runs.push({ start: number, end: number + 1, filled });
        track.frames++;
        if (!filled && (!track.best || each.score > track.best.score)) track.best = { number, score: each.score, box: each.bbox };
      });
    });
    return [...tracks.values()];
  }

  draw() {
    const height = Math.max(1, this.tracks.length) * ROW, picture = svg("svg", { viewBox: `0 0 ${this.frames.length} ${height}`, preserveAspectRatio: "none", height: Math.max(24, height), role: "img" });
    picture.append(Object.assign(svg("title"), { textContent: `${this.tracks.length} tracks over ${this.frames.length} frames` }));
    this.tracks.forEach((track, row) => {
      for (const { start, end, filled } of track.runs) {
        const bar = svg("rect", { x: start, y: row * ROW + 1, width: end - start, height: ROW - 2, class: `track ${TYPES.includes(track.type) ? track.type : ""}${filled ? " filled" : ""}` });
        bar.append(Object.assign(svg("title"), { textContent: `${track.type} #${track.key}${filled ? ", filled by the tracker" : ""}` }));
        picture.append(bar);
      }
    });
    this.line.setAttribute("y2", height);
    picture.append(this.line);
    picture.addEventListener("click", event => {
      const box = picture.getBoundingClientRect();
      this.seek(Math.floor((event.clientX - box.left) / box.width * this.frames.length));
    });
    return picture;
  }

  show(number) {
    for (const end of ["x1", "x2"]) this.line.setAttribute(end, number + 0.5);
    this.clock.textContent = `${this.frames[number].time.toFixed(2)} s, frame ${number + 1} of ${this.frames.length}`;
  }

  threshold(type) {
    return this.task.options[`${type}-threshold`] ?? (["person", "vehicle"].includes(type) ? 0.4 : 0.5);
  }

  worth() {
    const moments = [];
    for (const { key, type, frames, best } of this.tracks) {
      if (!best) continue;
      const reasons = [];
      if (best.score < this.threshold(type) + NEAR) reasons.push("near the threshold");
      if (Math.min(best.box[2] - best.box[0], best.box[3] - best.box[1]) < SMALL_PX) reasons.push("small");
      if (frames < SHORT_FRAMES) reasons.push("short track");
      if (reasons.length) moments.push({ number: best.number, type, words: `${clock(this.frames[best.number].time)} ${type.replace("-", " ")} #${key}: ${reasons.join(", ")}` });
    }
    return moments.sort((a, b) => a.number - b.number).slice(0, MOST);
  }
}
