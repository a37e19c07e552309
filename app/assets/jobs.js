// The Jobs tab: list, one run against the default, two runs side by side; see app/page/jobs_tab.py.

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
    against = "",
    timer = 0,
    listKey = "",
    showKey = "",
    asked = 0;
  const filter = el("input", { type: "search" });
  const list = el("ul", { class: "jl" }),
    hint = el("p", { class: "sub sm hint" }),
    right = el("section", {}),
    title = el("h2", {});
  const visible = () => !document.hidden && root.offsetParent !== null;

  async function askJobs() {
    clearTimeout(timer);
    if (!root.isConnected) return;
    if (visible()) {
      try {
        const answer = await question("jobs", {}, 10_000);
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
  filter.placeholder = w("jobs_filter");
  filter.setAttribute("aria-label", w("jobs_filter"));
  set(title, w("jobs"));
  const find = el("label", { class: "find" }, icon("search", true), filter);
  root.replaceChildren(
    el("div", { class: "jobs" }, el("section", {}, el("div", { class: "bar2" }, title, find), list, hint), right),
  );
  const letter = (id) =>
    chosen.length < 2 ? (chosen[0] === id ? "A" : "") : chosen[0] === id ? "A" : chosen[1] === id ? "B" : "";
  function pick(id) {
    chosen = chosen.includes(id)
      ? chosen.filter((other) => other !== id)
      : chosen.length < 2
        ? [...chosen, id]
        : [chosen[0], id];
    rows();
    show();
  }
  function when(seconds) {
    const day = new Date(seconds * 1000),
      today = new Date(),
      yesterday = new Date(Date.now() - 864e5),
      clock = time(seconds);
    if (day.toDateString() === today.toDateString()) return w("jobs_today", { time: clock });
    if (day.toDateString() === yesterday.toDateString()) return w("jobs_yesterday", { time: clock });
    return day.toLocaleDateString(LANG === "ja" ? "ja-JP" : "en-GB", {
      day: "numeric",
      month: "short",
      ...(day.getFullYear() === today.getFullYear() ? {} : { year: "numeric" }),
    });
  }
  function facts(job) {
    const steps = !job.total
      ? ""
      : job.state === "finished"
        ? w("jobs_steps", { steps: number(job.total) })
        : w("jobs_steps_of", { step: number(job.step), total: number(job.total) });
    return [when(job.created), job.state === "finished" && job.seconds ? span(job.seconds) : "", steps]
      .filter(Boolean)
      .join(comma());
  }
  const STATE_ICON = { finished: "check", stopped: "stop", failed: "error", lost: "error", queued: "clock" };
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
    const key = JSON.stringify([found, chosen]);
    if (key === listKey) return;
    listKey = key;
    set(hint, jobs.length > 1 && chosen.length < 2 ? w("jobs_pick") : "");
    const focused = document.activeElement?.dataset?.job;
    list.replaceChildren(
      ...found.map((job) => {
        const mark = letter(job.id);
        const button = el(
          "button",
          {
            class: "pick",
            type: "button",
            "aria-pressed": String(!!mark),
            "aria-description": w("jobs_choose", { name: job.name }),
            "data-job": job.id,
            onclick: () => pick(job.id),
          },
          el("span", { class: `tag ${mark.toLowerCase()}`, "aria-hidden": "true" }, mark),
          job.thumb
            ? el("img", { class: "thumb", src: job.thumb, alt: "", loading: "lazy" })
            : el("span", { class: "thumb" }),
          el(
            "span",
            { style: "min-width:0" },
            el("b", { class: "ell" }, job.name),
            el("span", { class: "sub sm" }, [job.tool, facts(job)].filter(Boolean).join(comma())),
          ),
          status(job),
        );
        return el(
          "li",
          { class: mark ? "on" : "" },
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
  async function removal(run) {
    let told;
    told = await question("remove", { job: run.id }, 10_000).catch(() => ({ error: { what: w("try.no_answer") } }));
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
  }

  async function show() {
    const busyRuns = jobs.filter((job) => chosen.includes(job.id)).map((job) => [job.id, job.state, job.step]);
    const key = JSON.stringify([busyRuns, chosen, all, against]);
    if (key === showKey) return;
    const turn = ++asked;
    if (!chosen.length) {
      showKey = key;
      shown = { runs: [] };
      right.replaceChildren(jobs.length ? el("p", { class: "sub" }, w("jobs_pick")) : "");
      return;
    }
    const told = await question("show", { chosen, all, against }, 10_000);
    if (turn !== asked) return; // another choice came meanwhile
    if (told.error) throw new Error(sentence(told.error));
    showKey = key;
    shown = told;
    paintRuns();
  }
  const tag = (letter) => el("span", { class: `cap ${letter.toLowerCase()}` }, letter);
  function paintRuns() {
    const [a, b] = shown.runs;
    if (!a) return;
    const heading = b
      ? el(
          "h2",
          {},
          tag("A"),
          a.name,
          " ",
          el("span", { class: "sub", style: "font-weight:400;margin:0 8px" }, w("jobs_and")),
          " ",
          tag("B"),
          b.name,
        )
      : el("h2", {}, [a.tool, a.name].filter(Boolean).join(": "));
    const buttons = b
      ? [
          el("button", { class: "btn s", type: "button", onclick: () => useJob(a.id) }, w("jobs_use_a")),
          el("button", { class: "btn s", type: "button", onclick: () => useJob(b.id) }, w("jobs_use_b")),
        ]
      : [
          el("button", { class: "btn", type: "button", onclick: () => useJob(a.id) }, w("jobs_use")),
          !["running", "queued"].includes(a.state)
            ? el(
                "button",
                {
                  class: "ib",
                  type: "button",
                  "aria-label": w("jobs_remove"),
                  title: w("jobs_remove"),
                  onclick: () => removal(a),
                },
                icon("trash"),
              )
            : null,
        ];
    const said =
      !b && a.outcome
        ? el(
            "p",
            { class: "said" },
            el("b", {}, a.outcome.title),
            LANG === "ja" ? "。" : ". ",
            rich(sentences(a.outcome.facts, a.outcome.why, a.outcome.fix)),
          )
        : null;
    const loss = chart(130, w("loss"));
    const legend = b
      ? el("div", { class: "legend" }, el("span", {}, el("i"), "A"), el("span", {}, el("i", { class: "b" }), "B"))
      : null;
    const withCurve = shown.runs.filter((run) => run.curve.step.length);
    const lossCard = withCurve.length ? viewCard(w("jobs_loss"), "", loss.box, legend) : null;
    const lora = !b && a.outcome?.lora?.rows ? inside(a) : null;
    right.replaceChildren(
      el("div", { class: "bar2 wrap" }, heading, el("div", { class: "row" }, buttons)),
      said ?? "",
      el(
        "div",
        { class: "pair" },
        el(
          "div",
          { class: "stack" },
          a.tool ? null : viewCard(w("samples"), w("by_step"), samples(a, b)),
          b ? null : findingsCard(a.outcome),
          b ? null : lossCard,
          !b && a.outcome?.try ? tryIt(a) : null,
          b ? null : viewCard(w("files"), "", files(a)),
          lora,
        ),
        el(
          "div",
          { class: "stack" },
          viewCard(b ? "" : w("jobs_settings"), b || a.tool ? "" : base(), settings(b)),
          b ? lossCard : null,
        ),
      ),
    );
    if (withCurve.length) {
      const to = Math.max(...withCurve.map((run) => Math.max(run.total, run.curve.step.at(-1))));
      const colours = { [a.id]: ["--color-accent", "#0b6b62"], [b?.id]: ["--la-second", "#b0602a"] };
      loss.draw({
        from: 0,
        to,
        lines: withCurve.map((run) => ({
          x: run.curve.step,
          y: run.curve.smooth,
          colour: colours[run.id],
          width: 2.25,
        })),
      });
      loss.say(withCurve.map((run) => `${run.name}: ${run.curve.smooth.at(-1).toFixed(3)}`).join("; "));
    }
  }
  const cells = (run, index) =>
    new Map((run?.samples || []).filter(([, at]) => at === index).map(([step, , url]) => [step, url]));
  function samples(a, b) {
    const steps = sampleColumns(
      [...new Set([...a.samples, ...(b?.samples || [])].map(([step]) => step))].sort((x, y) => x - y),
      [],
      root.clientWidth < 700 ? 5 : 6,
    );
    if (!steps.length) return el("p", { class: "sub one" }, w("jobs_no_samples"));
    if (!b)
      return sampleGrid(
        root,
        steps,
        a.prompts.map((prompt, index) => ({ prompt, cells: cells(a, index) })),
        undefined,
        "110px",
      );
    const prompts = [...new Set([...a.prompts, ...b.prompts])];
    return el(
      "div",
      {},
      prompts.flatMap((prompt, at) => {
        const rows = [
          [a, "A"],
          [b, "B"],
        ]
          .filter(([run]) => run.prompts.includes(prompt))
          .map(([run, mark]) => ({ prompt, cells: cells(run, run.prompts.indexOf(prompt)), tag: () => tag(mark) }));
        const one = sampleGrid(root, steps, rows, undefined, "26px");
        one.classList.add("ab");
        if (at) for (const head of $$(".h", one)) head.remove();
        return [el("p", { class: "pr" }, prompt), one];
      }),
    );
  }
  // One card per run and language: what was typed and drawn stays while others are looked at.
  const trials = new Map();
  function tryIt(run) {
    const key = `${run.id} ${run.outcome.file.name}`;
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
          show();
        },
      },
      el("option", { value: "" }, w("jobs_default")),
      shown.bases.map(([name, title]) => el("option", { value: name }, w("jobs_preset", { name: title }))),
    );
    choice.value = against;
    return el("label", { class: "against" }, el("span", { "aria-hidden": "true" }, w("jobs_against")), choice);
  }
  function settings(two) {
    const count = w("jobs_differ", { count: number(shown.differ), total: number(shown.settings) });
    const heads = two ? ["A", "B"] : [against ? w("jobs_base") : w("jobs_default"), w("jobs_this")];
    const bold = (row, value) => (row.differs ? el("b", {}, value) : value);
    // Paths and prompts get lines of their own: in a narrow column they could not be read.
    const long = (row) =>
      Math.max(row.a.length, row.b.length) > (root.clientWidth < 700 ? 9 : 16) || /[\\/\n]/.test(row.a + row.b);
    const line = (mark, row, value) =>
      el("div", { class: "lv" }, el("span", { class: "sub" }, mark), el("span", {}, bold(row, value)));
    const narrow = (row) =>
      el(
        "tr",
        { class: row.differs ? "" : "same", title: row.key },
        el("td", {}, row.label),
        el("td", { class: "r" }, two ? bold(row, row.a) : row.a),
        el("td", { class: "r" }, bold(row, row.b)),
      );
    const wide = (row) =>
      el(
        "tr",
        { class: row.differs ? "wide" : "wide same", title: row.key },
        el("td", { colspan: "3" }, row.label, line(heads[0], row, row.a), line(heads[1], row, row.b)),
      );
    const body = [...shown.rows.filter((row) => !long(row)).map(narrow), ...shown.rows.filter(long).map(wide)];
    const more = el(
      "button",
      {
        class: "btn q2 s",
        type: "button",
        onclick: () => {
          all = !all;
          show();
        },
      },
      w(all ? "jobs_show_fewer" : "jobs_show_all"),
    );
    return [
      el(
        "table",
        {},
        el(
          "thead",
          {},
          el("tr", {}, el("th", {}, count), el("th", { class: "r" }, heads[0]), el("th", { class: "r" }, heads[1])),
        ),
        el("tbody", {}, body),
      ),
      shown.rows.length ? null : el("p", { class: "sub one" }, w("jobs_same")),
      el("p", { style: "margin-top:8px" }, more),
    ];
  }
  function files(run) {
    const look = loraFiles(root, run.id),
      here = `/live/${encodeURIComponent(run.id)}`;
    const link = (href, name) =>
      el(
        "a",
        { class: "ib", href, download: "", "aria-label": w("download_file", { name }), title: w("download") },
        icon("down"),
      );
    const rows = run.files
      .filter((file) => file.kind === "lora")
      .map((file) =>
        el(
          "li",
          {},
          icon("file"),
          el("span", { class: "ell", title: file.name }, file.final ? el("b", {}, file.name) : file.name),
          el("span", { class: "sub" }, file.size),
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
          el(
            "a",
            {
              class: "ib",
              href: file.url,
              download: file.name,
              "aria-label": w("download_file", { name: file.name }),
              title: w("download"),
            },
            icon("down"),
          ),
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
          link(`${here}/samples.zip`, pictures),
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
        link(`${here}/log`, w("full_log")),
      ),
    );
    return el("ul", { class: "files" }, rows);
  }
  filter.addEventListener("input", rows);
  jobsChanged = () => {
    showKey = "";
    askJobs();
  };
  document.addEventListener("visibilitychange", () => visible() && askJobs());
  new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && askJobs()).observe(root);
  askJobs();
}
