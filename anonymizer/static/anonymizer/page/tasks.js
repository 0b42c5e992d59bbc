// The list of earlier tasks.
import { get, remove } from "./api.js";
import { openTask } from "./viewer.js";
import { counted, make } from "./words.js";

const details = document.getElementById("tasks"), rows = document.getElementById("task-rows");
const status = document.getElementById("task-status"), kind = document.getElementById("task-kind");
const newer = document.getElementById("tasks-newer"), older = document.getElementById("tasks-older");
let address = null;

export function showTasks() {
  details.addEventListener("toggle", () => details.open && load(first()));
  for (const choice of [status, kind]) choice.addEventListener("change", () => load(first()));
  document.getElementById("tasks-reload").addEventListener("click", () => load(address ?? first()));
  newer.addEventListener("click", () => load(newer.dataset.url));
  older.addEventListener("click", () => load(older.dataset.url));
}

function first() {
  const query = new URLSearchParams({ page_size: 20 });
  if (status.value) query.set("status", status.value);
  if (kind.value) query.set("kind", kind.value);
  return "/v1/task/list?" + query;
}

async function load(url) {
  address = url;
  try {
    const page = await get(url);
    rows.replaceChildren(...page.results.map(row));
    if (!page.results.length) rows.append(make("tr", {}, make("td", { colSpan: 5, textContent: "There are no such tasks." })));
    for (const [button, target] of [[newer, page.previous], [older, page.next]]) {
      button.disabled = !target;
      button.dataset.url = target ?? "";
    }
  } catch (error) {
    rows.replaceChildren(make("tr", {}, make("td", { colSpan: 5, className: "error", textContent: error.message })));
  }
}

function row(task) {
  const actions = make("td", { className: "actions" });
  if (task.status === "done") {
    const open = make("button", { type: "button", textContent: "Open", ariaLabel: `Open ${task.name}`, onclick: () => openTask(task, { opener: open, deleted: () => end(task) }) });
    actions.append(open);
  }
  if (task.status !== "deleted") actions.append(make("button", { type: "button", textContent: "Delete", ariaLabel: `Delete ${task.name}`, onclick: () => end(task) }));
  return make("tr", {},
    make("td", { textContent: task.name || task.id }),
    make("td", { textContent: task.status + (task.error ? `: ${task.error}` : ""), className: task.status === "failed" ? "error" : "" }),
    make("td", { textContent: new Date(task.created).toLocaleString() }),
    make("td", { textContent: task.status === "done" ? counted(task.detections) || "nothing" : "" }),
    actions);
}

async function end(task) {
  try { await remove(task.task_url); } finally { await load(address); }
}
