// One card for each file: its upload, its processing, its result.
import { get, remove, upload } from "./api.js";
import { openTask } from "./viewer.js";
import { isViewable, needsReview, Files } from "./files.js";
import { button, clock, counted, make, pause } from "./words.js";

const ENDED = ["done", "failed", "deleted"];
//: uploads at once: more only share the connection
const UPLOADS = 2;
//: how often a card asks whether a person has approved its result
const APPROVAL_S = 5;
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
    this.stop = button("Stop and delete", () => this.end());
    this.actions = make("div", { className: "actions" }, this.stop);
    this.holder = make("div", { className: "thumbnail" });
    this.thumbnail(this.preview, file.type.startsWith("video/"));
    this.element = make("article", { className: "card" }, this.holder,
      make("div", { className: "words" }, make("h3", { textContent: file.name }), this.text, this.bar, this.notes, this.actions));
  }

  thumbnail(address, isVideo) {
    const shown = isVideo ? make("video", { muted: true, preload: "metadata", tabIndex: -1 }) : make("img", { alt: "" });
    shown.onerror = () => this.holder.replaceChildren("no preview in this browser");
    // what is shown stays until the new picture is there
    shown.addEventListener(isVideo ? "loadedmetadata" : "load", () => this.holder.replaceChildren(shown), { once: true });
    shown.src = isVideo ? `${address}#t=0.1` : address;
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
    this.began ??= performance.now();
    const left = (performance.now() - this.began) / 1000 * (1 - share) / Math.max(share, 1e-6);
    this.text.textContent = share < 1 ? `Uploading: ${Math.floor(100 * share)} %${left > 2 ? `, ${clock(left)} left` : ""}` : "Uploaded. Checking …";
  }

  async follow() {
    this.bar.removeAttribute("value");
    let seconds = 0.3;
    while (!ENDED.includes(this.task.status) && !isViewable(this.task)) {
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
    if (needsReview(task)) this.notes.append(make("p", { className: "doubt", textContent: "A person has to approve this result before it can be downloaded." }));
    this.stop.textContent = "Delete";
    const open = button("Look at the result", () => openTask(this.task, { file: this.file, deleted: () => this.end(), opener: () => this.actions.firstElementChild, changed: next => { this.task = next; this.show(); } }), { className: "main" });
    this.actions.replaceChildren(open, ...this.download(), this.stop);
    this.showResult();
    if (needsReview(task)) this.waitForApproval();
  }

  async waitForApproval() {
    const { task } = this;
    await pause(APPROVAL_S);
    if (this.task !== task || !this.element.isConnected) return;
    try {
      const next = await get(task.task_url);
      if (needsReview(next)) return this.waitForApproval();
      this.task = next;
      this.show();
    } catch { this.waitForApproval(); }
  }

  download() {
    if (!this.task.anonymised_url || needsReview(this.task)) return [];
    const files = new Files(this.task);
    return [button("Download", () => files.download("anonymised", "result").catch(error => this.fail(error.message)), { ariaLabel: `Download ${this.file.name}` })];
  }

  // the thumbnail shows what was made of the file
  async showResult() {
    this.files?.close();
    this.files = new Files(this.task);
    if (!this.files.url("anonymised")) return;
    const isVideo = this.task.kind === "video";
    try { this.thumbnail(await (isVideo ? this.files.stream("anonymised") : this.files.address("anonymised", { thumbnail: this.task.version ?? 1 })), isVideo); } catch { /* the picture of the file stays */ }
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
