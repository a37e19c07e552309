// One field of a tool's form: label, input, help, what is wrong with it. The inputs are the browser's own.

const PATH_KINDS = {
  lora: "lora",
  new_file: "lora",
  model: "model",
  new_model: "model",
  folder: "folder",
  new_folder: "folder",
  file: "file",
  picture: "file",
};
const WIDE_FIELDS = [...Object.keys(PATH_KINDS), "shares", "lines"];

/** {root, write(value), paint(idle, problems, write)}; `heard` gets each new value. */
function toolField(tool, key, value, heard) {
  const field = tool.fields[key];
  const id = `tool-${tool.name}-${key}`;
  const input = toolInput(field, id, value, heard);
  const label = el(
    "label",
    { for: id },
    field.label,
    field.required ? el("small", { class: "la-req" }, w("required")) : null,
    field.meaning ? el("small", { class: "la-ja" }, field.meaning) : null,
  );
  const note = el("p", { class: "sub sm idle-note", hidden: true });
  const problems = el("div", { id: `${id}-p` });
  const wide = WIDE_FIELDS.includes(field.widget);
  const root = el(
    "div",
    { class: `tf w-${field.kind}${wide ? " wide" : ""}`, "data-key": key },
    field.kind === "switch" ? el("div", { class: "tsw" }, input.root, label) : [label, input.root],
    toolHelp(field, `${id}-h`),
    note,
    problems,
  );
  input.aim.setAttribute("aria-describedby", `${id}-p ${id}-h`);
  if (field.required) input.aim.setAttribute("aria-required", "true");
  let shownNow = "";
  return {
    root,
    write: input.write,
    paint(idle, found, write) {
      root.classList.toggle("idle", idle !== undefined);
      note.hidden = !idle;
      note.replaceChildren(...rich(idle || ""));
      const stops = found.some((problem) => problem.blocks && !problem.missing);
      input.aim.setAttribute("aria-invalid", String(stops));
      root.classList.toggle("bad", stops);
      const told = found.filter((problem) => !problem.missing || problem.button);
      if (JSON.stringify(told) === shownNow) return;
      shownNow = JSON.stringify(told);
      problems.replaceChildren(
        ...told.map((problem) =>
          problem.missing
            ? proposed(problem, write)
            : problemBox(problem, ({ changes }) => {
                write(changes);
                input.aim.focus();
              }),
        ),
      );
    },
  };
}

/** A blank that can be filled by one press. */
const proposed = (problem, write) =>
  el("button", { type: "button", class: "btn q2 s", onclick: () => write(problem.changes) }, problem.button);

/** What a setting does, always in view; what is usual and what can go wrong behind a word. */
function toolHelp(field, id) {
  const { does, ...others } = field.help;
  const parts = Object.entries(others).filter(([, text]) => text);
  const number = ["int", "float"].includes(field.kind);
  const more = parts.map(([part, text]) =>
    el("p", {}, el("b", {}, w(part === "too_much" && !number ? "wrong" : part)), colon(), rich(text)),
  );
  return el("div", { id, class: "sub sm thelp" }, rich(does), more);
}

function toolInput(field, id, value, heard) {
  if (field.widget === "shares") return sharesInput(id, value, heard);
  if (field.kind === "switch") return switchInput(id, value, heard);
  if (field.kind === "choice") return choiceInput(field, id, value, heard);
  if (field.widget === "lines") return textInput("textarea", id, field, value, heard);
  return textInput("input", id, field, value, heard);
}

