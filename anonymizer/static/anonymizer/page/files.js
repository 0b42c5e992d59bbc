// The addresses of the files of a task, of one version, and fetching them for elements.
import { get, link, release, save, source } from "./api.js";

const NAMES = { anonymised: "anonymised_url", "binary-mask": "binary_mask_url", "instance-mask": "instance_mask_url", metadata: "metadata_url", receipt: "receipt_url" };

export const needsReview = task => task.review === "required";
// a result that one can look at: done, or waiting for a person
export const isViewable = task => task.status === "done" || (needsReview(task) && task.progress === 1);

export class Files {
  constructor(task, version = null) {
    Object.assign(this, { task, version, urls: [], own: [] });
  }

  // null: the task has no such file
  url(kind, more = {}) {
    const { task } = this, query = new URLSearchParams(more);
    if (!(kind in NAMES) || this.has(kind)) {
      // each version has an address of its own: browsers show a picture again without asking for it
      if (kind in NAMES) query.set("version", this.version ?? task.version);
      // versions that nobody approved are served to reviewers only
      if (needsReview(task) || this.version !== null) query.set("review", 1);
      const isOfVideo = task.kind === "video" && ["anonymised", "binary-mask", "instance-mask", "metadata"].includes(kind);
      return `/v1/file/${task.id}/${isOfVideo ? "video/" : ""}${kind}${query.size ? `?${query}` : ""}`;
    }
    return null;
  }

  has(kind) {
    if (this.task[NAMES[kind]]) return true;
    if (!needsReview(this.task)) return false;
    // no address is told before a person approves
    const { method, options } = this.task, masks = options["save-mask"] ?? "all";
    return { anonymised: method !== "detect", metadata: true, receipt: true }[kind] ?? ["all", kind.split("-")[0]].includes(masks);
  }

  json(kind) { return get(this.url(kind)); }

  async address(kind, more) {
    const url = this.url(kind, more);
    this.urls.push(url);
    return source(url);
  }

  // for a player, which fetches what it shows
  stream(kind) {
    this.streamedAt = performance.now();
    return link(this.url(kind));
  }

  // the file that was chosen on this page
  local(file) {
    const address = URL.createObjectURL(file);
    this.own.push(address);
    return address;
  }

  async download(kind) {
    save(await link(this.url(kind)), "");
  }

  close() {
    release(this.urls);
    for (const address of this.own) URL.revokeObjectURL(address);
  }
}
