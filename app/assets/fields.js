// Marks at the fields: meaning, required, reset, idle, problems. Fields appear when their tab is first opened.

/** Finish fields that have just appeared. */
function dress() {
  if (!page.fields) return;
  for (const block of $$(".la-field:not([data-dressed])")) {
    const key = block.id.slice(2);
    if (!page.fields[key]) continue;
    block.dataset.dressed = "1";
    dressField(block, key, page.fields[key]);
    paintField(block, key);
  }
}

/** What is added to a field, once; its words are put in by `wordField`. */
function dressField(block, key, field) {
  const label = labelOf(block);
  if (label) {
    label.classList.add("la-label");
    const first = el("span", { class: "la-name" });
    first.append(...label.childNodes);
    breakable(first);
    label.append(first);
  }
  block.append(
    el(
      "span",
      { class: "la-tools" },
      el("button", { type: "button", class: "la-q", onclick: () => openSheet(key) }, "?"),
      el(
        "button",
        { type: "button", class: "la-reset", hidden: true, onclick: () => reset(key) },
        icon("reset", true),
        el("span"),
      ),
    ),
    el(
      "div",
      { class: "la-under" },
      el("p", { class: "la-note", id: `n-${key}`, hidden: true }),
      el("div", { class: "la-probs", id: `p-${key}` }),
    ),
    el("span", { class: "la-sr", id: `h-${key}` }),
  );
  if (["file", "folder", "model"].includes(field.widget)) {
    dressPath(block, key, field);
    block.dataset.icon = field.widget === "folder" ? "folder" : "file";
  } else if (field.widget === "secret") dressSecret(block, key);
  else if (field.kind === "text" && field.choices.some((choice) => !choice.value)) {
    $("input, textarea", block).setAttribute("list", `d-${key}`);
    block.append(el("datalist", { id: `d-${key}` }));
  }
  for (const item of $$("input, textarea", block)) item.setAttribute("aria-describedby", `p-${key} n-${key} h-${key}`);
  if (field.required && field.kind !== "switch") $("input, textarea", block)?.setAttribute("aria-required", "true");
  wordField(block, key, field);
}

const labelOf = (block) => $("[data-testid=block-info]", block) || $(".label-text", block) || $("label > span", block);

/** The words of a field in the page's language. */
function wordField(block, key, field) {
  const label = labelOf(block);
  for (const old of $$(".la-req, .la-ja", block)) old.remove();
  if (label && field.required) label.append(el("small", { class: "la-req" }, `  ${w("required")}`));
  if (label && field.meaning) label.append(el("small", { class: "la-ja" }, field.meaning));
  $(".la-q", block).setAttribute("aria-label", w("help", { label: field.label }));
  $(".la-sr", block).replaceChildren(...rich([field.help.does, field.help.usual].filter(Boolean).join(" ")));
  const choose = $(".la-choose", block);
  choose?.setAttribute("aria-label", w("browse.title", { label: field.label }));
  if (choose) set(choose, w("browse.choose"));
  const forget = $(".la-kept .link", block);
  if (forget) set(forget, w("secret_forget"));
  const list = $(`#d-${key}`, block);
  if (list && !["file", "folder", "model"].includes(field.widget))
    list.replaceChildren(
      ...field.choices
        .filter((choice) => choice.value)
        .map((choice) => el("option", { value: choice.value, label: choice.words })),
    );
  for (const item of $$("input[type=radio]", block)) item.parentElement.title = choiceWords(field, item.value);
  const input = $("input, textarea", block);
  const hint = field.placeholder || choiceWords(field, "");
  if (input && field.kind !== "switch" && hint) input.placeholder = hint;
}

/** A name such as v_parameterization may be broken after its underscore. */
function breakable(name) {
  const text = [...name.childNodes].find((node) => node.nodeType === 3 && node.data.includes("_"));
  if (text) text.replaceWith(...text.data.split(/(?<=_)/).flatMap((part, at) => (at ? [el("wbr"), part] : [part])));
}

const choiceWords = (field, value) => field.choices.find((choice) => choice.value === String(value))?.words || "";

