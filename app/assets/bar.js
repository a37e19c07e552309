// The action bar: Train, Stop, Print training command, and the length of the run or how far it is.

const busy = () => page.job && (page.job.state === "running" || page.job.state === "queued");

function paintBar() {
  const place = $("#la-len");
  if (!place) return;
  const bar = page.look && page.look.bar;
  const train = $("[data-act=train]");
  const stop = $("[data-act=stop]");
  const onRun = ["run", "jobs"].some((tab) => $(`#t-${tab}-button`)?.getAttribute("aria-selected") === "true");
  train.setAttribute("aria-disabled", String(!bar || bar.state !== "ready"));
  train.classList.toggle("p", !onRun);
  stop.setAttribute("aria-disabled", String(!busy()));
  stop.classList.toggle("d", Boolean(busy()));
  $("#t-run-button")?.classList.toggle("live", Boolean(page.job && page.job.state === "running"));
  place.setAttribute("aria-live", busy() && onRun ? "off" : "polite"); // not each step is read out
  place.classList.toggle("e", Boolean(bar && bar.state === "stopped" && !(busy() && onRun)));
  if (busy() && onRun && page.run?.text) {
    place.replaceChildren(el("b", {}, page.run.text), el("br"), page.run.hint || "");
  } else if (busy() && onRun) {
    const text = page.job.state === "queued" ? w("queued") : page.job.stopping ? w("stopping") : w("running_note");
    place.replaceChildren(el("b", {}, w("running", { name: page.job.name, step: (page.job.step || 0).toLocaleString("en") })), el("br"), text);
  } else if (bar && bar.state === "ready") {
    place.replaceChildren(el("b", {}, bar.head), el("br"), ...rich(bar.text));
  } else if (bar) {
    place.replaceChildren(el("b", {}, bar.head), " ", bar.link ? el("button", { type: "button", class: "link", onclick: () => goTo(bar.key) }, bar.link) : bar.text);
  }
}

async function train() {
  const bar = page.look && page.look.bar;
  if (!bar) return;
  if (bar.state !== "ready") return goTo(bar.key);
  const answer = await ask("train", { values: page.values });
  if (!answer) return;
  if (answer.look) {
    page.look = answer.look;
    paint();
    return goTo(answer.look.bar.key);
  }
  page.job = answer.job;
  page.fresh = false;
  paintOffer();
  await openTab("run");
  pollJob();
}

async function stop() {
  if (!busy()) return;
  const answer = await ask("stop");
  if (answer) { page.job = answer.job; paintBar(); }
}

let pollTimer = 0;
/** Keep the bar's job up to date: each second while one runs, else now and then. */
async function pollJob() {
  clearTimeout(pollTimer);
  if (!document.hidden && page.server) {
    try {
      const answer = await patient(page.server.job({ lang: LANG, browser: BROWSER }), 10_000);
      page.job = answer.job;
      paintBar();
    } catch { /* the program is away: the live view says so */ }
  }
  pollTimer = setTimeout(pollJob, busy() ? 1500 : 6000);
}
