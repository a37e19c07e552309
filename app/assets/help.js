// The rail: what is still missing, problems, help of the focused field, this run.

function paintRail() {
  const rail = $("#la-rail");
  if (!rail || !page.look) return;
  const problems = page.look.problems.filter((problem) => !problem.missing);
  const stopping = problems.filter((problem) => problem.blocks);
  const hints = problems.filter((problem) => !problem.blocks);
  rail.replaceChildren(...[
    readyCard(page.look.ready), problemsCard(stopping, "problems"), helpCard(page.focus), runCard(page.look.plan), problemsCard(hints, "hints"),
  ].filter(Boolean));
}

function card(title, small, ...content) {
  return el("section", { class: "card" }, el("h3", {}, title, small ? el("small", {}, small) : null), ...content);
}

function readyCard(items) {
  if (!items.length) return null;
  const done = items.filter((item) => item.done).length;
  return card(w("ready_title"), w("ready_count", { done, total: items.length }), el("ul", { class: "ready" }, items.map((item) => el("li", {},
    el("span", { class: item.done ? "o y" : "o" }, item.done ? icon("check") : ""), el("span", {}, item.text),
    item.done ? null : el("button", { type: "button", class: "link", onclick: () => goTo(item.key) }, w("go"))))));
}

/** Whether the sentence itself begins with the setting. */
const saysLabel = (problem) => problem.what.startsWith(`**${problem.label}**`);

function problemsCard(problems, kind) {
  if (!problems.length) return null;
  const bad = kind === "problems";
  const first = problems.slice(0, 5);
  return card(w(kind, { count: problems.length }), "", ...first.map((problem) => el("div", { class: bad ? "prob" : "prob w" }, icon(bad ? "error" : "alert"),
    el("div", {}, el("p", {}, saysLabel(problem) || !problem.label ? null : [el("b", {}, problem.label), el("br")], rich(problem.what)),
      el("div", { class: "acts" },
        problem.button && el("button", { type: "button", class: bad ? "btn p s" : "btn s", title: problem.button, onclick: () => mend(problem) }, bad ? icon("check", true) : null, bad ? w("fix") : problem.button),
        problem.setting && el("button", { type: "button", class: "btn q2 s", onclick: () => goTo(problem.setting) }, w("show")))))),
  problems.length > first.length ? el("p", { class: "sub sm" }, w("more", { count: problems.length - first.length })) : null);
}

function helpParts(key) {
  const field = page.fields[key];
  const parts = Object.entries(field.help).filter(([, text]) => text);
  return [
    parts.length ? el("dl", {}, parts.flatMap(([part, text]) => [el("dt", {}, w(part)), el("dd", {}, rich(text))])) : el("p", { class: "sub" }, w("no_help")),
    el("div", { class: "key" }, el("code", {}, key), el("span", {}, `${w("default")} ${field.default}`),
      page.look && page.look.changed[key] !== undefined ? el("button", { type: "button", class: "btn q2 s", onclick: () => reset(key) }, icon("reset", true), w("reset_button")) : null),
  ];
}

function helpCard(key) {
  if (!page.fields[key]) return el("section", { class: "card help" }, el("h3", {}, icon("help"), w("help_title")), el("p", { class: "sub sm" }, w("help_hint")));
  return el("section", { class: "card help", "aria-live": "polite" }, el("h3", {}, icon("help"), el("span", {}, page.fields[key].label)), ...helpParts(key));
}

/** Help on a phone: a sheet above the bar. */
function openSheet(key) {
  $("#la-sheet")?.remove();
  const close = () => { $("#la-sheet")?.remove(); $(`#f-${key} .la-q`)?.focus(); };
  const sheet = el("section", { id: "la-sheet", class: "help", role: "dialog", "aria-label": page.fields[key].label },
    el("h3", {}, icon("help"), el("span", {}, page.fields[key].label), el("button", { type: "button", class: "ib", "aria-label": w("close"), onclick: close }, icon("x"))), ...helpParts(key));
  document.body.append(sheet);
  const top = $(`#f-${key}`).getBoundingClientRect().top;
  window.scrollBy({ top: top - 70 });
  $(".ib", sheet).focus({ preventScroll: true });
  sheet.addEventListener("keydown", (event) => { if (event.key === "Escape") close(); });
}

function focused(event) {
  const block = event.target.closest?.(".la-field");
  if (!block || block.id.slice(2) === page.focus) return;
  page.focus = block.id.slice(2);
  const old = $("#la-rail .card.help");
  if (old) old.replaceWith(helpCard(page.focus));
}

/** The run in a card: summary, timeline, figures. */
function runCard(plan) {
  if (!plan) return null;
  const changed = Object.keys(page.look.changed).length;
  return card(w("this_run"), "", el("div", { class: "sm sub" }, plan.summary), timeline(plan),
    el("dl", { class: "kv" }, plan.facts.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]),
      el("dt", {}, w("changed")), el("dd", {}, w("changed_of", { count: changed, total: page.look.total }))));
}

function timeline(plan) {
  const at = (step) => `left:${(100 * step / Math.max(1, plan.total)).toFixed(2)}%`;
  const few = (items) => items.length > 40 ? items.filter((_, place) => place % Math.ceil(items.length / 40) === 0) : items;
  return el("div", { class: "tl", role: "img", "aria-label": w("timeline", { files: plan.saves.length, epochs: plan.epochs.length - 1 }) },
    few(plan.epochs).map((step) => el("i", { style: at(step) })), few(plan.saves).map((item) => el("b", { style: at(item.step), title: item.name })));
}
