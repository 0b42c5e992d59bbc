// A result at full size: before and after, layers, objects, corrections. One dialog for all results.
import { get, send } from "./api.js";
import { Chosen } from "./chosen.js";
import { Corrections, keyOf } from "./corrections.js";
import { downloads, facts, section, summary } from "./details.js";
import { Editor } from "./editor.js";
import { Files, needsReview } from "./files.js";
import { inWords, Objects } from "./objects.js";
import { Picture, Film } from "./media.js";
import { Stage } from "./stage.js";
import { thresholdsOf, Thresholds } from "./thresholds.js";
import { correctionBar, viewTools } from "./tools.js";
import { Versions } from "./versions.js";
import { button, clock, make, pause } from "./words.js";

const dialog = document.getElementById("viewer");
//: corrections that were not applied yet, by task and version: closing the dialog loses none
const drafts = new Map();
const FEW = 15;
const LABEL = "The result. Arrow keys move, plus and minus zoom, 0 shows all, N shows what is worth a look.";

// opener: finds the element that gets the focus back; next: opens the next result of a queue
export async function openTask(task, { file = null, opener = null, deleted = null, next = null, changed = null } = {}) {
  const view = new View(task, { file, deleted, next, changed, opener });
  await view.open();
  return view;
}

class View {
  constructor(task, around, version = null) {
    Object.assign(this, { task, ...around, around, version, chosen: null, candidates: null, worth: [], worthAt: -1 });
    this.isVideo = task.kind === "video";
    this.files = new Files(task, version);
    this.stage = new Stage(LABEL);
    this.media = this.isVideo ? new Film(this) : new Picture(this);
    this.objects = new Objects(this.stage);
    this.draftKey = `${task.id} ${task.version ?? 1}`;
    this.corrections = drafts.get(this.draftKey) ?? new Corrections(this.isVideo);
    drafts.set(this.draftKey, this.corrections);
    this.editor = new Editor(this.stage, this.corrections, this);
    this.panel = new Chosen(this.corrections, this);
    this.message = make("p", { role: "status", className: "message" });
    this.list = make("ul", { className: "found" });
    this.canCorrect = false;
    this.corrections.changed = () => this.refresh();
    this.listen();
  }

  listen() {
    this.stage.element.addEventListener("keydown", event => {
      const own = this.bar?.isOpen && this.editor.press(event);
      if (!own && !(event.key.toLowerCase() === "n" && this.nextWorth()) && !this.media.press(event) && !(!event.ctrlKey && !event.metaKey && this.stage.zoom.press(event))) return;
      event.preventDefault();
      event.stopPropagation();
    });
  }

  async open() {
    const { task } = this, close = button("Close", () => dialog.close());
    this.bar = correctionBar(this);
    this.sections = make("div", { className: "side", tabIndex: 0, role: "region", ariaLabel: "About this result" });
    const title = make("h2", { id: "viewer-title", textContent: task.name || "Result" });
    const left = make("div", { className: "left" }, this.stage.element, this.media.controls, viewTools(this), this.bar.element);
    dialog.replaceChildren(make("div", { className: "top" }, title, this.message, close), left, this.sections);
    if (!dialog.open) dialog.showModal();
    dialog.onclose = () => { this.close(); dialog.replaceChildren(); this.opener?.()?.focus(); };
    this.stage.element.focus();
    try { await this.load(); } catch (error) { this.fail(error); }
  }

  async load() {
    this.say("Loading …");
    await this.media.load();
    await this.loadCandidates();
    this.canCorrect = this.task.review_status !== undefined && this.task.method !== "detect" && this.version === null;
    this.say("");
    await this.fill();
    this.refresh();
    // the scores of a crowd would hide it
    if (this.objects.shown.length > FEW) this.showLabels("none");
    if (this.canCorrect) this.media.prepare?.().catch(() => {});
  }

  // all that the detectors suspected
  async loadCandidates() {
    if (this.version !== null) return;
    try {
      const { candidates, thresholds, lowest_thresholds: lowest = {} } = await this.files.json("candidates");
      this.candidates = { detections: candidates, lowest };
      this.task.thresholds = thresholds;
    } catch { /* nothing was kept */ }
  }

  async fill() {
    const { task } = this, parts = [this.approval(), ...summary(task)];
    if (this.noOriginal) parts.push(make("p", { className: "hint", textContent: this.noOriginal }));
    if (this.isVideo) parts.push(make("p", { textContent: this.media.player.timeline.words() }));
    parts.push(section("Download", true, downloads(this.files, error => this.fail(error), this.deleted && button("Delete", () => { dialog.close(); this.deleted(); }, { ariaLabel: "Delete this result" }))));
    // on a phone it lies under the tools, where the finger is
    if (matchMedia("(max-width: 50rem)").matches) this.bar.element.append(this.panel.element);
    else parts.push(section("Chosen", true, this.panel.element));
    this.worth = this.media.worth(this.candidates, thresholdsOf(task));
    parts.push(section(`Worth a look (${this.worth.length})`, true, this.worthList()));
    if (!this.isVideo) parts.push(section("Objects", true, this.list));
    if (this.canCorrect && this.candidates) parts.push(section("Thresholds", false, this.sliders().element));
    const versions = new Versions(task, this.version, { look: number => this.reopen(task, number), compare: number => this.compare(number), restore: number => this.apply({ restore: number }), say: words => this.say(words) });
    if (await versions.load().catch(() => false)) parts.push(section("Versions", true, versions.element));
    parts.push(section("About", false, facts(task)));
    this.sections.replaceChildren(...parts.filter(Boolean));
    this.bar.ready(this.canCorrect);
  }

