// The tracks of a video over time: bars, gaps that the tracker filled, and marks of what is worth a look.
import { colourOf } from "./objects.js";
import { make, many, plain, svg, trackName } from "./words.js";

const ROW = 8;

// runs of frames by track; an object without a track stands for itself
export function collectTracks(frames) {
  const tracks = new Map();
  frames.forEach((frame, number) => {
    frame.detections.forEach((each, row) => {
      const key = each.track_id ?? `${number}-${row}`;
      if (!tracks.has(key)) tracks.set(key, { key, type: each.type_label, runs: [], frames: 0, best: null, first: { number, box: each.bbox } });
      const track = tracks.get(key), filled = each.source === "tracker", last = track.runs.at(-1);
      if (last && last.end === number && last.filled === filled) last.end++;
      else if (!last || last.end <= number) track.runs.push({ start: number, end: number + 1, filled });
      track.frames++;
      if (!filled && (!track.best || each.score > track.best.score)) track.best = { number, score: each.score, box: each.bbox };
    });
  });
  return [...tracks.values()];
}

export class Timeline {
  // seek(number of a frame)
  constructor(frames, tracks, seek) {
    Object.assign(this, { frames, tracks, seek, number: 0 });
    this.clock = make("span", { className: "clock" });
    this.line = svg("line", { y1: 0, class: "now" });
    this.element = make("div", { className: "timeline", tabIndex: 0, role: "slider", ariaLabel: "Time. Arrow keys go frame by frame.", aria: { valuemin: 1, valuemax: frames.length, valuenow: 1 } },
      this.draw());
    this.element.addEventListener("keydown", event => this.press(event));
    for (const name of ["pointerdown", "pointermove"]) this.element.addEventListener(name, event => { if (event.buttons & 1) this.pointAt(event); });
  }

  draw() {
    const height = Math.max(1, this.tracks.length) * ROW;
    const picture = svg("svg", { viewBox: `0 0 ${this.frames.length} ${height}`, preserveAspectRatio: "none", height: Math.max(24, height), "aria-hidden": "true" });
    this.tracks.forEach((track, row) => {
      for (const { start, end, filled } of track.runs) {
        const bar = svg("rect", { x: start, y: row * ROW + 1, width: end - start, height: ROW - 2, class: `track ${colourOf(track.type)}${filled ? " filled" : ""}` });
        bar.append(Object.assign(svg("title"), { textContent: `${plain(track.type)} ${trackName(track.key)}${filled ? ", filled by the tracker" : ""}` }));
        picture.append(bar);
      }
    });
    this.line.setAttribute("y2", height);
    picture.append(this.line);
    return picture;
  }

  // what is worth a look
  mark(moments) {
    const line = svg("svg", { viewBox: `0 0 ${this.frames.length} 4`, preserveAspectRatio: "none", height: 10, class: "marks", "aria-hidden": "true" });
    for (const { number } of moments) line.append(svg("rect", { x: number, y: 0, width: Math.max(1, this.frames.length / 200), height: 4 }));
    this.element.querySelector(".marks")?.remove();
    this.element.prepend(line);
  }

  words() {
    const gaps = this.tracks.reduce((sum, track) => sum + track.runs.filter(run => run.filled).length, 0);
    return `${many(this.tracks.length, "track")} in ${many(this.frames.length, "frame")}. ${gaps ? `The tracker filled ${many(gaps, "gap")}; they are paler.` : "The tracker filled no gap."}`;
  }

  pointAt(event) {
    const box = this.element.getBoundingClientRect();
    this.seek(Math.floor((event.clientX - box.left) / box.width * this.frames.length));
  }

  press(event) {
    const second = Math.max(1, this.frames.findIndex(frame => frame.time >= 1));
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1, PageDown: -second, PageUp: second, Home: -Infinity, End: Infinity };
    if (!(event.key in steps)) return;
    event.preventDefault();
    event.stopPropagation();
    this.seek(this.number + steps[event.key]);
  }

  show(number) {
    this.number = number;
    for (const end of ["x1", "x2"]) this.line.setAttribute(end, number + 0.5);
    this.clock.textContent = `${this.frames[number].time.toFixed(2)} s, frame ${number + 1} of ${this.frames.length}`;
    this.element.setAttribute("aria-valuenow", number + 1);
    this.element.setAttribute("aria-valuetext", this.clock.textContent);
  }
}
