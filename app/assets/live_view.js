// The live view of the Run tab: what is new about the job comes piece by piece, see app/jobs/live.py.

/** Called when Gradio has mounted the Run tab. */
function showRun(element) {
  const root = $(".la-live", element) || element;
  if (root.dataset.up) return;
  root.dataset.up = "1";
  const MOST_LINES = 2000;
  const MOST_POINTS = 4000;
  let now = null;
  let state = "none";
  let parts = null;
  let queue = "";
  let tool = "";
  let drawn = "";
  let data = empty();
  let kept = [];
  let view = null;
  let cursor = {};
  runView = {
    root,
    get cursor() {
      return cursor;
    },
    take,
    away: (text) => {
      if (view?.notice) {
        set(view.notice, text);
        view.notice.hidden = false;
      } else {
        view = null;
        root.replaceChildren(el("div", { class: "none", role: "status" }, el("p", {}, text)));
      }
    },
  };
  function empty() {
    return { step: [], loss: [], smooth: [], rate: {} };
  }

  function take(answer) {
    if (answer.fresh || (!answer.job && cursor.job)) {
      data = empty();
      kept = [];
      parts = view = null;
      drawn = "";
      cursor = {};
    }
    const before = state;
    state = answer.state;
    tool = answer.tool || "";
    Object.assign(cursor, { job: answer.job, key: answer.key });
    if (state === "none") return nothing();
    now = answer.now;
    if (answer.curve) {
      points(answer.curve);
      cursor.point = answer.curve.at;
    }
    if (answer.parts) {
      parts = answer.parts;
      cursor.version = parts.version;
    }
    const kind = parts.outcome ? parts.outcome.kind : "run";
    if (!view || view.kind !== kind) {
      const ends = view?.kind === "run" && root.offsetParent;
      build(kind);
      if (ends) scrollTo({ top: 0, behavior: "instant" }); // what came of the run stands at the top
    }
    view.notice.hidden = true;
    top();
    if (answer.log) {
      lines(answer.log.lines);
      cursor.line = answer.log.at;
    }
    if (answer.curve || before !== state) charts();
    if (answer.parts) {
      samples();
      judge();
      files();
    }
    line(answer.queue || []);
  }
  function judge() {
    const made = judgeCard(parts.judged, now.total, parts.files);
    view.judge.hidden = !made;
    view.judge.replaceChildren(...(made ? [made.card] : []));
    made?.draw();
  }
  function points(curve) {
    if (curve.again) data = empty();
    while (data.step.length && data.step[data.step.length - 1] >= curve.from) {
      data.step.pop();
      data.loss.pop();
      data.smooth.pop();
      for (const one of Object.values(data.rate)) one.pop();
    }
    data.step.push(...curve.step);
    data.loss.push(...curve.loss);
    data.smooth.push(...curve.smooth);
    for (const [name, rates] of Object.entries(curve.rate)) {
      data.rate[name] ??= [];
      data.rate[name].push(...rates);
    }
    if (data.step.length > MOST_POINTS) {
      const thin = (list) => list.filter((_, at) => at % 2 === 0 || at === list.length - 1);
      data = {
        step: thin(data.step),
        loss: thin(data.loss),
        smooth: thin(data.smooth),
        rate: Object.fromEntries(Object.entries(data.rate).map(([name, list]) => [name, thin(list)])),
      };
    }
  }

  function nothing() {
    if (view?.kind === "none" && view.language === LANG) return;
    view = { kind: "none", language: LANG };
    root.replaceChildren(el("div", { class: "none" }, el("h2", {}, w("no_job")), el("p", {}, w("no_job_hint"))));
  }
  function build(kind) {
    const v = { kind };
    view = v;
    drawn = "";
    v.notice = el("div", { class: "away", role: "status", hidden: true }, w("reconnecting"));
    v.lossNote = w("loss_hint");
    v.loss = chart(150, w("loss"));
    v.rate = chart(68, w("learning_rate"));
    v.lossCard = viewCard(
      w("loss"),
      v.lossNote,
      v.loss.box,
      el(
        "div",
        { class: "legend" },
        el("span", {}, el("i", { class: "raw" }), w("each_step")),
        el("span", {}, el("i"), w("smoothed")),
      ),
    );
    v.rateLegend = el("div", { class: "legend" });
    v.rateCard = viewCard(w("learning_rate"), "", v.rate.box, v.rateLegend);
    v.log = el("div", {
      class: "log",
      role: "log",
      tabindex: "0",
      "aria-label": w("log"),
      "data-empty": w("log_empty"),
    });
    const bad = ["failed", "lost"].includes(kind);
    const copyButton = el(
      "button",
      { class: "btn q2 s", type: "button", onclick: () => copyFrom(copyButton, v.log.innerText) },
      icon("copy", true),
      el("span", { class: "t" }, w("copy")),
    );
    const full = el(
      "a",
      { class: "btn q2 s", href: `/live/${encodeURIComponent(cursor.job)}/log`, target: "_blank" },
      icon("log", true),
      w("full_log"),
    );
    v.logCard = viewCard(w(bad ? "log_end" : "log"), el("span", { class: "row" }, full, copyButton), v.log);
    v.judge = el("div", { hidden: true });
    v.samples = el("div");
    v.samplesNote = el("span");
    v.samplesCard = viewCard(w(kind === "finished" ? "how_it_learned" : "samples"), v.samplesNote, v.samples);
    v.files = el("ul", { class: "files" });
    v.filesCard = viewCard(w(bad ? "kept" : "files"), "", v.files);
    v.queue = el("ul", { class: "files line" });
    v.goOn = el(
      "button",
      { class: "btn s", type: "button", onclick: () => act({ do: "go_on" }) },
      icon("play", true),
      w("go_on"),
    );
    v.queueCard = viewCard(w("in_line"), v.goOn, v.queue);
    v.queueCard.hidden = true;
    const body = kind === "run" ? running(v) : ended(v, parts.outcome);
    root.replaceChildren(v.notice, ...body);
    writeLog(kept);
  }

  function running(v) {
    v.sub = el("div", { class: "sub sm" });
    v.title = el("h2", { class: "big" });
    v.leftLabel = el("div", { class: "sub sm" });
    v.left = el("div", { class: "big" });
    v.bar = el("i");
    v.marks = el("span");
    v.progress = el(
      "div",
      { class: "prog", role: "progressbar", "aria-label": w("progress"), "aria-valuemin": "0", "aria-valuemax": "100" },
      v.bar,
      v.marks,
    );
    v.meta = el("div", { class: "meta" });
    v.phases = el("ul", { class: "phases" });
    return [
      el("div", { class: "top" }, el("div", {}, v.sub, v.title), el("div", { class: "r" }, v.leftLabel, v.left)),
      v.progress,
      el("div", { class: "mp" }, v.meta, v.phases),
      el("div", { class: "runtools" }, runButtons(v), noticeChoices()),
      el(
        "div",
        { class: "mon" },
        el("div", { class: "stack" }, v.samplesCard, v.judge, v.logCard),
        el("div", { class: "stack" }, v.queueCard, v.lossCard, v.rateCard, v.filesCard),
      ),
    ];
  }
  /** Save now, Sample now, Pause: the trainer sees them after its step. */
  function runButtons(v) {
    v.buttons = {};
    if (tool) return null; // a tool has no file to save before its end, and no state to go on from
    const button = (name, symbol) =>
      el(
        "button",
        {
          class: "btn s",
          type: "button",
          onclick: ({ currentTarget }) => {
            if (currentTarget.getAttribute("aria-disabled") !== "true") act({ do: name, job: cursor.job });
          },
        },
        icon(symbol, true),
        el("span"),
      );
    v.buttons = { save: button("save", "file"), sample: button("sample", "image"), pause: button("pause", "pause") };
    return el("div", { class: "row" }, Object.values(v.buttons));
  }
  function paintButtons(v) {
    const learning = now.total > 0 && now.step > 0;
    const off = {
      save: !learning || now.wishes.includes("save"),
      sample: !learning || now.wishes.includes("sample") || !parts.prompts.length,
      pause: now.stopping,
    };
    for (const [name, button] of Object.entries(v.buttons)) {
      const asked = name === "pause" ? now.pausing : now.wishes.includes(name);
      set(button.lastChild, w(asked ? `now.${name}_asked` : `now.${name}`));
      button.setAttribute("aria-disabled", String(off[name]));
      button.title = name === "sample" && !parts.prompts.length ? w("no_samples") : w(`now.${name}_says`);
    }
  }
  function ended(v, outcome) {
    const good = outcome.kind === "finished",
      plain = outcome.kind === "stopped";
    const actions = [];
    const resumes = outcome.resume !== null && outcome.resume !== undefined;
    if (outcome.file)
      actions.push(
        el(
          "a",
          { class: good ? "btn p lg" : "btn lg", href: outcome.file.url, download: outcome.file.name },
          icon("down"),
          w("download"),
        ),
      );
    if (resumes) {
      actions[outcome.paused ? "unshift" : "push"](
        el(
          "button",
          {
            class: !outcome.paused && (good || plain || outcome.remedies?.length) ? "btn lg" : "btn p lg",
            type: "button",
            onclick: () => act({ do: "continue", job: cursor.job }),
          },
          icon("play"),
          outcome.resume ? w("outcome.continue_from", { step: number(outcome.resume) }) : w("outcome.continue"),
        ),
      );
    }
    if (outcome.extend)
      actions.push(
        el(
          "button",
          { class: "btn lg", type: "button", onclick: () => askMore(cursor.job, outcome.extend) },
          icon("add"),
          w("extend.button"),
        ),
      );
    actions.push(
      el(
        "button",
        { class: "btn q2", type: "button", onclick: () => useJob(cursor.job) },
        w(outcome.tool ? "tools_again" : "outcome.again"),
      ),
    );
    const facts = sentences(outcome.facts, outcome.why);
    const banner = el(
      "div",
      { class: `out ${good ? "" : plain ? "plain" : "bad"}`, role: good || plain ? "status" : "alert" },
      el("div", { class: "dot" }, icon(good ? "check" : outcome.paused ? "pause" : plain ? "stop" : "bang")),
      el(
        "div",
        {},
        el("h2", {}, rich(outcome.title)),
        el("p", {}, rich(facts), keptWords(outcome)),
        outcome.file ? placeOf(outcome.file) : null,
      ),
      el("div", { class: "row" }, actions),
    );
    const left = [],
      right = [];
    if (outcome.tool) return toolEnded(v, outcome, banner);
    left.push(...waysOut(cursor.job, outcome));
    if (outcome.use) left.push(howToUse(outcome), worksWith(outcome));
    if (outcome.lora?.rows) left.push(insideCard(outcome));
    v.samplesCard.classList.add("wide");
    if (good || plain)
      return [
        banner,
        el("div", { class: "stack first" }, v.samplesCard, v.judge),
        el(
          "div",
          { class: "g3" },
          el("div", { class: "stack" }, left),
          el("div", { class: "stack" }, outcome.try ? tryIt(outcome) : null, v.lossCard, v.rateCard),
          el("div", { class: "stack" }, v.queueCard, v.filesCard, v.logCard),
        ),
      ];
    right.push(v.queueCard, v.filesCard, v.samplesCard, v.judge);
    return [
      banner,
      el(
        "div",
        { class: "g2" },
        el("div", { class: "stack" }, left, v.logCard),
        el("div", { class: "stack" }, right, v.lossCard),
      ),
    ];
  }
  /** What a tool has made and found, or what is to be changed before it can. */
  function toolEnded(v, outcome, banner) {
    const inside_ = outcome.lora?.rows ? [insideCard(outcome)] : [];
    const works = outcome.lora?.readers ? [viewCard(w("works_with"), "", inside().verdicts(outcome.lora.readers))] : [];
    const proposed = outcome.proposals ? proposalsCard(cursor.job, outcome.proposals) : null;
    const right = outcome.file ? [v.filesCard, ...works, ...inside_] : [];
    return [
      banner,
      el(
        "div",
        { class: "g2" },
        el("div", { class: "stack" }, waysOut(cursor.job, outcome), findingsCard(outcome), proposed, v.logCard),
        el("div", { class: "stack" }, v.queueCard, right),
      ),
    ];
  }
  /** The whole path, to copy, and its folder where the person sits at this machine. */
  const placeOf = (file) =>
    el(
      "div",
      { class: "where" },
      el("code", { title: w("outcome.where") }, el("bdi", {}, file.path)),
      iconButton("copy", w("copy"), (event) => copyFrom(event.currentTarget, file.path)),
      file.folder
        ? el(
            "button",
            {
              class: "btn q2 s",
              type: "button",
              onclick: () => ask("open_folder", { job: cursor.job, file: file.name }),
            },
            icon("folder", true),
            w("outcome.open_folder"),
          )
        : null,
    );
  const copyLine = (text) =>
    el(
      "div",
      { class: "copy" },
      el("code", {}, text),
      iconButton("copy", w("copy"), (event) => copyFrom(event.currentTarget, text)),
    );
  function howToUse(outcome) {
    return viewCard(
      w("how_to_use"),
      "",
      el(
        "ol",
        { class: "steps" },
        el(
          "li",
          {},
          el(
            "div",
            {},
            w("use.copy_to"),
            copyLine("models/Lora/"),
            el("p", { class: "sub sm" }, w("use.other_folder")),
          ),
        ),
        el(
          "li",
          {},
          el(
            "div",
            {},
            w("use.prompt"),
            copyLine(outcome.use.prompt),
            outcome.use.words ? el("p", { class: "sub sm" }, w("use.words", { words: outcome.use.words })) : null,
          ),
        ),
        el("li", {}, el("div", {}, w("use.tune"))),
      ),
    );
  }
  function worksWith(outcome) {
    const rows = [...(outcome.lora?.readers || []), { verdict: "base", name: w("works.base"), text: outcome.use.base }];
    return viewCard(w("works_with"), "", inside().verdicts(rows));
  }
  const inside = () => loraFiles(root, cursor.job);
  function insideCard(outcome) {
    const { facts, chips, smaller, more } = inside();
    return viewCard(
      w("inside"),
      "",
      facts(outcome.lora.rows),
      chips({ ...outcome.lora, captions: outcome.lora.captions?.slice(0, 5) }),
      smaller(outcome.lora),
      el("p", { class: "more" }, more(outcome.file.name)),
    );
  }
  // One card per file and language: what was typed and drawn stays while the view is built anew.
  let trial = null;
  function tryIt(outcome) {
    const key = `${cursor.job} ${outcome.file.name} ${LANG}`;
    if (trial?.key !== key) trial = { key, card: tryCard(root, cursor.job, outcome.try) };
    return trial.card;
  }
  function top() {
    const v = view;
    if (!v.title) return;
    const name = [tool, now.name].filter(Boolean).join(colon());
    set(v.sub, `${name}${comma()}${w("started_at", { time: time(now.started) })}`);
    set(v.title, runTitle());
    set(v.leftLabel, now.left === null ? "" : w("ready_in"));
    set(v.left, now.left === null ? "" : span(now.left));
    const share = runShare();
    v.bar.style.width = `${(share * 100).toFixed(1)}%`;
    v.progress.setAttribute("aria-valuenow", Math.round(share * 100));
    const each = now.each
      ? now.each <= 1
        ? [(1 / now.each).toFixed(now.each < 0.1 ? 0 : 1), w("steps_per_second")]
        : [now.each.toFixed(1), w("seconds_per_step")]
      : null;
    const rates = Object.values(now.rate || {});
    const meta = [
      now.epochs ? [w("epoch"), `${number(now.epoch)} / ${number(now.epochs)}`] : null,
      [w("elapsed"), clock(now.elapsed)],
      each ? [w("speed"), each.join(" ")] : null,
      now.loss !== undefined ? [w("loss_smoothed"), now.loss.toFixed(3)] : null,
      rates.length ? [w("learning_rate"), rate(Math.max(...rates))] : null,
      now.memory
        ? [
            w("memory"),
            now.memory_total > now.memory
              ? w("memory_of", { used: bytes(now.memory), total: bytes(now.memory_total) })
              : bytes(now.memory),
          ]
        : null,
    ].filter(Boolean);
    if (v.meta.children.length !== meta.length)
      v.meta.replaceChildren(...meta.map(() => el("span", {}, el("span"), " ", el("b"))));
    meta.forEach(([label, value], at) => {
      set(v.meta.children[at].firstChild, label);
      set(v.meta.children[at].lastChild, value);
    });
    phases(v);
    paintButtons(v);
  }
  function phases(v) {
    if (tool) return;
    const before = now.phases.filter(([name]) => name !== "train" && name !== "start");
    const busyNow = state === "running" ? now.phase : "";
    const rows = before.map(([name, seconds]) =>
      name === busyNow && !now.step
        ? ["c", "play", w(`short.${name}`)]
        : ["d", "check", w(`short.${name}`) + (seconds < 1 ? "" : `${comma()}${span(seconds)}`)],
    );
    if (!before.some(([name]) => name === busyNow) || now.step)
      rows.push(now.step || busyNow === "train" ? ["c", "play", w("short.train")] : null);
    if (rows.some(Boolean))
      rows.push(now.total && now.step >= now.total ? ["c", "play", w("short.save")] : ["n", "clock", w("short.save")]);
    const key = JSON.stringify(rows);
    if (key === v.phaseKey) return;
    v.phaseKey = key;
    v.phases.replaceChildren(
      ...rows
        .filter(Boolean)
        .map(([kind, name, text]) =>
          el(
            "li",
            { class: kind, "aria-current": kind === "c" ? "step" : null },
            icon(name, true),
            el("span", {}, text),
          ),
        ),
    );
  }
  function lines(fresh) {
    kept.push(...fresh);
    kept.splice(0, kept.length - MOST_LINES);
    writeLog(fresh);
  }
  function writeLog(fresh) {
    const box = view.log,
      atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 30;
    box.append(
      ...fresh.map(([moment, level, text]) =>
        el(
          "div",
          { class: level === "warning" ? "w" : level === "error" ? "e" : "" },
          el("i", {}, time(moment, true)),
          el("span", {}, text),
        ),
      ),
    );
    if (parts.outcome?.trace && !box.querySelector(".trace"))
      box.append(el("pre", { class: "trace e" }, parts.outcome.trace));
    while (box.childElementCount > MOST_LINES) box.firstElementChild.remove();
    if (atEnd) box.scrollTop = box.scrollHeight;
  }
  function charts() {
    const some = data.step.length > 0;
    view.lossCard.hidden = view.rateCard.hidden = !some;
    if (!some) return;
    const to = Math.max(now.total, data.step[data.step.length - 1]),
      from = 0;
    const sorted = [...data.loss].sort((a, b) => a - b),
      most = Math.max(sorted[Math.floor(sorted.length * 0.985)], ...data.smooth) * 1.05;
    view.loss.draw({
      from,
      to,
      most,
      lines: [
        { x: data.step, y: data.loss, colour: ["--la-raw", "#a9c9c4"], width: 1 },
        { x: data.step, y: data.smooth, colour: ["--color-accent", "#0b6b62"], width: 2.25 },
      ],
    });
    const here = data.smooth.length - 1,
      back = Math.max(0, here - Math.max(10, Math.floor(data.smooth.length / 4)));
    const change = (data.smooth[here] - data.smooth[back]) / (Math.abs(data.smooth[back]) || 1);
    const trend = w(change < -0.02 ? "trend.down" : change > 0.02 ? "trend.up" : "trend.flat");
    view.loss.say(w("loss_says", { loss: data.smooth[here].toFixed(3), step: number(data.step[here]), trend }));
    const names = Object.keys(data.rate),
      differ = names.length > 1 && data.rate[names[0]].some((value, at) => value !== data.rate[names[1]][at]);
    const shown = differ ? names : names.slice(0, 1),
      colours = [
        ["--color-accent", "#0b6b62"],
        ["--la-second", "#b0602a"],
      ];
    view.rate.draw({
      from,
      to,
      zero: true,
      marks: state === "running" ? [data.step[here]] : [],
      lines: shown.flatMap((name, at) => [
        { x: data.step, y: data.rate[name], colour: colours[at], width: 2.25 },
        { ...ahead(name, data.step[here], data.rate[name][here]), colour: colours[at], width: 1.5, dotted: true },
      ]),
    });
    view.rate.say(w("rate_says", { rate: rate(data.rate[names[0]]?.[here] ?? 0), step: number(data.step[here]) }));
    view.rateLegend.hidden = !differ;
    if (differ && view.rateLegend.children.length !== shown.length)
      view.rateLegend.replaceChildren(
        ...shown.map((name, at) => el("span", {}, el("i", { class: at ? "b" : "" }), w(`rate.${name}`) || name)),
      );
  }
  // What is still to come of a learning rate; nothing where the optimizer goes its own way.
  function ahead(name, step, rateNow) {
    const planned = state === "running" ? parts.planned?.[name] || [] : [],
      next = planned.findIndex(([at]) => at > step);
    if (next < 1) return { x: [], y: [] };
    const [[x0, y0], [x1, y1]] = [planned[next - 1], planned[next]],
      here = y0 + ((y1 - y0) * (step - x0)) / (x1 - x0 || 1);
    if (Math.abs(here - rateNow) > 0.1 * Math.max(here, rateNow)) return { x: [], y: [] };
    const rest = planned.slice(next);
    return { x: [step, ...rest.map(([at]) => at)], y: [rateNow, ...rest.map(([, value]) => value)] };
  }
  function samples() {
    view.samplesCard.hidden = Boolean(tool);
    if (tool) return;
    const key = JSON.stringify([parts.samples, parts.sample_steps, now.total, view.kind, root.clientWidth < 700]);
    if (key === drawn) return;
    drawn = key;
    const done = [...new Set(parts.samples.map(([step]) => step))].sort((a, b) => a - b),
      latest = done[done.length - 1];
    const ended = !!parts.outcome,
      planned = ended ? [] : parts.sample_steps;
    if (!done.length && !planned.length) {
      view.samplesCard.hidden = ended;
      view.samples.replaceChildren(
        el("p", { class: "sub" }, w(now.total || !parts.prompts.length ? "no_samples" : "samples_soon")),
      );
      return;
    }
    view.samplesCard.hidden = false;
    const rows = parts.prompts.map((prompt, index) => ({
      prompt,
      cells: new Map(parts.samples.filter(([, at]) => at === index).map(([step, , url]) => [step, url])),
    }));
    const steps = sampleColumns(done, planned, mostColumns(root));
    const next = planned.find((step) => latest === undefined || step > latest);
    set(
      view.samplesNote,
      ended
        ? w("by_step")
        : next === undefined
          ? ""
          : done.length
            ? w("next_at", { step: number(next) })
            : w("samples_waiting", { step: number(next) }),
    );
    view.samples.replaceChildren(
      sampleGrid(
        root,
        steps,
        rows,
        ended ? undefined : latest,
        view.kind === "run" || view.kind === "failed" ? "132px" : "170px",
      ),
    );
  }
  function files() {
    const rows = parts.files.map((file) => {
      if (file.kind === "state")
        return el(
          "li",
          {},
          icon("folder"),
          el("span", { class: "ell" }, w("state_folder", { step: number(file.step) })),
          el("span", { class: "sub" }, together(file.size)),
          el("span"),
          el("span"),
        );
      return el(
        "li",
        {},
        icon("file"),
        wholeName(file.name, file.final),
        fileFacts(file, parts.judged),
        iconButton("info", w("inside.of", { name: file.name }), () => inside().sheet(file.name)),
        downloadLink(file.url, file.name, file.name),
      );
    });
    if (parts.samples.length)
      rows.push(
        el(
          "li",
          {},
          icon("image"),
          el("span", { class: "ell" }, w("sample_pictures", { count: number(parts.samples.length) })),
          el("span"),
          el("span"),
          downloadLink(
            `/live/${encodeURIComponent(cursor.job)}/samples.zip`,
            w("sample_pictures", { count: parts.samples.length }),
          ),
        ),
      );
    view.files.replaceChildren(...(rows.length ? rows : [el("li", { class: "sub one" }, w("no_files"))]));
  }
  function line(waiting) {
    const key = JSON.stringify([waiting, run.waits]);
    if (key === queue && view.queueBuilt) return;
    queue = key;
    if (!view.queueCard) return;
    view.goOn.hidden = !run.waits;
    view.queueBuilt = true;
    view.queueCard.hidden = !waiting.length;
    view.queue.replaceChildren(
      ...waiting.map((job) =>
        el(
          "li",
          { class: "wide" },
          icon("clock"),
          el("span", { class: "ell" }, job.name),
          el(
            "span",
            { class: "row" },
            iconButton("up", w("move_up", { name: job.name }), () => act({ do: "move", job: job.id, by: -1 })),
            iconButton("dn", w("move_down", { name: job.name }), () => act({ do: "move", job: job.id, by: 1 })),
            iconButton("x", w("take_out", { name: job.name }), () => act({ do: "take_out", job: job.id })),
          ),
        ),
      ),
    );
  }
  askRun();
}