  approval() {
    if (!needsReview(this.task)) return null;
    return make("div", { className: "approval" }, make("p", { textContent: "This result waits for a person. Before it is approved, only reviewers can see it." }),
      button(this.next ? "Approve and show the next" : "Approve", () => this.apply({ approve: true }), { className: "main" }));
  }

  sliders() {
    this.thresholds = new Thresholds(this.task, this.candidates, this.isVideo ? this.media.tracks : null, {
      moved: values => this.media.preview(values),
      chosen: (type, value) => this.corrections.threshold(type, value),
      say: words => this.say(words),
    });
    return this.thresholds;
  }

  worthList() {
    if (!this.worth.length) return make("p", { textContent: "Nothing looks doubtful. Objects that no detector saw are not listed here." });
    return make("ul", { className: "found" }, ...this.worth.map((moment, number) => make("li", {}, button(moment.words, () => this.showWorth(number), { className: moment.type }))));
  }

  showWorth(number) {
    const moment = this.worth[number];
    this.worthAt = number;
    this.media.go(moment);
    this.stage.show(moment.box);
    const each = this.objects.shown.find(one => keyOf(one) === moment.key);
    this.choose(each ?? (moment.candidate && { candidate: moment.candidate }) ?? null);
    this.say(`${number + 1} of ${this.worth.length}: ${moment.words}`);
  }

  nextWorth() {
    if (!this.worth.length) this.say("Nothing looks doubtful.");
    else this.showWorth((this.worthAt + 1) % this.worth.length);
    return true;
  }

  // what the editor and the panel ask for
  time() { return this.media.time; }
  type() { return this.bar.type.value; }
  mode() { return "both"; }
  tool(name) { this.bar.use(name); }
  finished(words) { this.bar.use("select"); this.say(words); }

  // an object of the layer, { number } of a drawn shape, or a { candidate } that is not redacted
  choose(choice) {
    this.chosen = choice === null || choice.number || choice.candidate ? choice : { key: keyOf(choice), each: choice };
    this.objects.candidate = this.chosen?.candidate ?? null;
    this.objects.chosen = this.chosen?.key ?? null;
    this.refresh();
  }

  refresh() {
    const { now } = this.corrections;
    if (this.chosen?.number && !this.corrections.find(this.chosen.number)) this.chosen = null;
    this.media.draw(now);
    this.editor.draw();
    this.panel.draw();
    this.bar.update();
    this.thresholds?.set(now.thresholds);
    if (!this.isVideo) this.list.replaceChildren(...this.objects.shown.map(each => this.row(each)));
  }

  row(each) {
    const isChosen = keyOf(each) === this.chosen?.key;
    return make("li", {}, button(inWords(each), () => { this.choose(each); this.stage.show(each.bbox); }, { className: each.type_label, aria: { pressed: isChosen } }));
  }

  // send corrections; the server makes a new version
  async apply(more = {}) {
    const { width, height } = this.stage, isOnlyMore = Object.keys(more).length > 0;
    const body = { ...(isOnlyMore && more.restore ? {} : this.corrections.body(width, height)), ...more, base: this.task.version };
    this.bar.element.inert = true;
    this.say(more.approve ? "Approving …" : "The server makes a new version …");
    try {
      let task = await send(`/v1/task/${this.task.id}/review`, body);
      const began = performance.now();
      while (task.review_status === "rendering" && dialog.open) {
        await pause(0.5);
        this.say(`The server makes a new version … ${clock((performance.now() - began) / 1000)}`);
        task = await get(task.task_url);
      }
      if (task.review_status) throw new Error(task.review_status);
      drafts.delete(this.draftKey);
      this.changed?.(task);
      if (!dialog.open) return;
      if (more.approve && this.next && await this.next()) return;
      const isKnown = new Set(this.task.warnings), news = task.warnings.filter(sentence => !isKnown.has(sentence));
      await this.reopen(task, null, more.approve ? "Approved. The result can be downloaded now." : [`Version ${task.version} is ready.`, ...news].join(" "));
    } catch (error) {
      this.fail(error);
    } finally { this.bar.element.inert = false; }
  }

  async reopen(task, version, words = "") {
    // a video goes on where it was
    const { number = 0 } = this.media.player ?? {};
    this.close();
    const view = new View(task, this.around, version);
    await view.open();
    if (number && view.media.player) view.media.go({ number });
    if (words) view.say(words);
  }

  // another version lies under the slider instead of the original
  compare(number) {
    this.media.compare(number).then(() => this.say(`The slider compares with version ${number} now.`), error => this.fail(error));
  }

  say(words) { this.message.textContent = words; }
  fail(error) { this.message.replaceChildren(make("span", { className: "error", textContent: error.message })); }

  close() {
    this.media.close();
    this.stage.close();
    this.files.close();
  }
}
