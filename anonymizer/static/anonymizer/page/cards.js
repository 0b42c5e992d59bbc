// One card for each file: its upload, its processing, its result.
import { get, remove, upload } from "./api.js";
import { openTask } from "./viewer.js";
import { clock, counted, make, pause } from "./words.js";

const ENDED = ["done", "failed", "deleted"];
//: uploads at once: more only share the connection
const UPLOADS = 2;
const cards = document.getElementById("cards"), title = document.getElementById("files-title");
const waiting = [];
let uploading = 0;

export function addFile(file, query) {
  const card = new Card(file);
  title.hidden = false;
  cards.prepend(card.element);
  waiting.push(() => card.run(query));
  next();
}

function next() {
  while (uploading < UPLOADS && waiting.length) {
    uploading++;
    waiting.shift()();
  }
}

class Card {
  constructor(file) {
    this.file = file;
    this.task = null;
    this.abort = new AbortController();
    this.preview = URL.createObjectURL(file);
    this.text = make("p", { role: "status", textContent: "Waiting …" });
    this.bar = make("progress", { max: 1, value: 0, ariaLabel: `Progress of ${file.name}` });
    this.notes = make("div");
    this.stop = make("button", { type: "button", textContent: "Stop and delete", onclick: () => this.end() });
    this.actions = make("div", { className: "actions" }, this.stop);
    this.element = make("article", { className: "card" }, this.thumbnail(),
      make("div", { className: "words" }, make("h3", { textContent: file.name }), this.text, this.bar, this.notes, this.actions));
  }

  thumbnail() {
    const holder = make("div", { className: "thumbnail" });
    const isVideo = this.file.type.startsWith("video/");
    const shown = isVideo ? make("video", { src: this.preview, muted: true, preload: "metadata" }) : make("img", { src: this.preview, alt: "" });
    shown.onerror = () => holder.replaceChildren("no preview in this browser");
    holder.append(shown);
    return holder;
  }

  async run(query) {
    try {
      try {
        this.task = await upload(this.file, query, share => this.uploaded(share), this.abort.signal);
      } finally {
        uploading--;
        next();
      }
      this.element.dataset.id = this.task.id;
      await this.follow();
      this.show();
    } catch (error) {
      this.fail(error.message);
    }
  }

  uploaded(share) {
    this.bar.value = share;
    this.text.textContent = share < 1 ? `Uploading: ${Math.floor(100 * share)} %` : "Uploaded. Checking …";
  }

  async follow() {
    this.bar.removeAttribute("value");
    let seconds = 0.3;
    while (!ENDED.includes(this.task.status)) {
      const { status, video, progress } = this.task;
      this.text.textContent = status === "processing" ? "Processing …" : "Waiting for a free worker …";
      if (status === "processing" && video) {
        if (video.total) this.bar.value = progress;
        this.text.textContent = `Frame ${video.frames}${video.total ? ` of ${video.total}` : ""}, ${video.frames_per_second.toFixed(1)} per second`
          + (video.seconds_left === null ? "" : `, ${clock(video.seconds_left)} left`);
      }
      await pause(seconds);
      seconds = Math.min(2, seconds * 1.2);
      this.task = await get(this.task.task_url);
    }
  }

  show() {
    const task = this.task;
    this.bar.hidden = true;
    if (task.status === "deleted") {
      this.text.textContent = "Deleted.";
      this.actions.replaceChildren();
      return;
    }
    if (task.status === "failed") return this.fail(task.error);
    const frames = task.video ? `${task.video.frames} frames, ` : "", found = counted(task.detections);
    this.text.textContent = `${found ? `Found: ${found}` : "Nothing was found"} (${frames}${(task.duration ?? 0).toFixed(1)} s)`;
    this.notes.replaceChildren(...task.warnings.map(warning => make("p", { className: "warning", textContent: warning })));
    this.stop.textContent = "Delete";
    const open = make("button", { type: "button", className: "main", textContent: "Look at the result", onclick: () => openTask(task, { file: this.file, deleted: () => this.end(), opener: open }) });
    this.actions.replaceChildren(open, this.stop);
  }

  fail(sentence) {
    this.bar.hidden = true;
    this.text.replaceChildren(make("span", { className: "error", role: "alert", textContent: sentence }));
    this.stop.textContent = "Remove";
  }

  async end() {
    this.abort.abort();
    if (!this.task) return this.element.remove();
    this.stop.disabled = true;
    try {
      this.task = await remove(this.task.task_url);
      this.show();
    } catch (error) {
      this.stop.disabled = false;
      this.fail(error.message);
    }
  }
}
