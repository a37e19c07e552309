// The Jobs tab: list, one run against the default, up to six side by side; see app/jobs/compare.py.

/** The runs that are compared, in the order they were chosen, and their lines in the chart. */
const LETTERS = ["A", "B", "C", "D", "E", "F"];
const LINES = [
  ["--color-accent", "#0b6b62"],
  ["--la-second", "#b0602a"],
  ["--la-third", "#3d5a9e"],
  ["--la-fourth", "#8b3a78"],
  ["--la-fifth", "#6b6a14"],
  ["--la-sixth", "#5b6664"],
];

/** Asks for the list of runs again, once the tab is there. */
let jobsChanged = () => {};

/** Called when Gradio has mounted the Jobs tab. */
function showJobs(element) {
  const root = $(".la-jobs", element) || element;
  if (root.dataset.up) return;
  root.dataset.up = "1";
  let jobs = [],
    chosen = [],
    shown = null,
    all = false,
    comparing = false,
    against = "",
    timer = 0,
    listKey = "",
    showKey = "",
    listed = 0,
    asked = 0;
  const filter = el("input", { type: "search" });
  const list = el("ul", { class: "jl" }),
    hint = el("p", { class: "sub sm hint" }),
    right = el("section", {}),
    title = el("h2", {});
  const compare = el("button", { class: "btn s", type: "button", "aria-pressed": "false" });
  const visible = () => !document.hidden && root.offsetParent !== null;

  async function askJobs() {
    clearTimeout(timer);
    if (!root.isConnected) return;
    if (visible()) {
      const turn = ++listed;
      try {
        const answer = await question("jobs");
        if (turn !== listed) return; // asked again meanwhile: in another language, or about other files
        if (answer.error) throw new Error(sentence(answer.error));
        jobs = answer.jobs;
        chosen = chosen.filter((id) => jobs.some((job) => job.id === id));
        if (!chosen.length && !shown && jobs.length) {
          chosen = [(jobs.find((job) => job.state !== "queued") || jobs[0]).id];
        }
        rows();
        await show();
      } catch {
        /* the server is away: the live view says so, the list stays */
      }
    }
    timer = setTimeout(askJobs, jobs.some((job) => job.state === "running") ? 3000 : 6000);
  }
  function speakJobs() {
    filter.placeholder = w("jobs_filter");
    filter.setAttribute("aria-label", w("jobs_filter"));
    set(title, w("jobs"));
    set(compare, w(comparing ? "jobs_compare_end" : "jobs_compare"));
    compare.setAttribute("aria-pressed", String(comparing));
  }
  const find = el("label", { class: "find" }, icon("search", true), filter);
  root.replaceChildren(
    el(
      "div",
      { class: "jobs" },
      el("section", {}, el("div", { class: "bar2" }, title, find), compare, hint, list),
      right,
    ),
  );
  const letter = (id) => (comparing && chosen.includes(id) ? LETTERS[chosen.indexOf(id)] : "");
  /** A click shows a run; while comparing it takes one in or out. */
  function pick(id) {
    if (!comparing) chosen = [id];
    else if (chosen.includes(id)) chosen = chosen.filter((other) => other !== id);
    else if (chosen.length < LETTERS.length) chosen = [...chosen, id];
    else return toast(w("jobs_pick", { count: LETTERS.length }));
    rows();
    showSoon();
  }
  compare.onclick = () => {
    comparing = !comparing;
    if (!comparing) chosen = chosen.slice(0, 1);
    speakJobs();
    rows();
    showSoon();
  };
  function facts(job) {
    const steps = !job.total
      ? ""
      : job.state === "finished"
        ? w("jobs_steps", { steps: number(job.step || job.total) }) // it may have ended before: nothing got better
        : w("jobs_steps_of", { step: number(job.step), total: number(job.total) });
    return [when(job.created), job.state === "finished" && job.seconds ? span(job.seconds) : "", steps]
      .filter(Boolean)
      .join(comma());
  }
  const STATE_ICON = {
    finished: "check",
    stopped: "stop",
    paused: "pause",
    failed: "error",
    lost: "error",
    queued: "clock",
  };
  function status(job) {
    const text =
      w(`state.${job.state}`) +
      (job.state === "running" && job.total ? ` ${Math.round((100 * job.step) / job.total)} %` : "");
    return el(
      "span",
      { class: `st ${job.state}` },
      job.state === "running" ? el("span", { class: "dotl" }) : icon(STATE_ICON[job.state], true),
      " ",
      text,
    );
  }
  function rows() {
    const wanted = filter.value.trim().toLowerCase(),
      found = jobs.filter((job) => job.name.toLowerCase().includes(wanted));
    const key = JSON.stringify([found, chosen, comparing, LANG]);
    if (key === listKey) return;
    listKey = key;
    compare.hidden = jobs.length < 2;
    find.hidden = !jobs.length;
    set(hint, comparing ? w("jobs_pick", { count: LETTERS.length }) : "");
    const focused = document.activeElement?.dataset?.job;
    list.replaceChildren(
      ...found.map((job) => {
        const mark = letter(job.id);
        const button = el(
          "button",
          {
            class: "pick",
            type: "button",
            "aria-pressed": String(chosen.includes(job.id)),
            "aria-description": w("jobs_choose", { name: job.name }),
            "data-job": job.id,
            onclick: () => pick(job.id),
          },
          comparing ? el("span", { class: `tag ${mark.toLowerCase()}`, "aria-hidden": "true" }, mark) : null,
          job.thumb
            ? el("img", { class: "thumb", src: job.thumb, alt: "", loading: "lazy" })
            : el("span", { class: "thumb" }),
          el(
            "span",
            { style: "min-width:0" },
            el("b", { class: "ell", title: job.name }, job.name),
            el("span", { class: "sub sm" }, [job.tool, facts(job)].filter(Boolean).join(comma())),
          ),
          status(job),
        );
        return el(
          "li",
          { class: chosen.includes(job.id) ? "on" : "" },
          button,
          job.resume
            ? el(
                "button",
                { class: "btn q2 s again", type: "button", onclick: () => resume(job.id) },
                icon("play", true),
                w("jobs_continue"),
              )
            : null,
        );
      }),
      ...(found.length
        ? []
        : [
            el(
              "li",
              { class: "sub one", style: "padding:12px 8px" },
              w(jobs.length ? "jobs_nothing_found" : "jobs_none"),
            ),
          ]),
    );
    if (focused) list.querySelector(`[data-job="${CSS.escape(focused)}"]`)?.focus();
  }
  async function resume(id) {
    await act({ do: "continue", job: id });
    askJobs();
  }
  // Asks first: the server says what goes and what stays, or why it cannot be done.
  const removal = onePress(async (run) => {
    let told;
    told = await question("remove", { job: run.id }).catch(() => ({ error: { what: w("try.no_answer") } }));
    const text = el("p", { role: "status" }, rich(told.ask || sentence(told.error)));
    const yes = el("button", { class: "btn bad", type: "button" }, icon("trash"), w("jobs_remove_yes"));
    const no = el(
      "button",
      { class: "btn q2", type: "button", autofocus: true, onclick: () => dialog.close() },
      w(told.ask ? "jobs_keep" : "close"),
    );
    const dialog = el(
      "dialog",
      { class: "la-box ask", "aria-label": w("jobs_remove") },
      text,
      el("div", { class: "row" }, told.ask ? yes : null, no),
    );
    yes.onclick = async () => {
      yes.disabled = true;
      told = await question("remove", { job: run.id, sure: run.id }).catch(() => ({
        error: { what: w("try.no_answer") },
      }));
      if (told.error) {
        text.replaceChildren(...rich(sentence(told.error)));
        yes.remove();
        return;
      }
      dialog.close();
      chosen = chosen.filter((id) => id !== run.id);
      shown = null;
      askRun();
      askJobs();
    };
    dialog.addEventListener("close", () => dialog.remove());
    root.append(dialog);
    dialog.showModal();
  });

  /** Where the answer does not come, the list's next one brings it. */
  const showSoon = () => saidIfSlow(show()).catch((error) => toast(whyNone(error), { bad: true }));
  async function show() {
    const busyRuns = jobs.filter((job) => chosen.includes(job.id)).map((job) => [job.id, job.state, job.step]);
    const key = JSON.stringify([busyRuns, chosen, all, against]);
    if (key === showKey) return;
    const turn = ++asked;
    if (!chosen.length) {
      showKey = key;
      shown = { runs: [] };
      right.replaceChildren(jobs.length ? el("p", { class: "sub" }, w("jobs_pick", { count: LETTERS.length })) : "");
      return;
    }
    const others = String(shown?.runs.map((run) => run.id)) !== String(chosen);
    right.setAttribute("aria-busy", String(others)); // what stands there is not what was chosen
    const told = await question("show", { chosen, all, against });
    if (turn !== asked) return; // another choice came meanwhile
    right.setAttribute("aria-busy", "false");
    if (told.error) throw new Error(sentence(told.error), { cause: told });
    showKey = key;
    shown = told;
    paintRuns();
  }
  const tag = (mark) => el("span", { class: `cap ${mark.toLowerCase()}` }, mark);
  const named = (run, at) => el("span", { class: "named" }, tag(LETTERS[at]), run.name);
  function paintRuns() {
    const { runs } = shown;
    if (!runs.length) return;
    if (runs.length > 1) return paintSeveral(runs);
    const [run] = runs;
    const loss = lossOf(runs);
    const verdict = judgeCard(run.judged, run.total, run.files);
    right.replaceChildren(
      el(
        "div",
        { class: "bar2 wrap" },
        el("h2", {}, [run.tool, run.name].filter(Boolean).join(colon())),
        el("div", { class: "row" }, buttonsOf(run)),
      ),
      run.outcome ? saidOf(run.outcome) : "",
      el(
        "div",
        { class: "pair" },
        el(
          "div",
          { class: "stack" },
          run.outcome ? waysOut(run.id, run.outcome) : null,
          run.tool ? null : viewCard(w("samples"), w("by_step"), samples(run)),
          verdict?.card,
          findingsCard(run.outcome),
          loss?.card,
          run.outcome?.try ? tryIt(run) : null,
          viewCard(w("files"), "", files(run)),
          run.outcome?.lora?.rows ? inside(run) : null,
        ),
        el("div", { class: "stack" }, viewCard(w("jobs_settings"), run.tool ? "" : base(), settings(1))),
      ),
    );
    loss?.draw();
    verdict?.draw();
  }
  /** Samples by prompt, run and step; loss overlaid; settings that differ. */
  function paintSeveral(runs) {
    const loss = lossOf(runs);
    const use = (run, at) =>
      el(
        "button",
        { class: "btn s", type: "button", onclick: () => useJob(run.id) },
        w("jobs_use_of", { letter: LETTERS[at] }),
      );
    right.replaceChildren(
      el(
        "div",
        { class: "bar2 wrap" },
        el("h2", { class: "names" }, runs.map(named)),
        el("div", { class: "row" }, runs.map(use)),
      ),
      el(
        "div",
        { class: "pair" },
        el("div", { class: "stack" }, viewCard(w("samples"), w("by_step"), samplesOf(runs))),
        el("div", { class: "stack" }, viewCard("", "", settings(runs.length)), loss?.card),
      ),
    );
    loss?.draw();
  }
  const buttonsOf = (run) => [
    run.outcome?.extend
      ? el(
          "button",
          { class: "btn", type: "button", onclick: () => askMore(run.id, run.outcome.extend) },
          w("extend.button"),
        )
      : null,
    el("button", { class: "btn", type: "button", onclick: () => useJob(run.id) }, w("jobs_use")),
    ["running", "queued"].includes(run.state) ? null : iconButton("trash", w("jobs_remove"), () => removal(run)),
  ];
  const saidOf = (outcome) =>
    el(
      "p",
      { class: "said" },
      el("b", {}, rich(outcome.title)),
      LANG === "ja" ? "。" : ". ",
      rich(sentences(outcome.facts, outcome.why)),
      keptWords(outcome),
    );
  /** The smoothed losses in one chart: its card, and what draws it once it is in the page. */
  function lossOf(runs) {
    const there = runs.map((run, at) => ({ run, at })).filter(({ run }) => run.curve.step.length);
    if (!there.length) return null;
    const loss = chart(130, w("loss"));
    const mark = (at) => el("span", {}, el("i", { class: LETTERS[at].toLowerCase() }), LETTERS[at]);
    const legend =
      runs.length > 1
        ? el(
            "div",
            { class: "legend" },
            there.map(({ at }) => mark(at)),
          )
        : null;
    const draw = () => {
      loss.draw({
        from: 0,
        to: Math.max(...there.map(({ run }) => Math.max(run.total, run.curve.step.at(-1)))),
        lines: there.map(({ run, at }) => ({
          x: run.curve.step,
          y: run.curve.smooth,
          colour: LINES[at],
          width: 2.25,
        })),
      });
      loss.say(there.map(({ run }) => run.name + colon() + run.curve.smooth.at(-1).toFixed(3)).join(comma()));
    };
    return { card: viewCard(w("jobs_loss"), "", loss.box, legend), draw };
  }
  const cells = (run, index) =>
    new Map(run.samples.filter(([, at]) => at === index).map(([step, , url]) => [step, url]));
  const columnsOf = (runs) =>
    sampleColumns(
      [...new Set(runs.flatMap((run) => run.samples.map(([step]) => step)))].sort((x, y) => x - y),
      [],
      mostColumns(root),
    );
  function samples(run) {
    const steps = columnsOf([run]);
    if (!steps.length) return el("p", { class: "sub one" }, w("jobs_no_samples"));
    const lines = run.prompts.map((prompt, index) => ({ prompt, cells: cells(run, index) }));
    return sampleGrid(root, steps, lines, undefined, "110px");
  }
  function samplesOf(runs) {
    const steps = columnsOf(runs);
    if (!steps.length) return el("p", { class: "sub one" }, w("jobs_no_samples"));
    const prompts = [...new Set(runs.flatMap((run) => run.prompts))];
    return el(
      "div",
      {},
      prompts.flatMap((prompt, place) => {
        const lines = runs.flatMap((run, at) =>
          run.prompts.includes(prompt)
            ? [{ prompt, cells: cells(run, run.prompts.indexOf(prompt)), tag: () => tag(LETTERS[at]) }]
            : [],
        );
        const one = sampleGrid(root, steps, lines, undefined, "26px");
        one.classList.add("ab");
        if (place) for (const head of $$(".h", one)) head.remove();
        return [el("p", { class: "pr" }, prompt), one];
      }),
    );
  }
  // One card per run and language: what was typed and drawn stays while others are looked at.
  const trials = new Map();
  function tryIt(run) {
    const key = `${run.id} ${run.outcome.file.name} ${LANG}`;
    if (!trials.has(key)) trials.set(key, tryCard(root, run.id, run.outcome.try));
    return trials.get(key);
  }
  function inside(run) {
    const { facts, chips, verdicts, smaller, more } = loraFiles(root, run.id);
    return viewCard(
      w("inside"),
      "",
      facts(run.outcome.lora.rows),
      el("h4", {}, w("works_with")),
      verdicts(run.outcome.lora.readers),
      chips({ ...run.outcome.lora, captions: run.outcome.lora.captions?.slice(0, 5) }),
      smaller(run.outcome.lora),
      el("p", { class: "more" }, more(run.outcome.file.name)),
    );
  }
  function base() {
    const choice = el(
      "select",
      {
        class: "tin base",
        "aria-label": w("jobs_against"),
        onchange: () => {
          against = choice.value;
          showSoon();
        },
      },
      el("option", { value: "" }, w("jobs_default")),
      shown.bases.map(([name, title]) => el("option", { value: name }, w("jobs_preset", { name: title }))),
    );
    choice.value = against;
    return el("label", { class: "against" }, el("span", { "aria-hidden": "true" }, w("jobs_against")), choice);
  }
  /** The settings of so many runs; of one beside what it is compared with. */
  function settings(count) {
    const differ = w("jobs_differ", { count: number(shown.differ), total: number(shown.settings) });
    const heads = count > 1 ? LETTERS.slice(0, count) : [against ? w("jobs_base") : w("jobs_default"), w("jobs_this")];
    const columns = heads.length === 2;
    const bold = (row, value) => (row.differs ? el("b", {}, value) : value);
    // Paths and prompts get lines of their own: in a narrow column they could not be read. So do more than two runs.
    const most = root.clientWidth < 700 ? 9 : 16;
    const long = ({ values }) => !columns || values.some((value) => value.length > most || /[\\/\n]/.test(value));
    const line = (mark, row, value) =>
      el("div", { class: "lv" }, el("span", { class: "sub" }, mark), el("span", {}, bold(row, value)));
    const narrow = (row) =>
      el(
        "tr",
        { class: row.differs ? "" : "same", title: row.key },
        el("td", {}, row.label),
        row.values.map((value, at) => el("td", { class: "r" }, count > 1 || at ? bold(row, value) : value)),
      );
    const byValue = (row) =>
      [...new Set(row.values)].map((value) => [value, heads.filter((_, at) => row.values[at] === value)]);
    const wide = (row) =>
      el(
        "tr",
        { class: row.differs ? "wide" : "wide same", title: row.key },
        el(
          "td",
          { colspan: columns ? 3 : 1 },
          row.label,
          byValue(row).map(([value, whose]) => line(whose.join(comma()), row, value)),
        ),
      );
    const body = [...shown.rows.filter((row) => !long(row)).map(narrow), ...shown.rows.filter(long).map(wide)];
    const more = el(
      "button",
      {
        class: "btn q2 s",
        type: "button",
        onclick: () => {
          all = !all;
          showSoon();
        },
      },
      w(all ? "jobs_show_fewer" : "jobs_show_all"),
    );
    const head = columns ? heads.map((text) => el("th", { class: "r" }, text)) : null;
    return [
      el("table", {}, el("thead", {}, el("tr", {}, el("th", {}, differ), head)), el("tbody", {}, body)),
      shown.rows.length ? null : el("p", { class: "sub one" }, w("jobs_same")),
      el("p", { style: "margin-top:8px" }, more),
    ];
  }
  function files(run) {
    const look = loraFiles(root, run.id),
      here = `/live/${encodeURIComponent(run.id)}`;
    const rows = run.files
      .filter((file) => file.kind === "lora")
      .map((file) =>
        el(
          "li",
          {},
          icon("file"),
          wholeName(file.name, file.final),
          fileFacts(file, run.judged),
          el(
            "button",
            {
              class: "ib",
              type: "button",
              "aria-label": w("inside.of", { name: file.name }),
              title: w("inside.of", { name: file.name }),
              onclick: () => look.sheet(file.name),
            },
            icon("info"),
          ),
          downloadLink(file.url, file.name, file.name),
        ),
      );
    const pictures = w("sample_pictures", { count: number(run.samples.length) });
    if (run.samples.length)
      rows.push(
        el(
          "li",
          {},
          icon("image"),
          el("span", { class: "ell" }, pictures),
          el("span"),
          el("span"),
          downloadLink(`${here}/samples.zip`, pictures),
        ),
      );
    rows.push(
      el(
        "li",
        {},
        icon("log"),
        el("span", { class: "ell" }, w("full_log")),
        el("span"),
        el("span"),
        el(
          "a",
          { class: "ib", href: `${here}/log`, target: "_blank", "aria-label": w("full_log"), title: w("full_log") },
          icon("right"),
        ),
      ),
    );
    return el("ul", { class: "files" }, rows);
  }
  speakJobs();
  filter.addEventListener("input", rows);
  jobsChanged = () => {
    speakJobs();
    showKey = "";
    asked += 1; // an answer still on its way tells what was, in the words of before
    askJobs();
  };
  document.addEventListener("visibilitychange", () => visible() && askJobs());
  new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && askJobs()).observe(root);
  askJobs();
}
