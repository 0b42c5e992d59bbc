// The options of the next files, as parameters of the API.
import { TYPES } from "./words.js";

const form = document.getElementById("options");
const VALUES = ["method", "format", "profile", "keep-metadata", "verify", "review", "ttl"];

export function query() {
  const fields = new FormData(form), chosen = new URLSearchParams();
  for (const name of VALUES) if (fields.get(name)) chosen.set(name, fields.get(name));
  for (const box of form.querySelectorAll("input[type=checkbox]:not(:disabled)")) if (TYPES.includes(box.name)) chosen.set(box.name, box.checked);
  for (const slider of form.querySelectorAll("input[type=range]")) if (slider.dataset.isSet) chosen.set(slider.name, slider.value);
  return chosen;
}

export const findsSomething = () => form.querySelector(TYPES.map(type => `input[name=${type}]:checked`).join()) !== null;
export const focusTypes = () => form.querySelector("input[type=checkbox]:not(:disabled)").focus();

function show(slider) { slider.nextElementSibling.textContent = slider.dataset.isSet ? Number(slider.value).toFixed(2) : "default"; }

// thresholds that were tried on a result
export function rememberThresholds(values) {
  for (const [type, value] of Object.entries(values)) {
    const slider = form.elements.namedItem(`${type}-threshold`);
    if (!slider) continue;
    slider.value = value;
    slider.dataset.isSet = "yes";
    show(slider);
  }
}

// the thresholds of a profile are valid for the format that they were chosen with
function useProfileFormat() {
  const format = form.profile?.selectedOptions[0].dataset.format;
  if (!format) return;
  if (![...form.format.options].some(option => option.value === format)) form.format.add(new Option(format, format));
  // with the profile, the default is a second look for images only
  form.format.value = format === "auto" ? "" : format;
}

export function listenToOptions() {
  form.addEventListener("submit", event => event.preventDefault());
  form.profile?.addEventListener("change", useProfileFormat);
  useProfileFormat();
  for (const slider of form.querySelectorAll("input[type=range]")) slider.addEventListener("input", () => { slider.dataset.isSet = "yes"; show(slider); });
  document.getElementById("thresholds-reset").addEventListener("click", () => {
    for (const slider of form.querySelectorAll("input[type=range]")) {
      delete slider.dataset.isSet;
      slider.value = slider.defaultValue;
      show(slider);
    }
  });
}
