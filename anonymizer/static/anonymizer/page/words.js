// Elements and words that several modules need.
export function make(tag, properties = {}, ...children) {
  const { dataset, aria, ...others } = properties;
  const element = Object.assign(document.createElement(tag), others);
  Object.assign(element.dataset, dataset);
  for (const [name, value] of Object.entries(aria ?? {})) element.setAttribute(`aria-${name}`, value);
  element.append(...children.filter(child => child !== null && child !== undefined && child !== false));
  return element;
}

export const button = (text, onclick, properties = {}) => make("button", { type: "button", textContent: text, onclick, ...properties });

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

export const TYPES = ["face", "license-plate", "person", "vehicle"];
export const plain = type => type.replace("-", " ");
export const many = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;

//: tracks of drawn objects begin here
const DRAWN = 1e9;
export const hasTrack = each => each.track_id !== null && each.track_id !== undefined;
export const trackName = id => id >= DRAWN ? `drawn ${id - DRAWN + 1}` : `#${id}`;

export function counted(detections) {
  return Object.entries(detections ?? {}).filter(([, number]) => number).map(([type, number]) => many(number, plain(type))).join(", ");
}

// what the numbers of `coverage` mean for a person
export function coverageInWords(coverage) {
  const { near_threshold: near = 0, small = 0, at_border: border = 0 } = coverage ?? {}, words = [];
  if (near) words.push(`${many(near, "more detection")} stayed below the threshold, but reached half of it. Look for missed objects.`);
  if (small) words.push(`${many(small, "object")} ${small === 1 ? "is" : "are"} smaller than the model was made for. Others of this size may be missed.`);
  if (border) words.push(`${many(border, "object")} ${border === 1 ? "touches" : "touch"} the border.`);
  return words;
}

export const pause = seconds => new Promise(done => setTimeout(done, 1000 * seconds));
