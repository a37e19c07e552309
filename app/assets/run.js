// The job to look at: one question for all who show it (the bar, the live view), asked again and again.

const run = { state: "none", job: "", tool: "", now: null, queue: [], waits: false, failures: 0 };
/** The server does not answer: what is shown of the job at work is old. */
const isAway = () => run.failures >= 3;
const busy = () => run.state === "running" || run.state === "queued";
/** What is started now will wait for its turn. */
const inLine = () => run.state === "running" || (run.queue.length > 0 && !run.waits);
/** The live view once it is there: {root, cursor, take(answer), away(text)}. Without it a glance will do. */
let runView = null;
let runTimer = 0;
let runAsked = false;
let runAgain = false;

/** Ask now; while an answer is awaited: as soon as it is there. */
async function askRun() {
  clearTimeout(runTimer);
  // A page in the background asks on while a job is at work: its title tells, and so does a notice at the end.
  if (!page.server || (document.hidden && !busy())) return;
  runAgain = runAsked;
  if (runAsked) return;
  runAsked = true;
  if (runView && !runView.root.isConnected) runView = null;
  const bell = setTimeout(() => runView?.away(w("live_slow")), SLOW);
  try {
    const answer = await question("live", { ...(runView ? runView.cursor : { glance: true }), was: watched });
    run.failures = 0;
    if (answer.error) runView?.away(sentence(answer.error));
    else hearRun(answer);
  } catch (error) {
    run.failures += 1;
    if (isAway() || error.message === "late") runView?.away(w("reconnecting"));
    paintBar();
  }
  clearTimeout(bell);
  runAsked = false;
  runTimer = setTimeout(askRun, runAgain ? 0 : runPause());
}

function hearRun(answer) {
  const { state, job, tool = "", now = null, queue, waits } = answer;
  const before = { ...run };
  Object.assign(run, { state, job, tool, now, queue, waits });
  followEnd(before, answer.was);
  try {
    // A glance has no parts: the view that was mounted meanwhile asks for itself.
    if (runView && !answer.glance) runView.take(answer);
  } finally {
    paintBar();
    paintTitle();
  }
}

function runPause() {
  if (run.failures) return Math.min(5000, 1000 * run.failures);
  if (document.hidden) return 4000;
  if (run.state === "running") return runView ? 1000 : 1500;
  if (run.queue.length) return 2000;
  return runView ? 5000 : 6000;
}

/** Do something with a job, and see at once what came of it. */
async function act(wish) {
  await ask("act", wish);
  askRun();
}

/** How much longer a finished job is to be trained. */
async function askMore(job, { unit, done, more }) {
  await rest(0); // the press that opens the panel is over: it would close it again
  const input = el("input", {
    type: "number",
    min: "1",
    step: "1",
    inputmode: "numeric",
    "aria-label": w(`extend.${unit}`),
  });
  input.value = more;
  const extend = onePress(async () => {
    const answer = await ask("act", { do: "extend", job, more: Math.round(Number(input.value)) });
    if (!answer) return;
    closePanel();
    askRun();
  });
  const go = (event) => {
    event.preventDefault();
    extend();
  };
  const text = w(`extend.text_${unit}`, { done: number(done) });
  openPanel(
    w("extend.title"),
    el("p", { class: "sub" }, text),
    el(
      "form",
      { onsubmit: go },
      el("label", { class: "more" }, el("div", { class: "in" }, input), w(`extend.${unit}`)),
      acts(el("button", { type: "submit", class: "btn p" }, w("extend.go")), quietButton(w("cancel"), closePanel)),
    ),
  );
  input.select();
}

/** Files of a run were written from the page: all that lists them asks again. */
function filesChanged() {
  if (runView) runView.cursor.version = -1;
  askRun();
  jobsChanged();
}

/** A word about the job at work: a tool has its own. */
const ofTool = (key, tool = run.tool) => w(tool ? `${key}_tool` : key);

/** "Training, step 40 of 200". */
function runTitle() {
  const { state, now } = run;
  if (state === "queued") return w("phase.queued");
  if (now.stopping) return now.pausing ? w("phase.pausing") : ofTool("phase.stopping");
  const values = { step: number(now.step), total: number(now.total), done: number(now.done), of: number(now.of) };
  if (["cache_texts", "cache_latents", "sample", "work"].includes(now.phase)) values.total = number(now.of);
  if (now.phase === "sample") values.done = number(Math.min(now.of, now.done + 1));
  return w(`phase.${now.phase}`, values) || now.phase;
}

/** How much of the job, or of its phase, is done: 0 to 1. */
function runShare() {
  const { now } = run;
  return now.total ? now.step / now.total : now.of ? now.done / now.of : 0;
}

/** The same for the bar, with the time that is left. */
function runInBar() {
  const { now } = run;
  if (!now.total || now.step >= now.total) return runTitle(); // the last pictures and files are no steps
  const step = w("bar_running", { step: number(now.step), total: number(now.total) });
  return now.left === null ? step : step + comma() + w("bar_left", { time: span(now.left) });
}

document.addEventListener("visibilitychange", askRun);
