// What the stage shows: a picture, or a film that plays. Both have the result, the original, and what was found.
import { Files } from "./files.js";
import { Player } from "./player.js";
import { Redraw } from "./redraw.js";
import { thresholdsOf } from "./thresholds.js";
import { collectTracks } from "./timeline.js";
import { make, pause } from "./words.js";
import { worthInPicture, worthInVideo } from "./worth.js";
import { keyOf } from "./corrections.js";

//: how long the page may stand still while it prepares a preview
const SLICE_MS = 15;
//: how long the address of a video works at least
const LINK_MS = 9 * 60_000;

// where a candidate is in a frame: rows of frame, x1, y1, x2, y2; null: it is not there
function boxAt(rows, number) {
  const after = rows.findIndex(([at]) => at >= number);
  if (after < 0 || (after === 0 && rows[0][0] > number)) return null;
  const [first, second] = [rows[Math.max(0, after - 1)], rows[after]], span = second[0] - first[0] || 1;
  return second.slice(1).map((end, side) => Math.round(end - (end - first[side + 1]) * (second[0] - number) / span));
}

const CANNOT = "This browser cannot show the original.";

class Media {
  constructor(view, tag) {
    Object.assign(this, { view, tag, before: null, controls: null, time: 0 });
  }

  get plane() { return this.view.stage.plane; }

  // layers of pixels lie under the drawings
  put(element) { this.plane.insertBefore(element, this.plane.querySelector("svg")); }

  address(files, kind) { return files.address(kind); }

  // the original under the slider, or another version; null: there is none
  async addBefore(address) {
    const before = make(this.tag, { className: "before", alt: "", muted: true, playsInline: true });
    const isReady = new Promise((done, failed) => {
      before.addEventListener(this.tag === "img" ? "load" : "loadeddata", done, { once: true });
      before.addEventListener("error", () => failed(new Error(CANNOT)), { once: true });
    });
    before.src = address;
    await isReady;
    this.before?.remove();
    this.before = before;
    this.put(before);
    this.view.canSplit(true);
    return before;
  }

  async loadOriginal() {
    const { files, file, task } = this.view;
    if (task.method === "detect") return;
    try { await this.addBefore(file ? files.local(file) : await this.address(files, "original"), files, "original"); }
    // it was not kept, the browser cannot show it, or it is another client's
    catch (error) { if (error.status === 403) this.view.noOriginal = error.message; }
  }

  async compare(version) {
    this.other ??= new Files(this.view.task, version);
    this.other.version = version;
    await this.addBefore(await this.address(this.other, "anonymised"), this.other, "anonymised");
  }

  // objects whose scores reach other thresholds, and candidates that were taken; what is no candidate stays
  over(detections, thresholds) {
    const { task, candidates, corrections } = this.view, { taken } = corrections.now, first = thresholdsOf(task);
    const isChanged = Object.keys(thresholds).some(type => thresholds[type] !== first[type]);
    if (!isChanged && !taken.length) return detections;
    const wanted = { ...first, ...thresholds };
    const kept = detections.filter(each => this.isFixed(each) || this.scoreOf(each) >= wanted[each.type_label] || !isChanged);
    const isNew = each => taken.includes(each.id) || (each.score >= wanted[each.type_label] && each.score < first[each.type_label]);
    return [...kept, ...(candidates?.detections ?? []).filter(isNew).map(each => this.asNew(each)).filter(Boolean)];
  }

  isFixed(each) { return each.source !== "detector"; }
  scoreOf(each) { return each.score; }
  // a candidate as an object of what is shown now; null: it is not there
  asNew(each) { return { ...each, id: `new ${each.id}`, track_id: undefined, is_anonymised: true, isNew: true, candidate: each }; }
  // the candidate that is chosen, where it is now
  placed(candidate) { return candidate; }

  press() { return false; }
  close() { this.other?.close(); }
}

export class Picture extends Media {
  constructor(view) { super(view, "img"); }

  async load() {
    const { files, stage, task } = this.view, shown = files.url("anonymised") ? "anonymised" : "binary-mask";
    const [address, found] = await Promise.all([files.url(shown) && files.address(shown), files.json("metadata")]);
    this.found = found;
    stage.setSize(found.size[1], found.size[0]);
    const image = make("img", { src: address ?? "", alt: `${task.name}, anonymised` });
    image.onerror = () => this.view.say("This browser cannot show the picture. Download it.");
    this.image = image;
    this.put(image);
    await this.loadOriginal();
    this.original = this.before;
  }

  worth(candidates, thresholds) { return worthInPicture(this.found.detections, candidates?.detections ?? [], thresholds); }

  go() {}

  draw({ added, decisions, thresholds }) {
    const { objects, corrections } = this.view;
    this.now = { added, decisions, thresholds };
    objects.draw(this.over(this.found?.detections ?? [], thresholds), decisions);
    if (corrections.isEmpty) { this.showRedrawn(false); return; }
    this.redraw();
  }

  // while a slider moves
  preview(thresholds) {
    this.view.objects.draw(this.over(this.found.detections, thresholds), this.now.decisions);
    this.redraw();
  }

