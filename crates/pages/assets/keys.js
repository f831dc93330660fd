// Keys of the console (UI-50): `/` goes to the filter, `g` and a letter to a screen, `?` lists them. Nothing is taken from a
// field, nor from the browser's own keys; everything they do is a link or a field of the page.
"use strict";

const WAIT_MS = 1500;
let since = -WAIT_MS;

const element = (name, text) => {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  return made;
};

const screens = () => document.querySelectorAll("nav a[data-key]");
const filter = () => document.querySelector("form[role=search] :is(input:not([type=hidden]), select)");

const isTyping = (target) => target.isContentEditable || target.closest("input, select, textarea, [role=textbox]");

const list = () => {
  const dialog = element("dialog");
  dialog.className = "keys";
  const heading = element("h2", "Keys");
  heading.id = "keys-heading";
  dialog.setAttribute("aria-labelledby", heading.id);
  const pairs = element("dl");
  pairs.className = "pairs";
  const add = (keys, text) => {
    const name = element("dt");
    for (const key of keys) name.append(element("kbd", key), " ");
    pairs.append(name, element("dd", text));
  };
  if (filter()) add(["/"], "To the filter");
  for (const screen of screens()) add(["g", screen.dataset.key], screen.textContent);
  add(["?"], "This list");
  const close = element("button", "Close");
  close.type = "button";
  close.addEventListener("click", () => dialog.close());
  const off = element("a", "Switch them off");
  off.href = "/me/settings";
  const acts = element("p");
  acts.className = "acts";
  acts.append(close, off);
  dialog.append(heading, pairs, acts);
  // Closing gives the focus back to where it was.
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
};

addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey || event.isComposing || event.repeat) return;
  if (isTyping(event.target) || document.querySelector("dialog[open]")) return;
  const isSecond = event.timeStamp - since < WAIT_MS;
  since = -WAIT_MS;
  const screen = isSecond && [...screens()].find((link) => link.dataset.key === event.key);
  if (screen) screen.click();
  else if (event.key === "g") since = event.timeStamp;
  else if (event.key === "/" && filter()) filter().focus();
  else if (event.key === "?") list();
  else return;
  event.preventDefault();
});
