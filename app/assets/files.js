// Settings in and out of the form: presets, files of every kind, pasted commands, the training command.

function showPresets() {
  if ($("[data-act=presets]").getAttribute("aria-expanded") === "true") return closePanel();
  $("[data-act=presets]").setAttribute("aria-expanded", "true");
  const own = el("div");
  listOwn(own);
  openPanel(
    w("presets"),
    own,
    page.presets.length
      ? el(
          "ul",
          { class: "presets" },
          page.presets.map((card) =>
            el(
              "li",
              {},
              el(
                "button",
                { type: "button", "data-preset": card.name, onclick: () => showPreset(card) },
                el("b", {}, rich(card.title)),
                el("span", { class: "sub" }, rich(card.about)),
                card.memory && el("small", { class: "sub" }, rich(card.memory)),
              ),
            ),
          ),
        )
      : el("p", { class: "sub" }, w("no_presets")),
  );
}

/** The files that were saved from here, above the presets that come with the program. */
async function listOwn(place) {
  const answer = await ask("own_presets");
  if (!answer?.own.length || !place.isConnected) return;
  const open = (file) => {
    closePanel();
    loadPath(file.path);
  };
  const row = (file) =>
    el(
      "li",
      {},
      el(
        "button",
        { type: "button", title: file.path, onclick: () => open(file) },
        el("b", {}, file.name),
        el("small", { class: "sub" }, when(file.changed)),
      ),
    );
  place.replaceChildren(
    el("h3", {}, w("presets_own")),
    el("ul", { class: "presets own" }, answer.own.map(row)),
    el("h3", {}, w("presets_given")),
  );
}

const askPreset = onlyLast((request) => ask("preset", request));
/** What a preset is for and what it changes, before it does. */
async function showPreset(card) {
  const answer = await askPreset({ name: card.name, values: page.values });
  if (!answer || $("#la-panel").hidden) return; // closed meanwhile
  const rows = answer.difference;
  const facts = [
    ["family", "family"],
    ["memory", "memory"],
    ["time", "time"],
    ["changes", "what"],
  ].filter(([part]) => card[part]);
  const again = () => {
    closePanel();
    showPresets();
  };
  openPanel(
    rows.length ? w("preset_changes", { name: card.title, count: rows.length }) : card.title,
    el(
      "div",
      { class: "scroll" },
      el(
        "dl",
        { class: "facts" },
        facts.flatMap(([part, name]) => [el("dt", {}, w(`preset_${name}`)), el("dd", {}, rich(card[part]))]),
      ),
      rows.length ? differenceTable(rows) : el("p", {}, w("preset_same", { name: card.title })),
    ),
    acts(
      rows.length
        ? mainButton(w("preset_apply"), () => {
            closePanel();
            usePreset(card, answer);
          })
        : null,
      quietButton(w("back"), again),
    ),
  );
}

function differenceTable(rows) {
  return el(
    "table",
    {},
    el(
      "thead",
      {},
      el(
        "tr",
        {},
        el("th", { scope: "col" }, w("setting")),
        el("th", { scope: "col" }, w("now")),
        el("th", { scope: "col" }, w("then")),
      ),
    ),
    el(
      "tbody",
      {},
      rows.map((row) =>
        el(
          "tr",
          {},
          el("td", {}, row.label),
          el("td", { class: "sub" }, row.old || w("blank")),
          el("td", {}, el("b", {}, row.new || w("blank"))),
        ),
      ),
    ),
  );
}

function usePreset(card, answer) {
  const changes = Object.fromEntries(Object.entries(answer.values).filter(([key]) => key in page.values));
  const fresh = page.fresh;
  writeUndoable(changes, w("preset_applied", { name: `**${card.title}**` }), { also: () => offer(fresh) });
  offer(false);
}

/** "Try the demo": the preset as it is, and no form to lose. */
async function useDemo() {
  const answer = await ask("preset", { name: "demo", values: page.values });
  if (!answer) return;
  offer(false);
  write(answer.values);
  toast(w("demo_loaded"));
}

// --- in -----------------------------------------------------------------------------------------------

const askFile = onlyLast((request) => ask("load", request));
const loadPath = (path) => load({ path });

