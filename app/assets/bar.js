// The action bar: Train, Stop, Print training command, and the length of the run or how far it is.

function paintBar() {
  const place = $("#la-len");
  if (!place) return;
  const bar = page.look?.bar;
  const train = $("[data-act=train]");
  const stop = $("[data-act=stop]");
  const onRun = ["tools", "run", "jobs"].some((tab) => $(`#t-${tab}-button`)?.getAttribute("aria-selected") === "true");
  train.setAttribute("aria-disabled", String(!bar || bar.state !== "ready"));
  train.classList.toggle("p", !onRun);
  stop.setAttribute("aria-disabled", String(!busy()));
  stop.classList.toggle("d", Boolean(busy()));
  $("#t-run-button")?.classList.toggle("live", Boolean(run.state === "running"));
  place.setAttribute("aria-live", busy() && onRun ? "off" : "polite"); // not each step is read out
  place.classList.toggle("e", Boolean(bar && bar.state === "stopped" && !(busy() && onRun)));
  if (run.state === "running" && onRun && run.now) {
    place.replaceChildren(el("b", {}, runInBar()), el("br"), w(run.now.stopping ? "stopping" : "bar_hint"));
  } else if (run.state === "queued" && onRun && run.now) {
    place.replaceChildren(el("b", {}, w("running", { name: run.now.name, step: 0 })), el("br"), w("queued"));
  } else if (bar && bar.state === "ready") {
    place.replaceChildren(el("b", {}, bar.head), el("br"), ...rich(bar.text));
  } else if (bar) {
    place.replaceChildren(
      el("b", {}, bar.head),
      " ",
      bar.link ? el("button", { type: "button", class: "link", onclick: () => goTo(bar.key) }, bar.link) : bar.text,
    );
  }
}

async function train() {
  const bar = page.look?.bar;
  if (!bar) return;
  if (bar.state !== "ready") return goTo(bar.key);
  const answer = await ask("train", { values: page.values });
  if (!answer) return;
  if (answer.look) {
    page.look = answer.look;
    paint();
    return goTo(answer.look.bar.key);
  }
  Object.assign(run, { state: answer.job.state, now: null });
  page.fresh = false;
  paintOffer();
  await openTab("run");
  askRun();
}

async function stop() {
  if (!busy()) return;
  await ask("stop");
  askRun();
}
