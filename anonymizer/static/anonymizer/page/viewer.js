// A result at full size: before and after, what was found, and for videos the tracks over time.
import { get, release, source } from "./api.js";
import { Timeline } from "./timeline.js";
import { counted, make, svg, TYPES } from "./words.js";
import { Zoom } from "./zoom.js";

const dialog = document.getElementById("viewer");

export async function openTask(task, { file = null, opener = null, deleted = null } = {}) {
  const view = new View(task, file, deleted);
  dialog.replaceChildren(...view.elements());
  dialog.showModal();
  dialog.addEventListener("close", () => { view.close(); dialog.replaceChildren(); opener?.focus(); }, { once: true });
  await view.load();
}

class View {
  constructor(task, file, deleted) {
    this.task = task;
    this.file = file;
    this.deleted = deleted;
    this.isVideo = task.kind === "video";
    this.urls = [];
    this.frames = [];
    this.plane = make("div", { className: "plane" });
    this.stage = make("div", { className: "stage", tabIndex: 0, role: "group", ariaLabel: "The result. Arrow keys move, plus and minus zoom, 0 shows all." }, this.plane);
    this.layer = svg("svg", { "aria-hidden": "true" });
    this.list = make("ul", { className: "found" });
    this.message = make("p", { role: "status" });
    this.zoom = new Zoom(this.stage, this.plane);
  }

  elements() {
    const close = make("button", { type: "button", textContent: "Close", onclick: () => dialog.close() });
    const top = make("div", { className: "top" }, make("h2", { id: "viewer-title", textContent: this.task.name || "Result" }), close);
    this.bottom = make("div", { className: "left-bottom" });
    const left = make("div", { className: "left" }, this.stage, this.tools(), this.bottom);
    return [top, left, this.side()];
  }

  tools() {
    this.split = make("input", { type: "range", min: 0, max: 100, value: 0, disabled: true, oninput: () => this.stage.style.setProperty("--split", `${this.split.value}%`) });
    this.boxes = make("input", { type: "checkbox", checked: true, onchange: () => { this.layer.style.display = this.boxes.checked ? "" : "none"; } });
    this.masks = make("input", { type: "checkbox", onchange: () => this.toggleMask() });
    const zoom = (text, label, action) => make("button", { type: "button", textContent: text, ariaLabel: label, onclick: action });
    this.before = make("label", { hidden: true }, "Before", this.split, "after");
    return make("div", { className: "tools" }, this.before,
      make("label", {}, this.boxes, "boxes"),
      this.task.instance_mask_url && !this.isVideo ? make("label", {}, this.masks, "masks") : null,
      zoom("−", "Smaller", () => this.zoom.by(1 / 1.4)), zoom("+", "Larger", () => this.zoom.by(1.4)), zoom("Show all", "Show all", () => this.zoom.reset()));
  }

  side() {
    const { task } = this, side = make("div", { className: "side" });
    side.append(make("p", { textContent: counted(task.detections) ? `Found: ${counted(task.detections)}` : "Nothing was found." }), this.message);
    for (const warning of task.warnings) side.append(make("p", { className: "warning", textContent: warning }));
    const files = [["Result", task.anonymised_url], ["Binary mask", task.binary_mask_url], ["Instance mask", task.instance_mask_url], ["Metadata", task.metadata_url], ["Receipt", task.receipt_url]];
    const links = make("div", { className: "actions" });
    for (const [label, url] of files) if (url) links.append(make("button", { type: "button", className: label === "Result" ? "main" : "", textContent: label, ariaLabel: `Download: ${label}`, onclick: () => this.download(url, label) }));
    if (this.deleted) links.append(make("button", { type: "button", textContent: "Delete", onclick: () => { dialog.close(); this.deleted(); } }));
    side.append(make("h3", { textContent: "Download" }), links);
    const words = [["Method", task.method], ["Models", task.models.join(", ")], ["Seconds", task.duration?.toFixed(2)]];
    side.append(make("p", { textContent: words.filter(([, value]) => value).map(([name, value]) => `${name}: ${value}`).join(". ") }));
    side.append(make("h3", { textContent: this.isVideo ? "Worth a look" : "Objects" }), this.list);
    return side;
  }

  async load() {
    try {
      const shown = this.task.anonymised_url ?? this.task.binary_mask_url;
      const [address, found] = await Promise.all([shown && this.fetched(shown), get(this.task.metadata_url)]);
      if (this.isVideo) return await this.showVideo(address, found);
      await this.showImage(address, found);
    } catch (error) {
      this.message.replaceChildren(make("span", { className: "error", textContent: error.message }));
    }
  }

  async fetched(url) {
    this.urls.push(url);
    return source(url);
  }

  async showImage(address, found) {
    const [height, width] = found.size;
    const image = make("img", { src: address, alt: `${this.task.name}, anonymised` });
    image.onerror = () => { this.message.textContent = "This browser cannot show the picture. Download it."; };
    this.plane.append(image);
    await this.addBefore("img");
    this.drawObjects(width, height, found.detections);
    this.list.replaceChildren(...found.detections.map((each, number) => this.row(each, number)));
  }

  // the file that was chosen on this page, or the original of an earlier task
  async addBefore(tag) {
    if (this.task.method === "detect") return;
    let address;
    try {
      address = this.file ? (this.fileUrl = URL.createObjectURL(this.file)) : await this.fetched(`/v1/file/${this.task.id}/original`);
    } catch { return; }
    const before = make(tag, { className: "before", alt: "", muted: true });
    before.addEventListener(tag === "img" ? "load" : "loadeddata", () => {
      this.before.hidden = false;
      this.split.disabled = false;
      this.plane.append(make("div", { className: "split-line" }));
    }, { once: true });
    before.src = address;
    this.plane.append(before);
    return before;
  }

