// Asks for the API token where the server wants one; the tab keeps it.
import { token } from "./api.js";

const dialog = document.getElementById("token-dialog"), field = document.getElementById("token"), why = document.getElementById("token-why");
const explanation = why.textContent;
let asking = null;

// several requests may be refused at once: they share one answer
export function askForToken(sentence = "") {
  asking ??= new Promise(done => {
    why.textContent = [sentence, explanation].filter(Boolean).join(" ");
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
