// Choosing a file or folder of the computer on which the program runs, and sending pictures to it.

const TOLD_AT_ONCE = 20;
const choosing = { root: null, kind: "", done: null, listing: null, chosen: null, told: {}, watcher: null, number: 0 };

/** Let a person choose; `done` gets the path. `kind`: "folder", "model", "file", "settings", "lora". */
function chooseFile(title, kind, path, done, more = null) {
  choosing.root?.remove();
  Object.assign(choosing, { kind, done, chosen: null, told: {} });
  const typed = el("input", {
    class: "room-in",
    "aria-label": w("browse.path"),
    spellcheck: "false",
    autocomplete: "off",
  });
  typed.addEventListener("keydown", (event) => {
    if (event.key === "Enter") goFolder(typed.value);
  });
  const find = el("input", {
    class: "room-in",
    type: "search",
    "aria-label": w("browse.find"),
    placeholder: w("browse.find"),
  });
  find.addEventListener("input", paintEntries);
  choosing.root = el(
    "dialog",
    { id: "la-browse", "aria-labelledby": "browse-title" },
    el(
      "div",
      { class: "browse la-slot", "data-seen": "1" },
      el(
        "header",
        {},
        el("h2", { id: "browse-title" }, title),
        iconButton("x", w("close"), () => choosing.root.close()),
      ),
      el(
        "div",
        { class: "browse-way" },
        iconButton("up", w("browse.up"), () => goFolder(choosing.listing.parent)),
        typed,
        find,
      ),
      el("p", { class: "browse-said", role: "status" }),
      el("nav", { class: "browse-places", "aria-label": w("browse.places") }),
      el("ul", { class: "browse-list", "aria-label": w("browse.entries") }),
      el("footer", {}, more, el("span", { class: "browse-name" }), mainButton("", takeChosen)),
    ),
  );
  choosing.root.addEventListener("keydown", (event) => event.stopPropagation());
  choosing.root.addEventListener("close", () => {
    choosing.watcher?.disconnect();
    choosing.root.remove();
    choosing.root = null;
  });
  document.body.append(choosing.root);
  choosing.root.showModal();
  goFolder(path || stored(`folder_${kind}`), { quiet: !path, first: true });
}

/** Show a folder; of a file, and `first` of a model's folder, the one it lies in. `quiet`: nobody asked for it. */
async function goFolder(path, { quiet = false, first = false } = {}) {
  const mine = ++choosing.number;
  const answer = await ask("browse", { path, kind: choosing.kind, first });
  if (!answer || !choosing.root || mine !== choosing.number) return;
  const missing = quiet || answer.asked ? "" : w("browse.not_there", { path });
  if (!answer.path && answer.start !== path) {
    await goFolder(answer.start, { quiet: true });
    if (missing && choosing.root) $(".browse-said", choosing.root).textContent = missing;
    return;
  }
  Object.assign(choosing, { listing: answer, chosen: null, told: {} });
  $(".browse-said", choosing.root).textContent = missing;
  $(".browse-way input", choosing.root).value = answer.path;
  $(".browse-way [type=search]", choosing.root).value = "";
  $(".browse-way .ib", choosing.root).disabled = !answer.parent;
  $(".browse-places", choosing.root).replaceChildren(
    ...answer.places.map((place) =>
      el(
        "button",
        {
          type: "button",
          "aria-current": answer.path === place ? "true" : null,
          onclick: () => goFolder(place),
        },
        icon("folder", true),
        el("span", {}, place),
      ),
    ),
  );
  paintEntries();
  paintChosen();
}

function paintEntries() {
  const list = $(".browse-list", choosing.root);
  const wanted = $(".browse-way [type=search]", choosing.root).value.trim().toLowerCase();
  const { entries, more } = choosing.listing;
  const found = entries.filter((entry) => entry.name.toLowerCase().includes(wanted));
  choosing.watcher?.disconnect();
  choosing.watcher = new IntersectionObserver(tellEntries, { root: list, rootMargin: "100px" });
  const none = choosing.kind === "folder" ? "browse.no_folders" : "browse.nothing";
  list.replaceChildren(
    ...found.map(entryRow),
    more ? el("li", { class: "sub sm" }, w("browse.more", { count: number(more) })) : "",
    found.length ? "" : el("li", { class: "sub sm" }, w(none)),
  );
  list.scrollTop = 0;
  for (const row of list.children) if (row.dataset.name) choosing.watcher.observe(row);
}