async function load(asked) {
  const answer = await askFile(asked);
  if (!answer) return;
  if (!$("#la-panel").hidden) closePanel();
  took(answer, asked);
}

/** The settings of a past run, with changes; `key` is the setting to go to. */
async function useJob(job, changes = {}, key = "") {
  const answer = job && (await askFile({ job }));
  if (!answer) return;
  if (answer.tool) return useTool(answer.tool, answer.values);
  took({ ...answer, values: { ...answer.values, ...changes } });
  if (key) goTo(key);
  else openTab("training");
}

/** "Open": a file of this computer, or something copied. */
function showOpen() {
  const text = el("textarea", {
    rows: "5",
    spellcheck: "false",
    "aria-label": w("paste_label"),
    placeholder: w("paste_hint"),
  });
  const read = () => load({ text: text.value });
  openPanel(
    w("open_title"),
    el("p", { class: "sub" }, w("open_text")),
    acts(
      mainButton(w("open_file"), () => $("#la-file").click()),
      el("button", { type: "button", class: "btn", onclick: chooseConfig }, w("browse.choose_there")),
    ),
    el("h3", {}, w("paste_title")),
    el("p", { class: "sub" }, w("paste_text")),
    text,
    acts(
      el("button", { type: "button", class: "btn", onclick: read }, w("paste_read")),
      quietButton(w("cancel"), closePanel),
    ),
  );
}

/** The same from the computer on which the program runs. */
function chooseConfig() {
  closePanel();
  chooseFile(w("open_title"), "settings", typedConfig(), loadPath);
}

const PICTURE = /\.(png|jpe?g|jfif|webp|bmp|avif|jxl|gif)$/i;

async function openFile(file) {
  if (PICTURE.test(file.name)) return isPicture(file);
  const request = /\.safetensors$/i.test(file.name) ? await loraPieces(file) : await textOrBytes(file);
  await load({ ...request, name: file.name });
}

/** A file's text; what is not UTF-8 goes as it is, and the server says how it was read. */
async function textOrBytes(file) {
  const data = new Uint8Array(await file.arrayBuffer());
  try {
    return { text: new TextDecoder("utf-8", { fatal: true }).decode(data) };
  } catch {
    return { bytes: await base64Of(file) };
  }
}

/** A LoRA file's header and its first alpha: all that tells how it was trained. */
async function loraPieces(file) {
  const start = new DataView(await file.slice(0, 8).arrayBuffer());
  const length = start.byteLength < 8 ? 0 : Math.min(8e6, start.getUint32(0, true));
  const pieces = [[0, await base64Of(file.slice(0, 8 + length))]];
  try {
    const tensors = JSON.parse(await file.slice(8, 8 + length).text());
    const alpha = Object.entries(tensors).find(([name, one]) => name.endsWith(".alpha") && one.shape.length < 2);
    if (alpha) {
      const at = 8 + length + alpha[1].data_offsets[0];
      pieces.push([at, await base64Of(file.slice(at, at + 8))]);
    }
  } catch {
    /* the server says what is wrong with it */
  }
  return { pieces, size: file.size };
}

/** A file was read: its values go into the form, and what became of every key is said.
 *  `asked`: with it the file can be read once more, in another encoding. */
function took(answer, asked = null) {
  const before = fileState();
  const fresh = page.fresh;
  const name = answer.name || w("pasted");
  const offered = answer.path || !answer.report || !answer.name ? "" : `${answer.name.replace(/\.\w+$/, "")}.json`;
  const own = /\.json$/i.test(answer.path) ? answer.path : ""; // a TOML or a LoRA is not replaced by what is saved
  const mark = formMark({ ...page.values, ...answer.values });
  const { path, carried, report } = answer;
  const after = { path, saved: own, carried, report, offered, asked, mark };
  keep(after);
  const also = () => {
    keep(before);
    offer(fresh);
  };
  writeUndoable(answer.values, w("loaded", { path: `**${name}**` }), { also });
  offer(false);
  if (answer.report && !answer.report[LANG].quiet) showReport();
}

