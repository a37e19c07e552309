// Configuration file, presets, search, language, light.

function startHeader() {
  for (const item of $$("#head [data-ph]")) item.placeholder = w(item.dataset.ph);
  for (const item of $$("#head [data-label]")) item.setAttribute("aria-label", w(item.dataset.label));
  for (const button of $$("#head [data-lang]")) {
    button.setAttribute("aria-pressed", String(button.dataset.lang === LANG));
    button.addEventListener("click", () => switchLanguage(button.dataset.lang));
  }
  const config = $("#la-config");
  config.value = page.path;
  completePaths(config, $("#d-config"), () => "json");
  config.addEventListener("keydown", (event) => { if (event.key === "Enter") loadPath(config.value); });
  $("#la-file").addEventListener("change", openFile);
  startSearch();
}

async function switchLanguage(code) {
  if (code === LANG) return;
  await ask("look", { values: page.values, path: page.path });
  keepCookie("ui_lang", code);
  location.reload();
}

function switchLight() {
  const dark = !document.body.classList.contains("dark");
  keepCookie("ui_light", dark ? "dark" : "light");
  document.body.classList.toggle("dark", dark);
}

/** The panel under the header: presets, command, report, questions. */
function openPanel(title, ...content) {
  const panel = $("#la-panel");
  panel.replaceChildren(el("div", { class: "panel", role: "dialog", "aria-label": title },
    el("h3", {}, title, el("button", { type: "button", class: "ib", "aria-label": w("close"), onclick: closePanel }, icon("x"))), ...content));
  panel.hidden = false;
  $("button:not(.ib), input", panel)?.focus();
}
function closePanel() {
  $("#la-panel").hidden = true;
  $("#la-panel").replaceChildren();
  $("[data-act=presets]").setAttribute("aria-expanded", "false");
}

function showPresets() {
  if (!$("#la-panel").hidden) return closePanel();
  $("[data-act=presets]").setAttribute("aria-expanded", "true");
  openPanel(w("presets"), page.presets.length
    ? el("ul", { class: "presets" }, page.presets.map((card) => el("li", {},
      el("button", { type: "button", onclick: () => showPreset(card) }, el("b", {}, card.title), el("span", { class: "sub" }, rich(card.about))))))
    : el("p", { class: "sub" }, w("no_presets")));
}

/** What a preset changes, before it does. */
async function showPreset(card) {
  const answer = await ask("preset", { name: card.name, values: page.values });
  if (!answer) return;
  const rows = answer.difference;
  if (!rows.length) return openPanel(card.title, el("p", {}, w("preset_same", { name: card.title })));
  openPanel(w("preset_changes", { name: card.title, count: rows.length }), differenceTable(rows),
    el("div", { class: "acts" },
      el("button", { type: "button", class: "btn p", onclick: () => { closePanel(); usePreset(card, answer); } }, w("preset_apply")),
      el("button", { type: "button", class: "btn q2", onclick: showPresetsAgain }, w("cancel"))));
}
const showPresetsAgain = () => { closePanel(); showPresets(); };

function differenceTable(rows) {
  return el("div", { class: "scroll" }, el("table", {},
    el("tr", {}, el("th", {}, w("setting")), el("th", {}, w("now")), el("th", {}, w("then"))),
    rows.map((row) => el("tr", {}, el("td", {}, row.label), el("td", { class: "sub" }, row.old || w("blank")), el("td", {}, el("b", {}, row.new || w("blank")))))));
}

function usePreset(card, answer) {
  const changes = Object.fromEntries(Object.entries(answer.values).filter(([key]) => key in page.values));
  writeUndoable(changes, w("preset_applied", { name: `**${card.title}**` }));
}

/** "Try the demo": the preset as it is, and no form to lose. */
async function useDemo() {
  const answer = await ask("preset", { name: "demo", values: page.values });
  if (!answer) return;
  page.fresh = false;
  write(answer.values);
  paintOffer();
  toast(w("demo_loaded"));
}

async function loadPath(path) {
  const answer = await ask("load", { path });
  if (answer) took(answer);
}
/** The settings of a past run. */
async function useJob(job) {
  const answer = job && await ask("load", { job });
  if (!answer) return;
  page.path = page.saved = "";
  $("#la-config").value = "";
  writeUndoable(answer.values, w("loaded", { path: `**${answer.name}**` }));
  openTab("training");
}
async function openFile(event) {
  const [file] = event.target.files;
  event.target.value = "";
  if (!file) return;
  const answer = await ask("load", { text: await file.text(), name: file.name });
  if (answer) took(answer);
}
function took(answer) {
  page.path = answer.path;
  page.fresh = false;
  $("#la-config").value = answer.path;
  writeUndoable(answer.values, w("loaded", { path: `**${fileName(answer.path)}**` }));
  paintOffer();
  if (answer.report.length) {
    openPanel(w("report_title"), el("div", { class: "scroll" }, el("ul", { class: "report" }, answer.report.map((line) => el("li", {}, rich(line))))));
  }
}
const fileName = (path) => path.replace(/^.*[\\/]/, "");

