// The Tools tab: a list of tools, and the form of the chosen one, built from its schema (app/answers/tools.py).

/** The tools once they are known, and what stands in their forms; kept in this browser.
 *  `said`: what the chosen one still needs, for the bar. */
const toolbox = { tools: [], chosen: "", values: storedValue("tools") || {}, said: null };
/** Opens a tool with values, once the tab is there. */
let openTool = (name, values) => {
  toolbox.chosen = name;
  toolbox.values[name] = values;
};

/** Puts the tools into the page's language, once the tab is there. */
let speakTools = () => {};

const keepTools = () => store("tools", JSON.stringify(toolbox.values));

/** A tool's tab with the settings of one of its jobs. */
async function useTool(name, values) {
  openTool(name, values);
  keepTools();
  await openTab("tools");
}

/** Called when Gradio has mounted the Tools tab. */
async function showTools(element) {
  const root = $(".la-toolbox", element) || element;
  if (root.dataset.up) return;
  root.dataset.up = "1";
  while (!page.server) await rest(50);
  const first = LANG;
  toolbox.tools = (await firstTools()).tools;
  const list = el("nav", { "aria-label": w("tools") });
  const place = el("div");
  root.replaceChildren(el("div", { class: "toolbox" }, list, place));
  let form = null;
  const byName = (name) => toolbox.tools.find((tool) => tool.name === name);
  const paintList = () => list.replaceChildren(...toolGroups(toolbox.tools, choose));
  /** On a phone the tools stand in one line, longer than the screen. */
  function showChosen() {
    const { left, right } = $("[aria-current]", list).getBoundingClientRect();
    const seen = list.getBoundingClientRect();
    if (left < seen.left || right > seen.right) list.scrollLeft += left - seen.left - 16;
  }
  function choose(name) {
    toolbox.chosen = byName(name) ? name : toolbox.tools[0].name;
    paintList();
    const tool = byName(toolbox.chosen);
    toolbox.said = null;
    form = toolForm(tool, { ...tool.defaults, ...toolbox.values[tool.name] });
    place.replaceChildren(form.root);
    showChosen();
    paintBar();
  }
  openTool = (name, values) => {
    toolbox.values[name] = values;
    choose(name);
  };
  speakTools = async () => {
    const code = LANG;
    const told = await ask("tools");
    if (!told || LANG !== code) return;
    toolbox.tools = told.tools;
    list.setAttribute("aria-label", w("tools"));
    choose(toolbox.chosen);
  };
  choose(toolbox.chosen);
  if (LANG !== first) speakTools();
  new IntersectionObserver((seen) => {
    if (!seen.some((one) => one.isIntersecting)) return;
    showChosen();
    form.look();
  }).observe(root);
}

/** The tools; the first time that there is no answer it is said why, then it is asked on in quiet. */
async function firstTools() {
  let answer = await ask("tools");
  while (!answer || answer.error) {
    await rest(3000);
    answer = await question("tools").catch(() => null);
  }
  return answer;
}

function toolGroups(tools, choose) {
  return ["pictures", "lora"].flatMap((group) => {
    const members = tools.filter((tool) => tool.group === group);
    if (!members.length) return [];
    const rows = members.map((tool) =>
      el(
        "li",
        {},
        el(
          "button",
          {
            type: "button",
            "data-tool": tool.name,
            "aria-current": tool.name === toolbox.chosen ? "true" : null,
            onclick: () => choose(tool.name),
          },
          tool.title,
        ),
      ),
    );
    return [el("h2", {}, w(group === "lora" ? "tools_lora" : "tools_pictures")), el("ul", {}, rows)];
  });
}

