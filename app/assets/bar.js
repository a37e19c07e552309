// The action bar: Train, Stop, Print training command; the length of the run to come, and how far the one at work is.

function paintBar() {
  const place = $("#la-len");
  if (!place) return;
  const bar = page.look?.bar;
  const onRun = ["tools", "run", "jobs"].includes(openedTab());
  paintButtons(bar, onRun);
  paintNow(onRun);
  place.setAttribute("aria-live", busy() && onRun ? "off" : "polite"); // not each step is read out
  place.classList.toggle("e", Boolean(bar && bar.state === "stopped" && !(busy() && onRun)));
  if (run.state === "running" && onRun && run.now) {
    const hint = isAway() ? w("bar_away_hint") : ofTool(run.now.stopping ? "stopping" : "bar_hint");
    place.replaceChildren(el("b", {}, isAway() ? w("bar_away") : runInBar()), el("br"), hint);
  } else if (run.state === "queued" && onRun && run.now) {
    place.replaceChildren(el("b", {}, run.now.name), el("br"), w("queued"));
  } else if (bar && bar.state === "ready") {
    place.replaceChildren(el("b", {}, bar.head), el("br"), ...rich(bar.text));
  } else if (bar) {
    place.replaceChildren(
      el("b", {}, bar.head),
      " ",
      bar.link ? el("button", { type: "button", class: "link", onclick: () => goTo(bar.key) }, bar.link) : bar.text,
      ...($("#la-offer")?.firstChild
        ? [" ", el("button", { type: "button", class: "link", onclick: useDemo }, w("offer_try"))]
        : []),
    );
  }
}

/** Train, which adds to the line while a run is at work, and Stop. */
function paintButtons(bar, onRun) {
  const train = $("[data-act=train]");
  const stop = $("[data-act=stop]");
  const adds = inLine();
  train.setAttribute("aria-disabled", String(!bar || bar.state !== "ready"));
  train.classList.toggle("p", !onRun && !adds);
  if (train.classList.toggle("add", adds) !== (train.dataset.adds === "1")) {
    train.dataset.adds = adds ? "1" : "";
    train.firstChild.replaceWith(icon(adds ? "add" : "play"));
  }
  stop.setAttribute("aria-disabled", String(!busy()));
  stop.classList.toggle("d", Boolean(busy()));
  $("#t-run-button")?.classList.toggle("live", Boolean(run.state === "running"));
}

/** The job at work, on every tab: its name, how far it is, a thin line. It leads to Run. */
function paintNow(onRun) {
  const place = $("#la-now");
  const { now } = run;
  const running = run.state === "running" && now;
  $("#la-line").hidden = !running;
  if (running) $("#la-line").firstChild.style.width = `${(100 * runShare()).toFixed(1)}%`;
  place.hidden = !(running || run.waits) || (onRun && !run.waits);
  if (place.hidden) return;
  const kind = running ? "run" : "waits";
  if (place.dataset.kind !== kind + LANG) {
    place.dataset.kind = kind + LANG;
    place.replaceChildren(...(running ? nowRunning() : lineWaits()));
  }
  if (running) {
    set($("b", place), now.name);
    const left = now.left == null ? "" : comma() + w("bar_left", { time: span(now.left) });
    set($(".how", place), isAway() ? w("bar_away") : runTitle() + left);
  } else set($("b", place), w("line_waits", { count: run.queue.length }));
}

const nowRunning = () => [
  el(
    "button",
    { type: "button", class: "now", "aria-label": w("show_run"), onclick: () => openTab("run") },
    el("span", { class: "dotl" }),
    el("span", { class: "txt" }, el("b"), el("span", { class: "how" })),
  ),
];
const lineWaits = () => [
  el("span", { class: "txt" }, el("b")),
  el("button", { type: "button", class: "btn s", onclick: () => act({ do: "go_on" }) }, icon("play", true), w("go_on")),
];

/** Start the run, or put it in line; `again`: although such a run is there already. */
const train = onePress(async (again = false) => {
  const bar = page.look?.bar;
  if (!bar) return;
  if (bar.state !== "ready") return goTo(bar.key);
  const behind = inLine(); // before: while the answer is awaited, the run itself may be seen at work
  const answer = await ask("train", { values: page.values, again });
  if (!answer) return;
  if (answer.same) return askAgain(answer.same);
  if (answer.look) {
    page.look = answer.look;
    paint();
    return goTo(answer.look.bar.key);
  }
  if (!behind) Object.assign(run, { state: answer.job.state, now: null });
  page.fresh = false;
  paintOffer();
  if (behind) toast(w("added", { name: `**${page.values.output_name}**` }));
  else await openTab("run");
  askRun();
});

function askAgain(text) {
  const add = () => {
    closePanel();
    train(true);
  };
  openPanel(text, acts(mainButton(w("add_anyway"), add), quietButton(w("cancel"), closePanel)));
}

async function stop() {
  if (!busy()) return;
  await ask("stop");
  askRun();
}