/** What belongs to the file rather than to the fields. */
const fileState = () => ({
  path: page.path,
  saved: page.saved,
  carried: page.carried,
  report: page.report,
  offered: page.offered,
  asked: page.asked,
  mark: page.mark,
});
function keep(file) {
  Object.assign(page, file);
  $("[data-act=report]").hidden = !page.report;
  paintConfig();
}

/** What the form holds, as a short text: by it unsaved changes are known. */
function formMark(values) {
  let sum = 2166136261;
  const secret = (key) => page.fields[key]?.widget === "secret";
  const text = page.keys.map((key) => (secret(key) ? "" : `${key}=${values[key] ?? ""}`)).join("\n");
  for (let at = 0; at < text.length; at++) sum = Math.imul(sum ^ text.charCodeAt(at), 16777619) >>> 0;
  return sum.toString(36);
}
const unsaved = () =>
  page.mark !== formMark(page.values) && (page.path || Object.keys(page.look?.changed ?? {}).length > 0);

/** The name of the file, its path as a tooltip, and whether it holds what the form holds. */
function paintConfig() {
  const input = $("#la-config");
  const full = page.path || page.offered;
  input.title = full;
  if (document.activeElement !== input) input.value = nameOf(full);
  const changed = Boolean(unsaved());
  $("#la-unsaved").hidden = !changed;
  $("#la-unsaved").title = w("unsaved");
  input.setAttribute("aria-description", changed ? w("unsaved") : "");
}

/** The path that stands in the field: its name stands for the whole, until another is typed. */
function typedConfig() {
  const text = $("#la-config").value.trim();
  const full = page.path || page.offered;
  return text === nameOf(full) ? full : text;
}

/** A file that is not UTF-8: a button for each other reading, with a line of it that tells. */
function otherReadings(readings = []) {
  const others = new Map(readings.filter(({ used }) => !used).map(({ encoding, sample }) => [encoding, sample]));
  if (!page.asked || !others.size) return null;
  const again = (encoding) => load({ ...page.asked, encoding });
  return el(
    "ul",
    { class: "readings" },
    [...others].map(([encoding, sample]) =>
      el(
        "li",
        {},
        el("button", { type: "button", class: "btn", onclick: () => again(encoding) }, w("read_as", { encoding })),
        el("span", { class: "sub" }, sample),
      ),
    ),
  );
}

/** What became of every key of the file that was read last. */
function showReport() {
  if (!page.report) return;
  const report = page.report[LANG];
  const line = (entry) =>
    el(
      "li",
      {},
      rich(entry.line),
      entry.setting &&
        el(
          "button",
          {
            type: "button",
            class: "link",
            onclick: () => {
              closePanel();
              goTo(entry.setting);
            },
          },
          w("show"),
        ),
      entry.reasons.map((reason) => el("p", { class: "sub" }, rich(reason))),
    );
  openPanel(
    w("report_title"),
    el(
      "div",
      { class: "scroll report" },
      el("p", { class: "sub" }, report.head),
      report.attention.length
        ? el(
            "section",
            { class: "prob w" },
            icon("alert"),
            el(
              "div",
              {},
              el("b", {}, w("report_attention", { count: report.attention.length })),
              el("ul", {}, report.attention.map(line)),
            ),
          )
        : null,
      otherReadings(report.readings),
      report.kinds.map(({ kind, title, entries }) =>
        el(
          "details",
          { "data-kind": kind, open: ["converted", "out_of_range", "renamed"].includes(kind) && entries.length < 12 },
          el("summary", {}, title),
          el("ul", {}, entries.map(line)),
        ),
      ),
    ),
    acts(mainButton(w("close"), closePanel)),
  );
}

// --- out ----------------------------------------------------------------------------------------------

const save = onePress(async (path, replace = false) => {
  if (!path) return saveAs();
  const answer = await ask("save", {
    path,
    values: page.values,
    carried: page.carried,
    replace: replace || path === page.saved,
  });
  if (!answer) return;
  if (answer.exists) {
    return openPanel(
      w("replace", { path: answer.exists }),
      acts(
        mainButton(w("replace_button"), () => {
          closePanel();
          save(path, true);
        }),
        quietButton(w("cancel"), closePanel),
      ),
    );
  }
  $("#la-config").blur();
  keep({ path: answer.path, saved: answer.path, mark: formMark(page.values) });
  toast(w("saved", { path: `**${answer.path}**` }));
  touched(0);
});

