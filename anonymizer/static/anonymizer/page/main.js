// What a user does on the page: options, files, the token, earlier tasks.
import { token } from "./api.js";
import { addFile } from "./cards.js";
import { findsSomething, focusTypes, listenToOptions, query } from "./options.js";
import { showTasks } from "./tasks.js";
import { askForToken } from "./token.js";

const drop = document.getElementById("drop"), files = document.getElementById("files"), hint = document.getElementById("drop-hint");
const usual = hint.textContent;

function addAll(list) {
  const canFind = findsSomething();
  hint.textContent = canFind ? usual : "Choose at least one thing to find first.";
  if (!canFind) return focusTypes();
  for (const file of list) addFile(file, query());
}
files.addEventListener("change", () => { addAll(files.files); files.value = ""; });
for (const name of ["dragover", "dragenter"]) document.addEventListener(name, event => { event.preventDefault(); drop.classList.add("over"); });
for (const name of ["dragleave", "drop"]) document.addEventListener(name, event => { event.preventDefault(); drop.classList.remove("over"); });
document.addEventListener("drop", event => addAll(event.dataTransfer.files));
document.addEventListener("paste", event => { if (event.clipboardData.files.length) addAll(event.clipboardData.files); });

token.askWith(askForToken);
document.getElementById("token-open").addEventListener("click", () => askForToken());
listenToOptions();
showTasks();