/** A tool's form: {root, look()}. Every change is looked at by the server, as the training form is. */
function toolForm(tool, values) {
  const fields = {};
  const said = el("div", { class: "tsaid", role: "status", "aria-live": "polite" });
  const listed = el("div");
  let timer = 0;
  let turn = 0;

  function changed(key, value) {
    values[key] = value;
    toolbox.values[tool.name] = values;
    keepTools();
    clearTimeout(timer);
    timer = setTimeout(look, 200);
  }
  function write(changes) {
    for (const [key, value] of Object.entries(changes)) {
      fields[key]?.write(value);
      changed(key, value);
    }
  }
  function clear() {
    const before = { ...values };
    write(tool.defaults);
    toast(w("tools_cleared"), { undo: () => useTool(tool.name, before) });
  }
  async function look() {
    clearTimeout(timer);
    const mine = ++turn;
    const answer = await ask("tool_look", { tool: tool.name, values });
    if (answer && mine === turn) paintLook(answer);
    return answer;
  }
  function paintLook(answer) {
    for (const [key, field] of Object.entries(fields)) {
      const problems = answer.problems.filter((problem) => problem.setting === key);
      field.paint(answer.idle[key], problems, write);
    }
    const loose = answer.problems.filter((problem) => !fields[problem.setting]);
    const missing = answer.problems.filter((problem) => problem.missing);
    const blank = missing.map((problem) => problem.label);
    said.replaceChildren(
      ...loose.map((problem) => problemBox(problem)),
      blank.length ? el("p", { class: "sub" }, w("tools_blank", { names: blank.join(comma()) })) : "",
    );
    const stops = answer.problems.filter((problem) => problem.blocks && !problem.missing);
    if (!root.isConnected) return; // another tool, or another language, was chosen meanwhile
    const show = () => toProblem(answer, missing[0] ?? stops[0]);
    toolbox.said = { act: tool.act, stops: stops.length, blank: blank[0], show };
    paintBar();
  }
  /** Puts the cursor into the field that stops the tool, without one into the first that does. */
  function toProblem(answer, one = null) {
    paintLook(answer);
    const first = one ?? answer.problems.find((problem) => problem.blocks && fields[problem.setting]);
    if (fields[first?.setting]) $("input, select, textarea", fields[first.setting].root)?.focus();
    else said.scrollIntoView({ block: "center" });
  }
  const start = onePress(async () => {
    const answer = await ask("tool_start", { tool: tool.name, values });
    if (!answer) return;
    if (answer.look) return toProblem(answer.look);
    const { id, beside } = answer.job;
    jobsChanged();
    if (beside) return listed.replaceChildren(besideCard(id, beside));
    await openTab("run");
    askRun();
  });
  const submit = (event) => {
    event.preventDefault();
    start();
  };
  const preview = onePress(async () => {
    const answer = await ask("tool_preview", { tool: tool.name, values }, 120_000);
    if (!answer) return;
    if (answer.look) return toProblem(answer.look);
    const more = answer.more ? el("p", { class: "sub" }, w("more", { count: number(answer.more) })) : null;
    listed.replaceChildren(
      viewCard(
        w("tools_would"),
        "",
        el(
          "ul",
          { class: "tlist" },
          answer.lines.map((line) => el("li", {}, line)),
        ),
        more,
      ),
    );
  });
  const sections = tool.groups.map((group) => {
    const keys = Object.keys(tool.fields).filter(
      (key) => tool.fields[key].group === group.name && tool.fields[key].widget !== "hidden",
    );
    for (const key of keys) fields[key] = toolField(tool, key, values[key], (value) => changed(key, value));
    return el(
      "section",
      {},
      el("h3", {}, group.title),
      el(
        "div",
        { class: "tform" },
        keys.map((key) => fields[key].root),
      ),
    );
  });
  const buttons = el(
    "div",
    { class: "row" },
    el("button", { type: "submit", class: "btn p lg" }, icon("play"), tool.act),
    tool.preview ? el("button", { type: "button", class: "btn lg", onclick: preview }, w("tools_preview")) : null,
    el("button", { type: "button", class: "btn q2", onclick: clear }, icon("reset", true), w("tools_reset")),
  );
  const root = el(
    "form",
    { onsubmit: submit, novalidate: true, "data-form": tool.name, autocomplete: "off" },
    el("h2", {}, tool.title),
    el(
      "p",
      { class: "sub" },
      rich(tool.about),
      LANG === "ja" ? "" : " ",
      w(tool.light ? "tools_light" : "tools_in_line"),
    ),
    sections,
    said,
    buttons,
    listed,
  );
  look();
  return { root, look };
}

/** A tool's job beside a training that goes on: how far it is, then its end, without leaving the form. */
function besideCard(job, other) {
  const text = el("p", { role: "status" }, w("tools_beside", { name: other }));
  const stop = el(
    "button",
    { type: "button", class: "btn", onclick: () => act({ do: "stop_beside", job }) },
    icon("stop", true),
    w("tools_stop"),
  );
  const card = viewCard(w("tools_at_work"), "", text, el("div", { class: "row" }, stop));
  async function look() {
    const told = await question("tool_job", { job }).catch(() => ({}));
    if (told.outcome) return end(told.outcome);
    if (told.of) set(text, w("phase.work", { done: number(told.done), total: number(told.of) }));
    await rest(1000);
    if (card.isConnected) look();
  }
  function end(outcome) {
    text.replaceChildren(...rich([outcome.facts, outcome.why, outcome.fix].filter(Boolean).join(" ")));
    card.replaceChildren(cardHead(outcome.title), text);
    const found = findingsCard(outcome);
    if (found) card.after(found);
    jobsChanged();
  }
  look();
  return card;
}

/** Captions that a tool's job proposes: to be looked at, opened in the dataset room, or written. */
function proposalsCard(job, count) {
  const list = el("ul", { class: "tlist" });
  const said = el("p", { class: "sub", role: "status" });
  let proposals = [];
  const load = async () => {
    const answer = await ask("tool_proposals", { job });
    if (!answer) return;
    proposals = answer.proposals;
    const row = ({ path, caption, before }) =>
      el(
        "li",
        {},
        el("b", {}, nameOf(path)),
        " ",
        el("span", { class: "sub" }, before || w("tools_nothing_before")),
        " → ",
        caption,
      );
    list.replaceChildren(...proposals.slice(0, MOST_PROPOSALS).map(row));
    const more = proposals.length - MOST_PROPOSALS;
    if (more > 0) list.append(el("li", { class: "sub" }, w("more", { count: number(more) })));
  };
  const write = el("button", { type: "button", class: "btn p" }, w("tools_write", { count: number(count) }));
  write.onclick = async () => {
    write.disabled = true;
    const answer = await ask("tool_write", { job });
    write.disabled = false;
    if (answer) set(said, w("tools_written", { count: number(answer.count) }));
  };
  const toRoom = () => takeToRoom(proposals);
  const look = el("button", { type: "button", class: "btn", onclick: toRoom }, w("tools_room"));
  load();
  return viewCard(w("tools_proposed"), number(count), list, said, el("div", { class: "row" }, look, write));
}
const MOST_PROPOSALS = 200;