async function save(path, replace = false) {
  if (!path) return saveAs();
  const answer = await ask("save", { path, values: page.values, replace: replace || path === page.saved });
  if (!answer) return;
  if (answer.exists) {
    return openPanel(w("replace", { path: answer.exists }), el("div", { class: "acts" },
      el("button", { type: "button", class: "btn p", onclick: () => { closePanel(); save(path, true); } }, w("replace_button")),
      el("button", { type: "button", class: "btn q2", onclick: closePanel }, w("cancel"))));
  }
  page.path = page.saved = answer.path;
  $("#la-config").value = answer.path;
  toast(w("saved", { path: `**${answer.path}**` }));
}
function saveAs() {
  const name = el("input", { "aria-label": w("save_as_prompt"), value: $("#la-config").value || "momo.json", spellcheck: "false" });
  const go = () => { closePanel(); save(name.value.trim()); };
  name.addEventListener("keydown", (event) => { if (event.key === "Enter") go(); });
  openPanel(w("save_as_prompt"), el("div", { class: "in" }, name),
    el("div", { class: "acts" }, el("button", { type: "button", class: "btn p", onclick: go }, w("save")),
      el("button", { type: "button", class: "btn q2", onclick: closePanel }, w("cancel"))));
  name.focus();
  name.select();
}

/** Our command and sd-scripts', to copy. */
async function showCommand() {
  const answer = await ask("command", { values: page.values, path: page.path });
  if (!answer) return;
  const part = (title, text) => el("section", {}, el("h4", {}, title,
    el("button", { type: "button", class: "btn q2 s", onclick: () => copy(text) }, icon("copy", true), w("copy"))), el("pre", { tabindex: "0" }, text));
  openPanel(w("command_title"), el("div", { class: "scroll" }, part(w("command_ours"), answer.ours), part(w("command_theirs"), answer.theirs),
    part(w("command_toml"), answer.toml),
    answer.cannot.length ? el("section", {}, el("h4", {}, w("command_cannot")), answer.cannot.map((line) => el("p", { class: "sub" }, rich(line)))) : null));
}
async function copy(text) {
  try { await navigator.clipboard.writeText(text); } catch {
    const area = el("textarea", {}, text);
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  toast(w("copied"));
}

// --- search -------------------------------------------------------------------------------------------

function startSearch() {
  const input = $("#la-search");
  const list = $("#la-found");
  let number = 0;
  let at = 0;
  const close = () => { list.hidden = true; input.setAttribute("aria-expanded", "false"); input.removeAttribute("aria-activedescendant"); };
  const choose = (key) => { close(); input.value = ""; goTo(key); };
  const mark = () => $$("li[data-key]", list).forEach((item, place) => {
    item.setAttribute("aria-selected", String(place === at));
    if (place === at) { input.setAttribute("aria-activedescendant", item.id); item.scrollIntoView({ block: "nearest" }); }
  });
  input.addEventListener("input", async () => {
    const mine = ++number;
    if (!input.value.trim()) return close();
    const answer = await ask("find", { query: input.value });
    if (!answer || mine !== number) return;
    at = 0;
    list.replaceChildren(...(answer.found.length ? answer.found.map((hit, place) => el("li", { role: "option", id: `found-${place}`, "data-key": hit.key, onmousedown: (event) => { event.preventDefault(); choose(hit.key); } },
      el("b", {}, hit.label), el("span", { class: "sub" }, hit.where))) : [el("li", { class: "sub" }, w("nothing_found"))]));
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    mark();
  });
  input.addEventListener("keydown", (event) => {
    const items = $$("li[data-key]", list);
    if (event.key === "Escape") { close(); input.blur(); }
    else if (list.hidden || !items.length) return;
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      at = (at + (event.key === "ArrowDown" ? 1 : items.length - 1)) % items.length;
      mark();
    } else if (event.key === "Enter") { event.preventDefault(); choose(items[at].dataset.key); }
  });
  let leaving = 0;
  input.addEventListener("blur", () => { leaving = setTimeout(close, 150); });
  input.addEventListener("focus", () => clearTimeout(leaving));
}
