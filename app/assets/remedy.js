// What to change after a run that ended badly: on Run, and for every past run on Jobs.

/** Its cards: choices, one of which goes on or changes the form; else what to do, and the way to its setting. */
function waysOut(job, outcome) {
  if (outcome.remedies?.length) return remedyCards(job, outcome);
  const setting = outcome.tool ? null : outcome.setting; // a tool's is in a form of its own
  if (!outcome.fix && !setting) return [];
  return [
    viewCard(
      w("what_to_change"),
      "",
      outcome.fix ? el("p", { class: "fix" }, rich(outcome.fix)) : null,
      setting ? el("p", { class: "more2" }, showSetting(setting)) : null,
    ),
  ];
}
/** What is safe after all, behind what has happened. */
const keptWords = (outcome) => (outcome.kept ? [LANG === "ja" ? "" : " ", el("b", {}, rich(outcome.kept))] : null);
const showSetting = (setting) =>
  el(
    "button",
    { class: "btn", type: "button", onclick: () => goTo(setting.key) },
    w("show_setting", { label: setting.label }),
  );
// Choices of what to change: one continues the run or goes to the form with the change made.
let remedyGroups = 0;
function remedyCards(job, outcome) {
  let chosen = outcome.remedies[0];
  const group = `fix-${++remedyGroups}`, // Run and Jobs may show the same run
    memory = outcome.memory && outcome.remedies.some((one) => one.needs) ? memoryCard(outcome) : null;
  const toForm = () => useJob(job, chosen.changes, chosen.key);
  const onward = () => act({ do: "continue", job: job, remedy: chosen.id });
  const first = el("button", { class: "btn p", type: "button" }),
    second = el("button", { class: "btn q2", type: "button", onclick: toForm }, w("remedy.only"));
  const choose = (one) => {
    chosen = one;
    const goes = one.continues && outcome.resume;
    first.replaceChildren(
      goes ? icon("play") : "",
      goes ? w("remedy.continue", { step: number(outcome.resume) }) : w("remedy.apply"),
    );
    first.onclick = goes ? onward : toForm;
    second.hidden = !goes;
    memory?.show(one.needs || 0);
  };
  const rows = outcome.remedies.map((one, at) => {
    const radio = el("input", {
      type: "radio",
      name: group,
      id: `${group}-${at}`,
      checked: at === 0,
      onchange: () => choose(one),
    });
    const price = sentences(one.price, one.needs_text ? w("remedy.needs", { size: one.needs_text }) : "");
    return el(
      "li",
      {},
      radio,
      el(
        "label",
        { for: radio.id },
        el("span", { class: "rt" }, rich(one.title)),
        el("span", { class: "sub sm" }, rich(price)),
      ),
      at === 0 && outcome.remedies.length > 1 ? el("span", { class: "rec" }, w("remedy.recommended")) : null,
    );
  });
  choose(chosen);
  const list = el("ul", { class: "ways", role: "radiogroup", "aria-label": w("what_to_change") }, rows);
  return [viewCard(w("what_to_change"), "", list, el("div", { class: "row" }, first, second)), memory?.card].filter(
    Boolean,
  );
}
function memoryCard(outcome) {
  const { now: needed, now_text: text, total, total_text: line } = outcome.memory;
  const most = Math.max(needed, total) * 1.08;
  const row = (label) => {
    const fill = el("i"),
      value = el("b");
    return {
      fill,
      value,
      line: el(
        "div",
        { class: "mrow" },
        el("span", {}, label),
        el("div", { class: "mbar" }, fill, el("u", { style: `left:${(100 * total) / most}%` })),
        value,
      ),
    };
  };
  const before = row(w("memory_now")),
    after = row(w("memory_then"));
  before.fill.style.width = `${(100 * needed) / most}%`;
  before.fill.className = needed > total ? "over" : "";
  set(before.value, text);
  const show = (needs) => {
    after.line.hidden = !needs;
    after.fill.style.width = `${(100 * needs) / most}%`;
    after.fill.className = needs > total ? "over" : "";
    set(after.value, needs ? bytes(needs) : "");
  };
  return {
    card: viewCard(
      w("memory_card"),
      "",
      before.line,
      after.line,
      el("p", { class: "sub sm" }, w("memory_line", { size: line })),
    ),
    show,
  };
}
