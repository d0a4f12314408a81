// Copying texts.
import { announce, createElement } from "./dom.js";

/** Copy a text and say so. */
export async function copyText(text) {
  const isCopied = await navigator.clipboard?.writeText(text).then(
    () => true,
    () => false,
  );
  announce(isCopied || copyBySelection(text) ? `Copied ${text}` : "This browser does not allow copying.");
}

/** Copy where the clipboard is not available, as on pages that are not served over HTTPS. */
function copyBySelection(text) {
  const field = createElement("textarea", { readonly: true, class: "offscreen" });
  field.value = text;
  const focused = document.activeElement;
  (document.querySelector("dialog[open]") ?? document.body).append(field);
  field.select();
  const isCopied = document.execCommand("copy");
  field.remove();
  focused?.focus({ preventScroll: true });
  return isCopied;
}
