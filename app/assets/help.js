// The rail: what is still missing, problems, help of the focused field, this run.

/** Cards stay as they are while their content does: a press or the focus in them is not lost. */
function paintRail() {
  const rail = $("#la-rail");
  if (!rail || !page.look) return;
  const problems = page.look.problems.filter((problem) => !problem.missing);
  const stopping = problems.filter((problem) => problem.blocks);
  const hints = problems.filter((problem) => !problem.blocks);
  const { plan, changed, ready } = page.look;
  const tab = openedTab();
  const block = tab === "advanced" && focusedBlock();
  const key = page.fields[page.focus]?.tab === tab ? page.focus : FIRST_HELP[tab] || "";
  const cards = [
    ["ready", ready, () => readyCard(ready)],
    ["problems", stopping, () => problemsCard(stopping, "problems")],
    block ? ["block", page.focus, () => blockCard(...block)] : ["help", [key, changed[key]], () => helpCard(key)],
    [
      "samples",
      tab === "advanced" && plan && [plan.total, plan.samples, page.look.prompts.length],
      () => samplesCard(plan),
    ],
    ["run", (plan || Object.keys(changed).length > 0) && [plan, Object.keys(changed).length], () => runCard(plan)],
    ["hints", hints, () => problemsCard(hints, "hints")],
  ];
  const there = Object.fromEntries([...rail.children].map((card) => [card.dataset.card, card]));
  const kept = cards
    .map(([name, content, build]) => {
      if (!content) return null;
      const shows = JSON.stringify(content);
      if (there[name]?.dataset.shows === shows) return there[name];
      const card = build();
      if (card) Object.assign(card.dataset, { card: name, shows });
      return card;
    })
    .filter(Boolean);
  if (kept.length !== rail.children.length || kept.some((card, at) => card !== rail.children[at])) {
    const focus = rail.contains(document.activeElement) ? document.activeElement : null;
    rail.replaceChildren(...kept);
    if (focus?.isConnected) focus.focus({ preventScroll: true });
  }
  paintBlockCard();
}

/** Whose help stands in the rail before a field is chosen. */
const FIRST_HELP = { source_model: "pretrained_model_name_or_path", folders: "train_data_dir", training: "LoRA_type" };
const openedTab = () => $("#tabs > .tab-wrapper [role=tab][aria-selected=true]")?.id.slice(2, -7) || "";

function card(title, small, ...content) {
  return el(
    "section",
    { class: "card" },
    el("h2", {}, el("span", {}, title), small ? el("small", {}, small) : null),
    ...content,
  );
}

function readyCard(items) {
  if (!items.length) return null;
  const done = items.filter((item) => item.done).length;
  return card(
    w("ready_title"),
    w("ready_count", { done, total: items.length }),
    el(
      "ul",
      { class: "ready" },
      items.map((item) =>
        el(
          "li",
          {},
          el("span", { class: item.done ? "o y" : "o" }, item.done ? icon("check") : ""),
          el("span", {}, rich(item.text)),
          item.done
            ? null
            : el(
                "button",
                {
                  type: "button",
                  class: "link",
                  "aria-label": `${item.text}: ${tabName(page.fields[item.key].tab)}`,
                  onclick: () => goTo(item.key),
                },
                tabName(page.fields[item.key].tab),
              ),
        ),
      ),
    ),
  );
}

const tabName = (tab) => $(`#t-${tab}-button`)?.textContent.split("\n")[0].trim() || "";

/** Whether the sentence itself begins with the setting. */
const saysLabel = (problem) => problem.what.startsWith(`**${problem.label}**`);

function problemsCard(problems, kind) {
  if (!problems.length) return null;
  const bad = kind === "problems";
  const first = problems.slice(0, 5);
  return card(
    w(kind, { count: problems.length }),
    "",
    ...first.map((problem) =>
      el(
        "div",
        { class: bad ? "prob" : "prob w" },
        icon(bad ? "error" : "alert"),
        el(
          "div",
          {},
          el(
            "p",
            {},
            saysLabel(problem) || !problem.label ? null : [el("b", {}, problem.label), el("br")],
            rich(problem.what),
          ),
          el(
            "div",
            { class: "acts" },
            problem.button &&
              el(
                "button",
                {
                  type: "button",
                  class: bad ? "btn p s" : "btn s",
                  title: problem.button,
                  onclick: () => mend(problem),
                },
                bad ? icon("check", true) : null,
                bad ? w("fix") : problem.button,
              ),
            problem.setting &&
              el("button", { type: "button", class: "btn q2 s", onclick: () => goTo(problem.setting) }, w("show")),
          ),
        ),
      ),
    ),
    problems.length > first.length
      ? el("p", { class: "sub sm" }, w("more", { count: problems.length - first.length }))
      : null,
  );
}

function helpParts(key) {
  const field = page.fields[key];
  const parts = Object.entries(field.help).filter(([, text]) => text);
  return [
    parts.length
      ? el(
          "dl",
          {},
          parts.flatMap(([part, text]) => [
            el("dt", {}, w(part === "too_much" && !["int", "float"].includes(field.kind) ? "wrong" : part)),
            el("dd", {}, rich(text)),
          ]),
          choiceList(field),
        )
      : el("p", { class: "sub" }, w("no_help")),
    el(
      "div",
      { class: "key" },
      el("code", {}, key),
      el("span", {}, `${w("default")} ${field.default}`),
      page.look && page.look.changed[key] !== undefined
        ? el(
            "button",
            { type: "button", class: "btn q2 s", onclick: () => reset(key) },
            icon("reset", true),
            w("reset_button"),
          )
        : null,
    ),
  ];
}

