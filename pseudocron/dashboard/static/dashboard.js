// Tells the server the reader's time zone, and lets the page update itself. Without this file everything works, in UTC.
"use strict";

const EVERY = 5000; // milliseconds
const page = document.documentElement;
const updates = document.getElementById("updates");
const stale = document.getElementById("stale");

// What somebody is reading or about to press stays as it is.
function inUse(part) {
  const selection = document.getSelection();
  return part.contains(document.activeElement) || part.querySelector("details[open]") !== null
    || (selection !== null && !selection.isCollapsed && part.contains(selection.anchorNode));
}

async function update() {
  let fresh;
  try {
    const answer = await fetch(location.pathname + location.search, { cache: "no-store" });
    stale.hidden = answer.ok;
    if (!answer.ok) return;
    fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  } catch {
    stale.hidden = false;
    return;
  }
  for (const part of document.querySelectorAll("[data-live]")) {
    const now = fresh.getElementById(part.id);
    if (now && now.outerHTML !== part.outerHTML && !inUse(part)) part.replaceWith(document.adoptNode(now));
  }
}

function tellZone() {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (!zone || zone === page.dataset.zone) return;
  document.cookie = `pseudocron_zone=${zone}; path=${page.dataset.root || "/"}; max-age=31536000; samesite=strict`;
  update();
}

// What an action has said is said once, and not again after a reload.
const address = new URL(location);
if (address.searchParams.has("said")) {
  address.searchParams.delete("said");
  history.replaceState(null, "", address);
}
if (updates && document.querySelector("main [data-live]")) {
  updates.hidden = false;
  updates.addEventListener("click", () => {
    const on = updates.getAttribute("aria-pressed") !== "true";
    updates.setAttribute("aria-pressed", String(on));
    if (on) update();
  });
  setInterval(() => {
    if (!document.hidden && updates.getAttribute("aria-pressed") === "true") update();
  }, EVERY);
}
tellZone();
