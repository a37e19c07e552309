// The action bar: Train, Stop, Print training command; the length of the run to come, and how far the one at work is.
// On Tools it is about the tool that is open, whose own button stands in its form.

function paintBar() {
  const place = $("#la-len");
  if (!place) return;
  const bar = page.look?.bar;
  const tab = openedTab();
  const onRun = ["run", "jobs"].includes(tab);
  paintButtons(bar, tab);
  paintNow(onRun);
  place.setAttribute("aria-live", busy() && onRun ? "off" : "polite"); // not each step is read out
  const { lines, stopped } = tab === "tools" ? ofToolForm() : busy() && onRun && run.now ? ofRun() : ofForm(bar);
  place.classList.toggle("e", stopped);
  const shown = el("div", {}, lines);
  if (shown.innerHTML !== place.innerHTML) place.replaceChildren(...shown.childNodes); // or a link would lose its press
}

const bold = (text) => el("b", {}, text);
const barLink = (text, onclick) => el("button", { type: "button", class: "link", onclick }, text);

/** The bar about the job at work or in line: how far it is. */
function ofRun() {
  if (run.state === "queued") return { lines: [bold(run.now.name), el("br"), w("queued")], stopped: false };
  const hint = isAway() ? w("bar_away_hint") : ofTool(run.now.stopping ? "stopping" : "bar_hint");
  return { lines: [bold(isAway() ? w("bar_away") : runInBar()), el("br"), hint], stopped: false };
}

/** The bar about the form: the length of its run, or what it still needs. */
function ofForm(bar) {
  if (!bar) return { lines: [], stopped: false };
  if (bar.state === "ready") return { lines: [bold(bar.head), el("br"), rich(bar.text)], stopped: false };
  const way = bar.link ? barLink(bar.link, () => goTo(page.look.bar.key)) : bar.text;
  const demo = $("#la-offer")?.firstChild ? [" ", barLink(w("offer_try"), useDemo)] : [];
  return { lines: [bold(bar.head), " ", way, demo], stopped: bar.state === "stopped" };
}

/** The bar about the tool that is open: what it still needs, with the way there; blank until it was looked at. */
function ofToolForm() {
  const { said } = toolbox;
  if (!said) return { lines: [], stopped: false };
  const way = (text) => barLink(text, () => toolbox.said?.show());
  if (said.blank)
    return { lines: [bold(w("tools_not_ready")), " ", way(w("tools_fill", { name: said.blank }))], stopped: false };
  if (said.stops) return { lines: [bold(w("tools_stops", { count: said.stops })), " ", way(w("show"))], stopped: true };
  return { lines: [bold(w("tools_ready")), " ", w("tools_starts", { act: said.act })], stopped: false };
}

/** Train, which adds to the line while a run is at work, and Stop. On Tools only what is at work can be stopped. */
function paintButtons(bar, tab) {
  const train = $("[data-act=train]");
  const stop = $("[data-act=stop]");
  const adds = inLine();
  const onTools = tab === "tools";
  train.hidden = onTools;
  $("[data-act=command]").hidden = onTools;
  stop.hidden = onTools && !busy();
  train.setAttribute("aria-disabled", String(!bar || bar.state !== "ready"));
  train.classList.toggle("p", !["run", "jobs"].includes(tab) && !adds);
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
