// The job to look at: one question for all who show it (the bar, the live view), asked again and again.

const run = { state: "none", job: "", tool: "", now: null, queue: [], failures: 0 };
const busy = () => run.state === "running" || run.state === "queued";
/** The live view once it is there: {root, cursor, take(answer), away(text)}. Without it a glance will do. */
let runView = null;
let runTimer = 0;
let runAsked = false;
let runAgain = false;

/** Ask now; while an answer is awaited: as soon as it is there. */
async function askRun() {
  clearTimeout(runTimer);
  if (document.hidden || !page.server) return;
  runAgain = runAsked;
  if (runAsked) return;
  runAsked = true;
  if (runView && !runView.root.isConnected) runView = null;
  try {
    const answer = await question("live", runView ? runView.cursor : { glance: true }, 10_000);
    run.failures = 0;
    if (answer.error) runView?.away(sentence(answer.error));
    else hearRun(answer);
  } catch (error) {
    run.failures += 1;
    if (run.failures === 3 || error.message === "late") runView?.away(w("reconnecting"));
  }
  runAsked = false;
  runTimer = setTimeout(askRun, runAgain ? 0 : runPause());
}

function hearRun(answer) {
  const { state, job, tool = "", now = null, queue } = answer;
  Object.assign(run, { state, job, tool, now, queue });
  try {
    // A glance has no parts: the view that was mounted meanwhile asks for itself.
    if (runView && !answer.glance) runView.take(answer);
  } finally {
    paintBar();
  }
}

function runPause() {
  if (run.failures) return Math.min(5000, 1000 * run.failures);
  if (run.state === "running") return runView ? 1000 : 1500;
  if (run.queue.length) return 2000;
  return runView ? 5000 : 6000;
}

/** Do something with a job, and see at once what came of it. */
async function act(wish) {
  await ask("act", wish);
  askRun();
}

/** Files of a run were written from the page: all that lists them asks again. */
function filesChanged() {
  if (runView) runView.cursor.version = -1;
  askRun();
  jobsChanged();
}

/** "Training, step 40 of 200". */
function runTitle() {
  const { state, now } = run;
  if (state === "queued") return w("phase.queued");
  if (now.stopping) return w(run.tool ? "phase.stopping_tool" : "phase.stopping");
  const values = { step: number(now.step), total: number(now.total), done: number(now.done), of: number(now.of) };
  if (["cache_texts", "cache_latents", "sample", "work"].includes(now.phase)) values.total = number(now.of);
  if (now.phase === "sample") values.done = number(Math.min(now.of, now.done + 1));
  return w(`phase.${now.phase}`, values) || now.phase;
}

/** The same for the bar, with the time that is left. */
function runInBar() {
  const { now } = run;
  if (!now.total) return runTitle();
  const step = w("bar_running", { step: number(now.step), total: number(now.total) });
  return now.left === null ? step : step + comma() + w("bar_left", { time: span(now.left) });
}

document.addEventListener("visibilitychange", askRun);
