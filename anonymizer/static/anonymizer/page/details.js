// Words and actions beside a result: what was found, warnings, downloads, facts.
import { button, counted, coverageInWords, make, plain, TYPES } from "./words.js";

const DOWNLOADS = [["anonymised", "Result"], ["binary-mask", "Binary mask"], ["instance-mask", "Instance mask"], ["metadata", "Metadata"], ["receipt", "Receipt"]];

export const section = (title, isOpen, ...children) =>
  make("details", { className: "part", open: isOpen }, make("summary", {}, make("h3", { textContent: title })), ...children);

export function summary(task) {
  const found = counted(task.detections), parts = [make("p", { className: "lead", textContent: found ? `Redacted: ${found}.` : "Nothing was found." })];
  if (task.method === "detect") parts[0].textContent = found ? `Found: ${found}. Nothing was redacted.` : "Nothing was found.";
  for (const warning of task.warnings) parts.push(make("p", { className: "warning", textContent: warning }));
  for (const sentence of coverageInWords(task.coverage)) parts.push(make("p", { className: "doubt", textContent: sentence }));
  return parts;
}

export function downloads(files, failed, ...more) {
  const links = make("div", { className: "actions" });
  for (const [kind, label] of DOWNLOADS) {
    if (!files.url(kind)) continue;
    links.append(button(label, () => files.download(kind).catch(failed), { className: kind === "anonymised" ? "main" : "", ariaLabel: `Download: ${label}` }));
  }
  links.append(...more.filter(Boolean));
  return links;
}

export function facts(task) {
  const time = value => value && new Date(value).toLocaleString();
  const rows = [["Method", task.method], ["Looked for", task.object_types.map(type => `${plain(type)}s`).join(", ")], ["Models", task.models.join(", ")], ["Profile", task.profile], ["Processing", task.duration ? `${task.duration.toFixed(1)} s` : null],
    ["Uploaded", time(task.created)], ["Deleted at", time(task.expires)], ...Object.entries(task.options).filter(([name]) => !["method", "profile", ...TYPES].includes(name)).map(([name, value]) => [name, JSON.stringify(value)])];
  const list = make("dl", {});
  for (const [name, value] of rows) if (value) list.append(make("dt", { textContent: name }), make("dd", { textContent: value }));
  return list;
}
