// Keeps what is shown true while somebody looks: replaces parts that have changed, and adds output as it
// comes. Without it each page is as true as when it was loaded.
"use strict";

const pressed = document.getElementById("live-switch");
const lost = document.getElementById("lost");
let source = null;

// Replaces a part, and leaves the focus and what was chosen as they were.
function replace(id, markup) {
  const part = document.getElementById(id);
  if (!part) return;
  const focused = part.contains(document.activeElement) ? document.activeElement : null;
  const place = focused && [...part.querySelectorAll("a, button, input, [tabindex]")].indexOf(focused);
  const chosen = new Set([...part.querySelectorAll("input:checked")].map((box) => box.id));
  const scrolled = [...part.querySelectorAll(".scroll, pre")].map((one) => [one.scrollLeft, one.scrollTop]);
  part.innerHTML = markup;
  for (const box of part.querySelectorAll("input[type=checkbox]")) box.checked = chosen.has(box.id);
  [...part.querySelectorAll(".scroll, pre")].forEach((one, at) => {
    if (scrolled[at]) [one.scrollLeft, one.scrollTop] = scrolled[at];
  });
  if (focused) {
    const same = focused.id && document.getElementById(focused.id);
    const next = same || part.querySelectorAll("a, button, input, [tabindex]")[place];
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
  source = new EventSource("/live?page=" + encodeURIComponent(location.pathname + location.search));
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
