// The list of earlier tasks, and the queue of results that wait for a person.
import { get, remove } from "./api.js";
import { isViewable, needsReview } from "./files.js";
import { openTask } from "./viewer.js";
import { button, counted, make } from "./words.js";

const details = document.getElementById("tasks"), rows = document.getElementById("task-rows");
const status = document.getElementById("task-status"), kind = document.getElementById("task-kind");
const newer = document.getElementById("tasks-newer"), older = document.getElementById("tasks-older"), count = document.getElementById("tasks-count");
const queue = document.getElementById("review-queue");
let address = null;

export function showTasks() {
  details.addEventListener("toggle", () => details.open && load(first()));
  for (const choice of [status, kind]) choice.addEventListener("change", () => load(first()));
  document.getElementById("tasks-reload").addEventListener("click", () => load(address ?? first()));
  newer.addEventListener("click", () => load(newer.dataset.url));
  older.addEventListener("click", () => load(older.dataset.url));
  queue.addEventListener("click", () => openNext());
  countQueue();
}

function first() {
  const query = new URLSearchParams({ page_size: 20 });
  if (status.value === "review") query.set("review", "required");
  else if (status.value) query.set("status", status.value);
  if (kind.value) query.set("kind", kind.value);
  return "/v1/task/list?" + query;
}

const waiting = (size, isQuiet = false) => get(`/v1/task/list?review=required&page_size=${size}`, { isQuiet });

// how many results wait
async function countQueue() {
  try {
    const { count: number } = await waiting(1, true);
    queue.hidden = !number;
    queue.textContent = `Review ${number} ${number === 1 ? "result" : "results"}`;
  } catch { queue.hidden = true; }
}

// opens the oldest result that waits; whether there is one
async function openNext() {
  const page = await waiting(100), task = page.results.filter(isViewable).at(-1);
  await countQueue();
  if (task) await openTask(task, { opener: () => queue.hidden ? details.firstElementChild : queue, next: openNext, changed: countQueue, deleted: () => end(task) });
  return Boolean(task);
}

async function load(url) {
  address = url;
  try {
    const page = await get(url);
    rows.replaceChildren(...page.results.map(row));
    count.textContent = page.count === 1 ? "1 task" : `${page.count} tasks`;
    if (!page.results.length) rows.append(make("tr", {}, make("td", { colSpan: 5, textContent: "There are no such tasks." })));
    for (const [turn, target] of [[newer, page.previous], [older, page.next]]) {
      turn.disabled = !target;
      turn.dataset.url = target ?? "";
    }
  } catch (error) {
    rows.replaceChildren(make("tr", {}, make("td", { colSpan: 5, className: "error", textContent: error.message })));
  }
}

function row(task) {
  const actions = make("div", { className: "actions" }), name = task.name || task.id;
  if (isViewable(task)) {
    // the list may have been loaded again meanwhile
    const opener = () => rows.querySelector(`[data-id="${task.id}"]`) ?? details.firstElementChild;
    const open = button("Open", () => openTask(task, { opener, deleted: () => end(task), changed: () => { countQueue(); load(address); } }), { ariaLabel: `Open ${name}`, dataset: { id: task.id } });
    actions.append(open);
  }
  if (task.status !== "deleted") actions.append(button("Delete", () => end(task), { ariaLabel: `Delete ${name}` }));
  const state = needsReview(task) && isViewable(task) ? "waits for approval" : task.status;
  return make("tr", {},
    make("td", { textContent: name }),
    make("td", { textContent: state + (task.error ? `: ${task.error}` : ""), className: task.status === "failed" ? "error" : "" }),
    make("td", { textContent: new Date(task.created).toLocaleString() }),
    make("td", { textContent: isViewable(task) ? counted(task.detections) || "nothing" : "" }),
    make("td", {}, actions));
}

async function end(task) {
  try { await remove(task.task_url); } finally { if (address) await load(address); await countQueue(); }
}
