"use strict";
// A row's page: buttons that copy commands and the citation; on a phone, all columns are folded until they are opened or printed.
(() => {
  for (const block of document.querySelectorAll("pre.copy")) {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "copy", textContent: "Copy" });
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(block.textContent);
        button.textContent = "Copied";
      } catch { // the browser refuses: the reader can copy what is selected
        getSelection().selectAllChildren(block);
        button.textContent = "Selected";
      }
    });
    block.after(button);
  }
  const folded = document.querySelectorAll("details");
  if (window.matchMedia("(max-width: 45rem)").matches) for (const part of folded) part.open = false;
  window.addEventListener("beforeprint", () => { for (const part of folded) part.open = true; });
})();
