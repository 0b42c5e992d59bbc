// What a user does on the page: options, files, the token, earlier tasks.
import { token } from "./api.js";
import { addFile } from "./cards.js";
import { showTasks } from "./tasks.js";

const options = document.getElementById("options"), drop = document.getElementById("drop"), files = document.getElementById("files");

function query() {
  const fields = new FormData(options), chosen = new URLSearchParams();
  for (const name of ["method", "format", "profile", "keep-metadata"]) if (fields.get(name)) chosen.set(name, fields.get(name));
  for (const box of options.querySelectorAll("input[type=checkbox]:not(:disabled)")) chosen.set(box.name, box.checked);
  return chosen;
}

// the thresholds of a profile are valid for the format that they were chosen with
function useProfileFormat() {
  const format = options.profile?.selectedOptions[0].dataset.format;
  if (!format) return;
  if (![...options.format.options].some(option => option.value === format)) options.format.add(new Option(format, format));
  // with the profile, the default is a second look for images only
  options.format.value = format === "auto" ? "" : format;
}
options.profile?.addEventListener("change", useProfileFormat);
useProfileFormat();
options.addEventListener("submit", event => event.preventDefault());

function addAll(list) {
  if (!options.querySelector("input[type=checkbox]:checked")) {
    options.querySelector("input[type=checkbox]").focus();
    document.getElementById("drop").querySelector("span").textContent = "Choose at least one thing to find first.";
    return;
  }
  for (const file of list) addFile(file, query());
}
files.addEventListener("change", () => { addAll(files.files); files.value = ""; });
for (const name of ["dragover", "dragenter"]) document.addEventListener(name, event => { event.preventDefault(); drop.classList.add("over"); });
for (const name of ["dragleave", "drop"]) document.addEventListener(name, event => { event.preventDefault(); drop.classList.remove("over"); });
document.addEventListener("drop", event => addAll(event.dataTransfer.files));
document.addEventListener("paste", event => { if (event.clipboardData.files.length) addAll(event.clipboardData.files); });

const dialog = document.getElementById("token-dialog"), field = document.getElementById("token"), why = document.getElementById("token-why");
const explanation = why.textContent;
let asking = null;
function askForToken(sentence) {
  asking ??= new Promise(done => {
    why.textContent = sentence ?? explanation;
    field.value = "";
    dialog.returnValue = "";
    dialog.showModal();
    dialog.addEventListener("close", () => {
      if (dialog.returnValue === "save") token.set(field.value.trim());
      if (dialog.returnValue === "forget") token.set("");
      field.value = "";
      asking = null;
      done(dialog.returnValue === "save");
    }, { once: true });
  });
  return asking;
}
token.askWith(askForToken);
document.getElementById("token-open").addEventListener("click", () => askForToken());

showTasks();