/** An opened list says in words what each choice does. */
function dressChoices() {
  for (const option of $$(".la-field [role=option]:not([data-words])")) {
    const field = page.fields[option.closest(".la-field").id.slice(2)];
    option.dataset.words = field ? choiceWords(field, option.getAttribute("aria-label")) : "";
    option.setAttribute("aria-description", option.dataset.words);
    keepInside(option.closest(".options"));
  }
}

/** A list is wider than its field: at the right edge it moves to the left. */
function keepInside(list) {
  if (!list || list.dataset.kept) return;
  list.dataset.kept = "1";
  requestAnimationFrame(() => {
    const over = list.getBoundingClientRect().right - document.documentElement.clientWidth + 8;
    if (over > 0) list.style.marginLeft = `${-over}px`;
  });
}

/** The ending that the file will get stands in the field of its name. */
function paintEnding(block) {
  const ending = $(".la-ending", block) || block.appendChild(el("span", { class: "la-ending", "aria-hidden": "true" }));
  ending.textContent = `.${page.values.save_model_as}`;
}

/** A key leaves the form as soon as it is typed: the server keeps it in a file of the owner's. */
function dressSecret(block, key) {
  const keep = async (value) => {
    const answer = await ask("secret", { key, value });
    if (!answer) return;
    page.secrets[key] = answer.kept;
    write({ [key]: "" });
  };
  $(".la-under", block).append(
    el(
      "p",
      { class: "la-note la-kept", hidden: true },
      el("span"),
      " ",
      el("button", { type: "button", class: "link", onclick: () => keep("") }),
    ),
  );
  $("input", block).addEventListener("change", (event) => {
    if (event.target.value.trim()) keep(event.target.value);
  });
}

/** Whether there is a key: `place` is "file", a variable of the environment, or blank. */
function paintSecret(block, place) {
  const note = $(".la-kept", block);
  note.hidden = !place;
  note.firstChild.textContent = place === "file" ? w("secret_kept") : w("secret_variable", { name: place });
  note.lastChild.hidden = place !== "file";
}

function dressPath(block, key, field) {
  const list = el("datalist", { id: `d-${key}` });
  block.append(list);
  const input = $("input, textarea", block);
  const kind = field.widget === "folder" ? "folder" : field.widget;
  if (!input) return;
  input.setAttribute("list", list.id);
  $(".la-tools", block).prepend(
    el("button", { type: "button", class: "la-choose", onclick: () => chooseForField(key) }),
  );
  completePaths(input, list, () => kind);
}

/** Offer files and folders while one types. */
function completePaths(input, list, kind) {
  let timer = 0;
  const fill = async () => {
    const prefix = input.value;
    const answer = await ask("complete", { prefix, kind: kind() });
    if (!answer || input.value !== prefix) return;
    list.replaceChildren(...answer.paths.slice(0, 60).map((value) => el("option", { value })));
  };
  const soon = () => {
    clearTimeout(timer);
    timer = setTimeout(fill, 120);
  };
  input.addEventListener("input", soon);
  input.addEventListener("focus", soon);
}

function reset(key) {
  write({ [key]: page.defaults[key] });
}

function paintFields() {
  for (const block of $$(".la-field[data-dressed]")) paintField(block, block.id.slice(2));
}

function paintField(block, key) {
  const look = page.look;
  if (!look) return;
  const field = page.fields[key];
  const changed = look.changed[key];
  block.classList.toggle("changed", changed !== undefined);
  const button = $(".la-reset", block);
  if (button) {
    button.hidden = changed === undefined;
    button.lastChild.textContent = changed || "";
    button.title = w("reset", { value: changed || "" });
    button.setAttribute("aria-label", `${field.label}: ${button.title}`);
  }
  if (field.widget === "secret") paintSecret(block, page.secrets[key]);
  if (key === "output_name") paintEnding($("label", block) || block);
  const idle = look.idle[key];
  block.classList.toggle("idle", idle !== undefined);
  const note = $(".la-note", block);
  const text = idle || look.notes[key] || "";
  note.hidden = !text;
  note.replaceChildren(...rich(text));
  if (page.typing === key) return;
  const problems = look.problems.filter((problem) => problem.setting === key && !problem.missing);
  const stops = problems.some((problem) => problem.blocks);
  block.classList.toggle("bad", stops);
  $("input, textarea", block)?.setAttribute("aria-invalid", String(stops));
  const shownNow = JSON.stringify(problems);
  const box = $(".la-probs", block);
  if (box.dataset.shown === shownNow) return;
  box.dataset.shown = shownNow;
  box.replaceChildren(...problems.map((problem) => problemBox(problem)));
}

