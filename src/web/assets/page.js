// Keeps what is shown true while somebody looks: changes what has changed, and adds output as it
// comes. Without it each page is as true as when it was loaded.
"use strict";

const pressed = document.getElementById("live-switch");
const lost = document.getElementById("lost");
let source = null;

const FOCUSED = "a, button, input, [tabindex]";

// Returns what tells a node from another of its kind. What is pressed just now is not made to mean something else.
function key(node) {
  const named = (name) => (node.getAttribute && node.getAttribute(name)) || "";
  return [node.nodeName, named("id"), named("value"), named("href"), named("data-follow")].join(" ");
}

// Makes a node like another one, and touches what differs alone: a page that is drawn anew each second takes
// much memory, and loses what was chosen and how far it was scrolled.
function patch(node, wanted) {
  for (const { name } of [...node.attributes]) if (!wanted.hasAttribute(name)) node.removeAttribute(name);
  for (const { name, value } of wanted.attributes) if (node.getAttribute(name) !== value) node.setAttribute(name, value);
  patchChildren(node, wanted);
}

function patchChildren(node, wanted) {
  const now = [...node.childNodes], next = [...wanted.childNodes];
  for (const extra of now.slice(next.length)) extra.remove();
  next.forEach((one, at) => {
    const old = now[at];
    if (!old) node.append(one);
    else if (key(old) !== key(one) || old.dataset?.follow) old.replaceWith(one);
    else if (old.nodeType === Node.ELEMENT_NODE) patch(old, one);
    else if (old.data !== one.data) old.data = one.data;
  });
}

// Brings a part up to date, and leaves the focus and what was chosen as they were.
function replace(id, markup) {
  const part = document.getElementById(id);
  if (!part) return;
  const focused = part.contains(document.activeElement) ? document.activeElement : null;
  const place = focused && [...part.querySelectorAll(FOCUSED)].indexOf(focused);
  const chosen = [...part.querySelectorAll("input:checked")].map((box) => box.id);
  const wanted = document.createElement("template");
  wanted.innerHTML = markup;
  patchChildren(part, wanted.content);
  for (const box of chosen.map((one) => document.getElementById(one))) if (box) box.checked = true;
  if (focused && document.activeElement !== focused) {
    const same = focused.id && document.getElementById(focused.id);
    const next = same || part.querySelectorAll(FOCUSED)[place];
    if (next) next.focus({ preventScroll: true });
  }
}

// The last letters of an output that are shown while it is followed.
const SHOWN_MAX = 200000;
let following = null;

// Follows the output of an item that runs, if the page has one.
function follow() {
  const output = document.querySelector("[data-follow]");
  if (following && following.output === output) return;
  if (following) following.source.close();
  following = output && { output, source: new EventSource(output.dataset.follow) };
  if (!output) return;
  following.source.addEventListener("attempt", () => { output.textContent = ""; });
  following.source.addEventListener("text", (event) => {
    const isAtEnd = output.scrollTop + output.clientHeight >= output.scrollHeight - 4;
    output.textContent = (output.textContent + JSON.parse(event.data)).slice(-SHOWN_MAX);
    if (isAtEnd) output.scrollTop = output.scrollHeight;
  });
  const end = () => following.source.close();
  following.source.addEventListener("end", end);
  following.source.addEventListener("error", end);
}

function listen() {
  if (source || !pressed || pressed.getAttribute("aria-pressed") !== "true" || document.hidden) return;
  // Each of several queues has addresses of its own, which begin with the base of its pages.
  const page = (location.pathname + location.search).slice(new URL(document.baseURI).pathname.length);
  source = new EventSource("live?page=" + encodeURIComponent("/" + page));
  source.addEventListener("parts", (event) => {
    lost.hidden = true;
    for (const [id, markup] of Object.entries(JSON.parse(event.data))) replace(id, markup);
    follow();
  });
  source.addEventListener("lost", () => { lost.hidden = false; });
  source.addEventListener("error", () => { lost.hidden = false; });
  source.addEventListener("open", () => { lost.hidden = true; });
}

function silence() {
  if (source) source.close();
  source = null;
}

// Moves a time chart without loading the page again, by its links, and by keys where one of them has the focus.
addEventListener("click", (event) => {
  const link = event.target.closest("a[data-key]");
  if (!link || !source || event.button || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  history.pushState(null, "", link.href);
  document.querySelector(".skip").href = link.href + "#main";
  silence();
  listen();
});
addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || !event.target.closest("a[data-key]")) return;
  const link = document.querySelector(`a[data-key="${CSS.escape(event.key)}"]`);
  if (!link) return;
  event.preventDefault();
  link.click();
});
addEventListener("popstate", () => { silence(); listen(); });

if (pressed && document.querySelector("[data-live]")) {
  pressed.hidden = false;
  pressed.addEventListener("click", () => {
    const goes = pressed.getAttribute("aria-pressed") !== "true";
    pressed.setAttribute("aria-pressed", String(goes));
    goes ? listen() : silence();
  });
  // Nothing is asked for a page that nobody sees.
  document.addEventListener("visibilitychange", () => (document.hidden ? silence() : listen()));
  addEventListener("pagehide", silence);
  addEventListener("pageshow", listen);
  listen();
  follow();
}