  row(each, number) {
    const parts = [each.type_label.replace("-", " "), each.score.toFixed(2), each.model, each.source === "tracker" ? "filled" : null, each.is_anonymised ? null : "not redacted"];
    const button = make("button", { type: "button", className: each.type_label, textContent: parts.filter(Boolean).join(", ") });
    button.onclick = () => {
      for (const rect of this.layer.querySelectorAll("rect")) rect.classList.toggle("chosen", rect.dataset.number === String(number));
      this.zoom.show(this.onStage(each.bbox));
    };
    return make("li", {}, button);
  }

  // from pixels of the picture to pixels of the stage at zoom 1, as `object-fit: contain` places it
  onStage([x1, y1, x2, y2]) {
    const { clientWidth, clientHeight } = this.stage, scale = Math.min(clientWidth / this.width, clientHeight / this.height);
    const left = (clientWidth - scale * this.width) / 2, top = (clientHeight - scale * this.height) / 2;
    return [left + scale * x1, top + scale * y1, left + scale * x2, top + scale * y2];
  }

  drawObjects(width, height, detections) {
    this.width = width;
    this.height = height;
    const size = Math.max(width, height) / 60;
    this.layer.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.layer.style.fontSize = `${size}px`;
    this.layer.replaceChildren();
    detections.forEach((each, number) => {
      const [x1, y1, x2, y2] = each.bbox, type = TYPES.includes(each.type_label) ? each.type_label : "";
      const rect = svg("rect", { x: x1, y: y1, width: x2 - x1, height: y2 - y1, class: type, "data-number": number });
      const text = svg("text", { x: x1, y: Math.max(size, y1 - size * 0.3) });
      text.textContent = each.score.toFixed(2) + (each.track_id === null || each.track_id === undefined ? "" : ` #${each.track_id}`);
      this.layer.append(rect, text);
    });
    if (!this.layer.isConnected) this.plane.append(this.layer);
  }

  async toggleMask() {
    if (!this.mask) {
      this.mask = make("img", { className: "mask", alt: "", src: await this.fetched(`${this.task.instance_mask_url}?mask-scale=100`) });
      this.plane.append(this.mask);
    }
    this.mask.hidden = !this.masks.checked;
  }

  async showVideo(address, frames) {
    this.frames = frames;
    const video = make("video", { src: address ?? "", controls: false, muted: true, loop: false, preload: "auto" });
    video.onerror = () => { this.message.textContent = "This browser cannot play the video. Download it."; };
    this.plane.append(video);
    this.video = video;
    const before = await this.addBefore("video");
    const play = make("button", { type: "button", textContent: "Play", onclick: () => video.paused ? video.play() : video.pause() });
    const sound = make("button", { type: "button", textContent: "Sound on", onclick: () => { video.muted = !video.muted; sound.textContent = video.muted ? "Sound on" : "Sound off"; } });
    const step = (text, label, by) => make("button", { type: "button", textContent: text, ariaLabel: label, onclick: () => this.seek(this.number() + by) });
    video.addEventListener("play", () => { play.textContent = "Pause"; if (before) { before.currentTime = video.currentTime; before.play(); } });
    video.addEventListener("pause", () => { play.textContent = "Play"; before?.pause(); if (before) before.currentTime = video.currentTime; });
    video.addEventListener("seeked", () => { if (before) before.currentTime = video.currentTime; this.drawFrame(video.currentTime); });
    this.timeline = new Timeline(frames, this.task, number => this.seek(number));
    this.bottom.append(make("div", { className: "tools" }, play, step("◀", "One frame back", -1), step("▶", "One frame on", 1), sound, this.timeline.clock), this.timeline.element);
    this.list.replaceChildren(...this.timeline.worth().map(({ number, words, type }) =>
      make("li", {}, make("button", { type: "button", className: type, textContent: words, onclick: () => this.seek(number) }))));
    if (!this.list.children.length) this.list.append(make("li", { textContent: "No frame is doubtful." }));
    this.drawFrame(0);
    const follow = (_, { mediaTime }) => { this.drawFrame(mediaTime); video.requestVideoFrameCallback(follow); };
    if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(follow);
    else video.addEventListener("timeupdate", () => this.drawFrame(video.currentTime));
  }

  // the frame that is shown at a time: the last one that began before it
  numberAt(time) {
    let low = 0, high = this.frames.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (this.frames[middle].time <= time + 1e-3) low = middle; else high = middle - 1;
    }
    return low;
  }

  number() { return this.numberAt(this.video.currentTime); }

  seek(number) {
    this.video.pause();
    const frame = this.frames[Math.min(this.frames.length - 1, Math.max(0, number))];
    if (frame) this.video.currentTime = frame.time + 1e-3;
  }

  drawFrame(time) {
    const number = this.numberAt(time), frame = this.frames[number];
    if (!frame) return;
    this.drawObjects(frame.size[1], frame.size[0], frame.detections);
    this.timeline.show(number);
  }

  async download(url, label) {
    try {
      const address = await this.fetched(url);
      // a file that was fetched with a token has lost its name
      const link = make("a", { href: address, download: address.startsWith("blob:") ? `${this.task.name} ${label.toLowerCase()}` : "" });
      document.body.append(link);
      link.click();
      link.remove();
    } catch (error) { this.message.textContent = error.message; }
  }

  close() {
    this.video?.pause();
    if (this.fileUrl) URL.revokeObjectURL(this.fileUrl);
    release(this.urls);
  }
}