/** A problem in full, with its button; `press` mends it. */
function problemBox(problem, press = mend) {
  return el(
    "div",
    { class: problem.blocks ? "prob" : "prob w", role: problem.blocks ? "alert" : "note" },
    icon(problem.blocks ? "error" : "alert"),
    el(
      "div",
      {},
      el("p", {}, el("b", {}, rich(problem.what))),
      problem.why && el("p", {}, rich(problem.why)),
      !problem.button && problem.fix ? el("p", {}, rich(problem.fix)) : null,
      problem.button && el("div", { class: "acts" }, fixButton(problem, problem.button, press)),
      problem.does && el("p", { class: "or" }, w("or_by_hand"), rich(problem.fix)),
    ),
  );
}

function fixButton(problem, text, press) {
  return el(
    "button",
    {
      type: "button",
      class: problem.blocks ? "btn p s" : "btn s",
      title: problem.button,
      onclick: () => press(problem),
    },
    problem.blocks ? icon("check", true) : null,
    text,
  );
}

/** Press of a fix button; some fixes need the server first. */
async function mend(problem) {
  const answer = problem.does && (await ask(problem.does, { folder: page.values[problem.setting] }));
  if (problem.does && !answer) return;
  const changes = answer ? answer.changes : problem.changes;
  const labels = Object.keys(changes)
    .map((key) => page.fields[key].label)
    .join(comma());
  writeUndoable(changes, w("fixed", { label: `**${labels}**` }));
}

/** Counts at the tabs: problems, else changes. */
function paintTabs() {
  const { stopping, changed, folds } = page.look.counts;
  for (const tab of ["source_model", "folders", "training", "advanced"]) {
    const button = $(`#t-${tab}-button`);
    if (!button) continue;
    const bad = stopping[tab] || 0;
    button.dataset.n = bad || changed[tab] || "";
    button.classList.toggle("bad", bad > 0);
  }
  const lora = $("#s-lora_more");
  const inUse = Object.entries(page.fields).some(
    ([key, field]) => field.fold === "lora_more" && !(key in page.look.idle),
  );
  if (lora && inUse && !lora.dataset.opened && !isOpen(lora)) {
    lora.dataset.opened = "1";
    $(":scope > button", lora).click();
  }
  for (const fold of $$(".la-acc")) {
    const count = folds[fold.id.slice(2)] || 0;
    const button = $(":scope > button", fold);
    if (button) button.dataset.n = count ? w("changed_count", { count }) : "";
  }
}

/** Open the tab and the fold-out of a setting and put the cursor into it. */
async function goTo(key) {
  const field = page.fields[key];
  if (!field) return;
  await openTab(field.tab);
  if (["weights", "blocks", "conv"].includes(field.group)) $(`#t-${field.group}-button`)?.click();
  if (field.fold) {
    const fold = await shown(`#s-${field.fold}`);
    for (let tries = 0; fold && !isOpen(fold) && tries < 10; tries++) {
      $(":scope > button", fold).click(); // right after its tab was mounted, a click may be lost
      await new Promise((resolve) => setTimeout(resolve, 120));
    }
  }
  const block = await shown(`#f-${key}`);
  if (!block) return;
  dress();
  block.scrollIntoView({ block: "center" });
  ($("input:not([type=range]), textarea", block) || block).focus({ preventScroll: true });
  block.classList.add("found");
  setTimeout(() => block.classList.remove("found"), 1600);
}

/** The opened tab stands in view in the row of tabs (a phone shows some of them). */
function showTab(tab) {
  const row = tab.closest("#tabs > .tab-wrapper .tab-container");
  if (row) row.scrollTo({ left: tab.offsetLeft - (row.clientWidth - tab.offsetWidth) / 2 });
}

const isOpen = (fold) => $(":scope > button", fold).classList.contains("open");

async function openTab(tab) {
  const button = await shown(`#t-${tab}-button`);
  if (button && button.getAttribute("aria-selected") !== "true") button.click();
}
