// Where the person is: a reload, a second tab, another language or theme brings nobody elsewhere.

/** Tab and scroll of this page (a reload brings them back); the tab also for pages that are opened later. */
function rememberPlace() {
  const place = { tab: openedTab(), y: Math.round(scrollY), job: run.state === "running" ? run.job : "" };
  store("place", JSON.stringify(place), sessionStorage);
  store("place", JSON.stringify(place));
}

function rememberedPlace(where) {
  const place = storedValue("place", where);
  return typeof place?.tab === "string" ? place : null;
}

/** Where the person was; where not known, or not since the run at work began: Run while there is one. */
async function returnToPlace() {
  const here = rememberedPlace(sessionStorage);
  const before = rememberedPlace(localStorage);
  const chosen = here || (run.state !== "running" || before?.job === run.job ? before : { tab: "run", y: 0 });
  if (chosen && $(`#t-${chosen.tab}-button`)) await openTab(chosen.tab);
  if (here?.y) await scrollBack(here.y);
  addEventListener("pagehide", rememberPlace);
  document.addEventListener("visibilitychange", rememberPlace);
}

/** The page grows while its tab is built: scroll as soon as it is long enough. */
async function scrollBack(y) {
  const { style } = document.documentElement;
  style.overflowAnchor = "none"; // or what is still being built above would push the page on
  setTimeout(() => {
    style.overflowAnchor = "";
  }, 3000);
  for (let tries = 0; tries < 100; tries++) {
    if (document.documentElement.scrollHeight - innerHeight >= y) break;
    await rest(50);
  }
  scrollTo({ top: y, behavior: "instant" });
}