/** A short list of choices in words; a long one has them in the opened field. */
function choiceList(field) {
  const choices = field.choices.filter((choice) => choice.words);
  if (!choices.length || choices.length > 8) return null;
  return [
    el("dt", {}, w("choices")),
    el(
      "dd",
      {},
      el(
        "ul",
        { class: "choices" },
        choices.map((choice) => el("li", {}, choice.value && el("b", {}, choice.value), " ", choice.words)),
      ),
    ),
  ];
}

function helpCard(key) {
  if (!page.fields[key])
    return el(
      "section",
      { class: "card help" },
      el("h2", {}, icon("help"), w("help_title")),
      el("p", { class: "sub sm" }, w("help_hint")),
    );
  return el(
    "section",
    { class: "card help" },
    el("h2", {}, icon("help"), el("span", {}, page.fields[key].label)),
    ...helpParts(key),
  );
}

/** Help on a phone: a sheet above the bar. */
function openSheet(key) {
  $("#la-sheet")?.remove();
  const close = () => {
    $("#la-sheet")?.remove();
    $(`#f-${key} .la-q`)?.focus();
  };
  const sheet = el(
    "section",
    { id: "la-sheet", class: "help", role: "dialog", "aria-label": page.fields[key].label },
    el(
      "h2",
      {},
      icon("help"),
      el("span", {}, page.fields[key].label),
      el("button", { type: "button", class: "ib", "aria-label": w("close"), onclick: close }, icon("x")),
    ),
    ...helpParts(key),
  );
  document.body.append(sheet);
  const top = $(`#f-${key}`).getBoundingClientRect().top;
  window.scrollBy({ top: top - 70 });
  $(".ib", sheet).focus({ preventScroll: true });
  sheet.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
  });
}

function focused(event) {
  const block = event.target.closest?.(".la-field");
  if (!block || block.id.slice(2) === page.focus) return;
  page.focus = block.id.slice(2);
  paintRail();
}

/** The sample pictures to come: a row for each prompt, a column for each time. */
function samplesCard(plan) {
  const rows = page.look.prompts;
  const { prompts, points } = plan.counts;
  const count = prompts * points;
  if (!count) return null;
  const { samples } = plan;
  const spread = [0, 1, 2, 3, 4, 5].map((at) => samples[Math.round((at * (samples.length - 1)) / 5)]);
  const columns = samples.length <= 6 ? samples : spread;
  const cells = rows.slice(0, 4).map(() => columns.map(() => el("i")));
  const text = w("samples_text", { prompts: number(prompts), points: number(points), count: number(count) });
  return card(
    w("samples_title"),
    w("samples_count", { count: number(count) }),
    el(
      "div",
      {
        class: "grid",
        style: `--n:${columns.length}`,
        role: "img",
        "aria-label": w("samples_text", { prompts, points, count }),
      },
      columns.map((step) => el("small", {}, number(step))),
      cells.flat(),
    ),
    el("p", { class: "sm sub" }, text, " ", w(rows.length > 1 ? "samples_control" : "samples_second")),
  );
}

/** The run in a card: summary, timeline, figures; without pictures yet only what was changed. */
function runCard(plan) {
  const changed = Object.keys(page.look.changed).length;
  const facts = plan ? plan.facts : [];
  return card(
    w("this_run"),
    "",
    plan
      ? [
          plan.assumed ? el("p", { class: "sm sub" }, w("assumed")) : null,
          el("div", { class: "sm sub" }, plan.summary),
          timeline(plan),
        ]
      : null,
    el(
      "dl",
      { class: "kv" },
      facts.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]),
      el("dt", {}, w("changed")),
      el(
        "dd",
        {},
        el(
          "button",
          { type: "button", class: "link", "data-act": "changed" },
          w("changed_of", { count: changed, total: page.look.total }),
        ),
      ),
    ),
  );
}

function timeline(plan) {
  const at = (step) => `left:${((100 * step) / Math.max(1, plan.total)).toFixed(2)}%`;
  const few = (items) =>
    items.length > 40 ? items.filter((_, place) => place % Math.ceil(items.length / 40) === 0) : items;
  const { epochs, saves, samples, counts } = plan;
  const key = [["tk", "epoch_end"], ["save", "file_saved"], ...(samples.length ? [["dot", "sampled"]] : [])];
  return [
    el(
      "div",
      {
        class: "tl",
        role: "img",
        "aria-label": w("timeline", { files: counts.files, epochs: counts.epochs, samples: counts.points }),
      },
      few(epochs).map((step) => el("i", { style: at(step) })),
      few(saves).map((item) => el("b", { style: at(item.step), title: item.name })),
      few(samples).map((step) => el("u", { style: at(step) })),
    ),
    el(
      "div",
      { class: "legend" },
      key.map(([mark, name]) => el("span", {}, el("i", { class: mark }), w(name))),
    ),
  ];
}
