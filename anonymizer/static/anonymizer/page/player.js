// Plays a result and its original in step, frame by frame.
import { Timeline } from "./timeline.js";
import { button, make } from "./words.js";

//: a little after the beginning of a frame, so that the browser shows this frame and not the one before
const INSIDE_S = 1e-3;

export class Player {
  // shown(number of a frame): called for each frame that appears
  constructor(stage, frames, tracks, shown) {
    Object.assign(this, { stage, frames, shown, before: null, number: 0 });
    this.video = make("video", { controls: false, muted: true, preload: "auto", playsInline: true });
    this.timeline = new Timeline(frames, tracks, number => this.seek(number));
    this.play = button("Play", () => this.toggle());
    this.sound = button("Sound on", () => {
      this.video.muted = !this.video.muted;
      this.sound.textContent = this.video.muted ? "Sound on" : "Sound off";
    });
    const step = (text, label, by) => button(text, () => this.seek(this.number + by), { ariaLabel: label });
    this.element = make("div", { className: "player" },
      make("div", { className: "tools" }, this.play, step("◀", "One frame back", -1), step("▶", "One frame on", 1), this.sound, this.timeline.clock), this.timeline.element);
    this.listen();
  }

  listen() {
    const { video } = this;
    video.addEventListener("play", () => { this.play.textContent = "Pause"; this.follow(true); });
    video.addEventListener("pause", () => { this.play.textContent = "Play"; this.follow(false); });
    video.addEventListener("seeked", () => { this.follow(false); this.at(video.currentTime); });
    const frame = (_, { mediaTime }) => { this.at(mediaTime); video.requestVideoFrameCallback(frame); };
    if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(frame);
    else video.addEventListener("timeupdate", () => this.at(video.currentTime));
  }

  // the original does what the result does
  follow(plays) {
    if (!this.before) return;
    if (Math.abs(this.before.currentTime - this.video.currentTime) > INSIDE_S) this.before.currentTime = this.video.currentTime;
    if (plays) this.before.play(); else this.before.pause();
  }

  get time() { return this.frames[this.number]?.time ?? 0; }

  toggle() { if (this.video.paused) this.video.play(); else this.video.pause(); }

  // the frame that is shown at a time: the last one that began before it
  numberAt(time) {
    let low = 0, high = this.frames.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (this.frames[middle].time <= time + INSIDE_S) low = middle; else high = middle - 1;
    }
    return low;
  }

  at(time) {
    if (!this.frames.length) return;
    this.number = this.numberAt(time);
    this.timeline.show(this.number);
    this.shown(this.number);
  }

  seek(number) {
    this.video.pause();
    const frame = this.frames[Math.min(this.frames.length - 1, Math.max(0, number))];
    if (!frame) return;
    this.video.currentTime = frame.time + INSIDE_S;
    this.at(frame.time);
  }

  // whether the key was one of its own
  press({ key }) {
    if (key === " ") this.toggle();
    else if (key === ",") this.seek(this.number - 1);
    else if (key === ".") this.seek(this.number + 1);
    else return false;
    return true;
  }

  close() { this.video.pause(); this.before?.pause(); }
}