function entryRow(entry) {
  const date = new Date(entry.time * 1000);
  const name = el("span", { class: "browse-what" }, entry.name);
  const row = el(
    "li",
    { "data-name": entry.name },
    el(
      "button",
      {
        type: "button",
        "aria-pressed": entry.folder ? null : "false",
        onclick: () => (entry.folder ? goFolder(below(entry.name)) : pickEntry(entry)),
        ondblclick: () => entry.folder || takeChosen(),
      },
      icon(entry.folder ? "folder" : "file"),
      name,
      el("small", { class: "browse-told" }, choosing.told[entry.name] ?? ""),
      el("small", { class: "browse-date" }, date.toLocaleDateString(LANG === "ja" ? "ja-JP" : "en-GB")),
      el("small", { class: "browse-size" }, entry.folder ? "" : bytes(entry.size)),
    ),
  );
  return row;
}

const below = (name) => pathIn(choosing.listing.path, name);

/** Ask what the rows in view are: the family of a model, the pictures of a folder. */
async function tellEntries(seen) {
  const rows = seen.filter((one) => one.isIntersecting).map((one) => one.target);
  for (const row of rows) choosing.watcher.unobserve(row);
  const listing = choosing.listing;
  for (let start = 0; start < rows.length; start += TOLD_AT_ONCE) {
    const names = rows.slice(start, start + TOLD_AT_ONCE).map((row) => row.dataset.name);
    const answer = await question("browse_tell", { path: listing.path, names }).catch(() => null);
    if (!choosing.root || choosing.listing !== listing || !answer?.told) return;
    Object.assign(choosing.told, answer.told);
    for (const row of rows) {
      const told = choosing.told[row.dataset.name];
      if (!told) continue;
      set($(".browse-told", row), told);
      if (
        choosing.kind === "model" &&
        $("use", row).getAttribute("href") === "#i-folder" &&
        answer.models?.includes(row.dataset.name) &&
        !$(".browse-use", row)
      )
        row.append(
          el(
            "button",
            { type: "button", class: "btn s browse-use", onclick: () => takePath(below(row.dataset.name)) },
            w("browse.use"),
          ),
        );
    }
  }
}

function pickEntry(entry) {
  choosing.chosen = entry.name;
  for (const row of $$(".browse-list li[data-name]", choosing.root)) {
    const button = row.firstElementChild;
    if (button.hasAttribute("aria-pressed"))
      button.setAttribute("aria-pressed", String(row.dataset.name === entry.name));
  }
  paintChosen();
}

function paintChosen() {
  const { kind, chosen, listing } = choosing;
  const folder = kind === "folder";
  const button = $("footer .btn.p", choosing.root);
  button.textContent = w(folder ? "browse.use_folder" : "browse.use_file");
  button.disabled = folder ? !listing.path : !chosen;
  $(".browse-name", choosing.root).textContent = folder ? listing.path : (chosen ?? "");
}

function takeChosen() {
  const { kind, chosen, listing } = choosing;
  if (kind === "folder" ? listing.path : chosen) takePath(kind === "folder" ? listing.path : below(chosen));
}

function takePath(path) {
  const { done, kind, listing } = choosing;
  store(`folder_${kind}`, (kind === "folder" && listing.parent) || listing.path); // the next choice begins there
  choosing.root.close();
  done(path);
}

/** "Choose…" of a field. */
function chooseForField(key) {
  const field = page.fields[key];
  const kind = field.widget === "folder" ? "folder" : field.widget;
  const pictures = ["train_data_dir", "reg_data_dir"].includes(key);
  const more = pictures
    ? el(
        "button",
        { type: "button", class: "btn", onclick: () => showUpload(key) },
        icon("upload", true),
        w("upload.button"),
      )
    : null;
  const done = (path) => writeUndoable({ [key]: path }, w("fixed", { label: `**${field.label}**` }));
  chooseFile(w("browse.title", { label: field.label }), kind, String(page.values[key] ?? ""), done, more);
}