function textInput(tag, id, field, value, heard) {
  const numeric = ["int", "float"].includes(field.kind);
  const aim = el(tag, {
    id,
    class: "tin",
    spellcheck: "false",
    placeholder: field.placeholder || null,
    inputmode: numeric ? "decimal" : null,
    rows: tag === "textarea" ? 3 : null,
    oninput: () => heard(aim.value),
  });
  aim.value = value ?? "";
  const kind = PATH_KINDS[field.widget];
  const root = el("div", { class: kind ? "tpath" : "" }, aim, kind ? chooser(field.label, kind, aim, heard) : null);
  const list = el("datalist", { id: `${id}-l` });
  if (kind) completePaths(aim, list, () => kind);
  for (const choice of field.choices)
    if (choice.value) list.append(el("option", { value: choice.value, label: choice.words }));
  if (tag === "input" && (kind || field.choices.length)) {
    aim.setAttribute("list", list.id);
    root.append(list);
  }
  const write = (text) => {
    aim.value = text ?? "";
  };
  return { root, aim, write };
}

/** The button that opens the list of files of the computer on which the program runs. */
const chooser = (label, kind, aim, heard) =>
  el(
    "button",
    {
      type: "button",
      class: "btn s",
      "aria-label": w("browse.title", { label }),
      onclick: () =>
        chooseFile(w("browse.title", { label }), kind, aim.value, (path) => {
          aim.value = path;
          heard(path);
        }),
    },
    w("browse.choose"),
  );

function switchInput(id, value, heard) {
  const aim = el("input", { id, type: "checkbox", onchange: () => heard(aim.checked) });
  aim.checked = Boolean(value);
  const write = (on) => {
    aim.checked = Boolean(on);
  };
  return { root: aim, aim, write };
}

function choiceInput(field, id, value, heard) {
  const words = el("span", { class: "sub sm" });
  const tell = () => set(words, choiceWords(field, aim.value));
  const options = field.choices.map((choice) => el("option", { value: choice.value }, choice.value || w("blank")));
  const aim = el(
    "select",
    {
      id,
      class: "tin",
      onchange: () => {
        tell();
        heard(aim.value);
      },
    },
    options,
  );
  const write = (chosen) => {
    aim.value = String(chosen);
    tell();
  };
  write(value);
  return { root: el("div", { class: "tchoice" }, aim, words), aim, write };
}

/** LoRA files with a strength each: lines "path:0.8" as rows of two fields. */
function sharesInput(id, value, heard) {
  const rows = el("div", { class: "tshares" });
  const tell = () =>
    heard(
      [...rows.children]
        .map((row) => row.read())
        .filter(Boolean)
        .join("\n"),
    );
  function add(line = "") {
    const [, path, strength] = /^(.*?)(?::([+-]?[\d.]+))?$/.exec(line) || ["", line, ""];
    const first = !rows.children.length;
    const name = el("input", { class: "tin", spellcheck: "false", "aria-label": w("tools_lora_file"), oninput: tell });
    if (first) name.id = id;
    const amount = el("input", {
      class: "tin",
      inputmode: "decimal",
      "aria-label": w("tools_strength"),
      title: w("tools_strength"),
      oninput: tell,
    });
    name.value = path;
    amount.value = strength ?? "1";
    const list = el("datalist", { id: `${id}-${rows.children.length}-${Date.now()}` });
    name.setAttribute("list", list.id);
    completePaths(name, list, () => "lora");
    const away = iconButton("x", w("tools_take_out"), () => {
      row.remove();
      if (!rows.children.length) add();
      rows.firstChild.firstChild.id = id;
      tell();
    });
    const row = el(
      "div",
      { class: "tshare" },
      name,
      chooser(w("tools_lora_file"), "lora", name, tell),
      amount,
      away,
      list,
    );
    row.read = () => (name.value.trim() ? `${name.value.trim()}:${amount.value.trim() || "1"}` : "");
    rows.append(row);
  }
  const write = (text) => {
    rows.replaceChildren();
    for (const line of String(text || "").split("\n")) add(line);
  };
  write(value);
  const more = el(
    "button",
    {
      type: "button",
      class: "btn q2 s",
      onclick: () => {
        add();
        rows.lastChild.firstChild.focus();
      },
    },
    w("tools_add"),
  );
  return {
    root: el("div", {}, rows, more),
    get aim() {
      return rows.firstChild.firstChild;
    },
    write,
  };
}
