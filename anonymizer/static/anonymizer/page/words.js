// Elements and words that several modules need.
export function make(tag, properties = {}, ...children) {
  const { dataset, ...others } = properties;
  const element = Object.assign(document.createElement(tag), others);
  Object.assign(element.dataset, dataset);
  element.append(...children.filter(child => child !== null && child !== undefined));
  return element;
}

export function svg(tag, attributes = {}) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

const two = number => String(number).padStart(2, "0");
export function clock(seconds) {
  const whole = Math.max(0, Math.round(seconds)), minutes = Math.floor(whole / 60);
  return minutes < 60 ? `${minutes}:${two(whole % 60)}` : `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(whole % 60)}`;
}

export function counted(detections) {
  const found = Object.entries(detections ?? {}).filter(([, number]) => number);
  return found.map(([type, number]) => `${number} ${type.replace("-", " ")}${number === 1 ? "" : "s"}`).join(", ");
}

export const TYPES = ["face", "license-plate", "person", "vehicle"];
export const pause = seconds => new Promise(done => setTimeout(done, 1000 * seconds));