  // what the first move of a slider needs, before it is moved
  async prepare() {
    let last = performance.now();
    if (!this.original || this.drawn) return;
    const { stage, task } = this.view;
    this.ground = make("img", { src: this.original.src, alt: "", className: "ground" });
    await this.ground.decode();
    if (!this.drawn) this.build(stage, task);
    for (const each of [...this.found.detections.map(one => ({ ...one, key: keyOf(one) })), ...this.view.candidates?.detections ?? []]) {
      this.drawn.patch({ ...each, method: undefined });
      if (performance.now() - last > SLICE_MS) { await pause(0); last = performance.now(); }
    }
  }

  build({ width, height }, { method }) {
    this.ground ??= make("img", { src: this.original.src, alt: "", className: "ground" });
    this.drawn = new Redraw(this.original, width, height, method);
    this.drawn.element.hidden = true;
    // under the result, so that the browser has decoded it when it is needed
    this.plane.prepend(this.ground);
    this.plane.insertBefore(this.drawn.element, this.plane.querySelector(".before"));
  }

  redraw() {
    if (!this.original) return;
    const { stage, objects, task, corrections } = this.view;
    if (!this.drawn) this.build(stage, task);
    const decisionOf = each => this.now.decisions[keyOf(each)];
    const kept = objects.shown.filter(each => each.is_anonymised !== false && !["drop", "visible"].includes(decisionOf(each)))
      .map(each => ({ ...each, key: keyOf(each), method: decisionOf(each)?.method }));
    const drawn = this.now.added.map(region => ({ key: `drawn ${region.number}`, type_label: region.type, shape: corrections.shapeAt(region, 0), method: region.method || undefined }));
    this.drawn.draw([...kept, ...drawn]);
    this.showRedrawn(true);
  }

  showRedrawn(isShown) {
    if (!this.drawn) return;
    this.drawn.element.hidden = !isShown;
    this.image.hidden = isShown;
  }

  async showMask(isShown) {
    this.mask ??= make("img", { className: "mask", alt: "", src: await this.view.files.address("instance-mask", { "mask-scale": 100 }) });
    if (!this.mask.isConnected) this.put(this.mask);
    this.mask.hidden = !isShown;
  }
}

export class Film extends Media {
  constructor(view) {
    super(view, "video");
    this.controls = make("div", { className: "left-bottom" });
    this.frames = [];
  }

  async load() {
    const { files, stage } = this.view, shown = files.url("anonymised") ? "anonymised" : "binary-mask";
    const [address, frames] = await Promise.all([files.url(shown) && files.stream(shown), files.json("metadata")]);
    this.frames = frames;
    if (frames.length) stage.setSize(frames[0].size[1], frames[0].size[0]);
    this.tracks = collectTracks(frames);
    this.bests = new Map(this.tracks.map(({ key, best }) => [key, best?.score]));
    this.player = new Player(stage, frames, this.tracks, number => this.shown(number));
    this.player.video.onerror = async () => {
      const isRenewed = await this.renew(this.player.video, files, shown).catch(() => false);
      if (!isRenewed) this.view.say("This browser cannot play the video. Download it.");
    };
    this.player.video.src = address ?? "";
    this.put(this.player.video);
    this.controls.replaceChildren(this.player.element);
    await this.loadOriginal();
    this.player.at(0);
  }

  // a video is not fetched whole: the player asks for the parts that it shows
  address(files, kind) { return files.stream(kind); }

  async addBefore(address, files, kind) {
    this.player.before = await super.addBefore(address);
    this.player.before.addEventListener("error", () => this.renew(this.player.before, files, kind));
    this.player.follow(false);
  }

  // A player whose address has ended gets another one, and goes on where it was. Whether there was one.
  async renew(video, files, kind) {
    if (performance.now() - files.streamedAt < LINK_MS) return false;
    const { currentTime, paused } = video;
    video.src = await files.stream(kind);
    video.currentTime = currentTime;
    if (!paused) await video.play();
    return true;
  }

  worth(candidates, thresholds) {
    const moments = worthInVideo(this.frames, this.tracks, candidates?.detections ?? [], thresholds);
    this.player.timeline.mark(moments);
    return moments;
  }

  // a track is redacted whole, by its best score
  isFixed(each) { return each.source === "caller" || each.source === "verification"; }
  scoreOf(each) { return this.bests.get(each.track_id) ?? each.score; }
  placed(candidate) {
    const bbox = boxAt(candidate.boxes, this.player?.number ?? 0);
    return bbox && { ...candidate, bbox };
  }
  asNew(each) {
    const placed = this.placed(each);
    return placed && { ...super.asNew(placed), candidate: each };
  }

  go({ number }) { this.player.seek(number); }

  shown(number) {
    const frame = this.frames[number];
    this.time = frame.time;
    this.view.stage.setSize(frame.size[1], frame.size[0]);
    if (this.now) this.draw(this.now);
    this.view.editor.draw();
  }

  draw(now) {
    this.now = now;
    const frame = this.frames[this.player?.number ?? 0];
    const { objects, chosen } = this.view;
    objects.candidate = chosen?.candidate ? this.placed(chosen.candidate) : null;
    if (frame) objects.draw(this.over(frame.detections, now.thresholds), now.decisions);
  }

  preview(thresholds) { this.draw({ ...this.now, thresholds }); }

  press(event) { return this.player?.press(event) ?? false; }

  close() {
    super.close();
    this.player?.close();
  }
}