function saveAs() {
  const name = el("input", {
    "aria-label": w("save_as_prompt"),
    value: nameOf(typedConfig()) || "momo.json",
    spellcheck: "false",
  });
  const folder = page.saved.slice(0, page.saved.length - nameOf(page.saved).length);
  const go = (event) => {
    event.preventDefault(); // or Enter would press the button that gets the focus back
    const typed = name.value.trim().replace(/(\.json){2,}$/i, ".json"); // typed before the ending that stood there
    if (!typed) return;
    closePanel();
    save(/[\\/]/.test(typed) ? typed : folder + typed);
  };
  openPanel(
    w("save_as_prompt"),
    el(
      "form",
      { onsubmit: go },
      el("div", { class: "in" }, name),
      folder ? el("p", { class: "sub sm" }, w("save_folder", { folder })) : null,
      acts(el("button", { type: "submit", class: "btn p" }, w("save")), quietButton(w("cancel"), closePanel)),
    ),
  );
  name.focus();
  name.setSelectionRange(0, name.value.replace(/\.json$/i, "").length);
}

/** Our command and sd-scripts', to copy. */
async function showCommand() {
  const answer = await ask("command", { values: page.values, carried: page.carried, path: page.path });
  if (!answer) return;
  const part = (title, text, note) =>
    el(
      "section",
      {},
      el(
        "h3",
        {},
        title,
        el("button", { type: "button", class: "btn q2 s", onclick: () => copy(text) }, icon("copy", true), w("copy")),
      ),
      note && el("p", { class: "sub" }, note),
      el("pre", { tabindex: "0", "aria-label": title }, text),
    );
  openPanel(
    w("command_title"),
    el(
      "div",
      { class: "scroll" },
      part(w("command_ours"), answer.ours, w(page.path ? "command_saved" : "command_unsaved")),
      part(w("command_theirs"), answer.theirs, w("command_where")),
      part(w("command_toml"), answer.toml),
      answer.cannot.length
        ? el(
            "section",
            {},
            el("h3", {}, w("command_cannot")),
            answer.cannot.map((line) => el("p", { class: "sub" }, rich(line))),
          )
        : null,
    ),
  );
}

async function copy(text) {
  await copyText(text);
  toast(w("copied"));
}

/** All settings that differ from their default, each with its way back. */
function showChanged() {
  const words = (key) => {
    const value = page.values[key];
    if (typeof value === "boolean") return w(value ? "on" : "off");
    return value === "" || value == null ? w("blank") : page.fields[key].widget === "secret" ? "•••" : String(value);
  };
  const keys = Object.keys(page.look.changed);
  openPanel(
    w("changed"),
    el(
      "div",
      { class: "scroll" },
      el(
        "table",
        {},
        el(
          "thead",
          {},
          el(
            "tr",
            {},
            el("th", { scope: "col" }, w("setting")),
            el("th", { scope: "col" }, w("now")),
            el("th", { scope: "col" }, w("default")),
          ),
        ),
        el(
          "tbody",
          {},
          keys.map((key) =>
            el(
              "tr",
              {},
              el(
                "td",
                {},
                el(
                  "button",
                  {
                    type: "button",
                    class: "link",
                    onclick: () => {
                      closePanel();
                      goTo(key);
                    },
                  },
                  page.fields[key].label,
                ),
              ),
              el("td", {}, el("b", {}, words(key))),
              el("td", { class: "sub" }, page.look.changed[key]),
            ),
          ),
        ),
      ),
    ),
    acts(
      quietButton(w("close"), closePanel),
      keys.length
        ? quietButton(w("reset_all"), () => {
            closePanel();
            resetAll();
          })
        : null,
    ),
  );
}

function resetAll() {
  const before = fileState();
  keep({ path: "", saved: "", carried: {}, report: null, offered: "", mark: "" });
  writeUndoable({ ...page.defaults }, w("reset_done"), { also: () => keep(before) });
}
