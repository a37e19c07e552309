// Pictures and captions of this device into a new folder on the computer on which the program runs.

const PIECE = 4 << 20;
const PICTURE_NAMES = /\.(png|jpe?g|jfif|webp|bmp|avif)$/i;
const CAPTION_NAMES = /\.(txt|caption)$/i;
const MOST_PICTURE = 100 * 2 ** 20;
const MOST_CAPTION = 1_000_000;

/** Ask for the pictures, a name and the words; `key` is the setting that gets the folder. */
function showUpload(key, given = []) {
  choosing.root?.close();
  const state = { files: [], stop: false, busy: false };
  const name = uploadField("name", w("upload.name"), "");
  const words = uploadField("words", w("room.words"), "");
  const repeats = uploadField("repeats", w("room.repeats"), "10");
  $("input", repeats).inputMode = "numeric";
  const files = el("input", { type: "file", multiple: true, hidden: true, accept: "image/*,.txt,.caption" });
  const folder = el("input", { type: "file", multiple: true, hidden: true, webkitdirectory: true });
  const list = el("div", { class: "upload-files", role: "status" });
  const go = el("button", { class: "btn p", disabled: true }, w("upload.start"));
  const take = (chosen) => {
    state.files = [...chosen].map(judgeFile);
    list.replaceChildren(...filesWords(state.files));
    go.disabled = !state.files.some((one) => !one.wrong);
    const from = state.files.find((one) => one.file.webkitRelativePath)?.file.webkitRelativePath.split("/")[0];
    if (from && !$("input", name).value) $("input", name).value = from;
  };
  for (const input of [files, folder]) input.addEventListener("change", () => take(input.files));
  const drop = el(
    "div",
    { class: "upload-drop" },
    icon("image"),
    el("p", { class: "no-touch" }, w("upload.drop")),
    el(
      "div",
      { class: "acts" },
      el("button", { type: "button", class: "btn", onclick: () => files.click() }, w("upload.choose")),
      el(
        "button",
        { type: "button", class: "btn q2 hide-m", onclick: () => folder.click() },
        w("upload.choose_folder"),
      ),
    ),
    files,
    folder,
  );
  const form = el(
    "form",
    { class: "upload la-slot", "data-seen": "1", method: "dialog" },
    el(
      "header",
      {},
      el("h2", { id: "upload-title" }, w("upload.title")),
      iconButton("x", w("close"), () => root.close()),
    ),
    el("p", { class: "sub" }, w("upload.about")),
    drop,
    list,
    el("div", { class: "upload-fields" }, name, words, repeats),
    el("footer", {}, go),
  );
  const root = el("dialog", { id: "la-upload", "aria-labelledby": "upload-title" }, form);
  root.addEventListener("keydown", (event) => event.stopPropagation());
  root.addEventListener("dragover", (event) => event.preventDefault());
  root.addEventListener("drop", async (event) => {
    event.preventDefault();
    event.stopPropagation();
    if (!state.busy) take(await droppedFiles(event.dataTransfer));
  });
  root.addEventListener("close", () => {
    state.stop = true;
    root.remove();
  });
  const send = onePress(() => sendAll(root, form, state, key));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!go.disabled) send();
  });
  document.body.append(root);
  root.showModal();
  if (given.length) take(given);
  $("button:not(.ib)", drop).focus();
}

const uploadField = (name, label, value) =>
  el("label", { class: "room-field" }, el("span", {}, label), el("input", { class: "room-in", name, value }));

/** A file with what speaks against it. */
function judgeFile(file) {
  const caption = CAPTION_NAMES.test(file.name);
  let wrong = "";
  if (!caption && !PICTURE_NAMES.test(file.name)) wrong = "upload.wrong_kind";
  else if (file.size > (caption ? MOST_CAPTION : MOST_PICTURE)) wrong = "upload.wrong_size";
  else if (!file.size) wrong = "upload.wrong_empty";
  return { file, caption, wrong };
}

function filesWords(files) {
  const good = files.filter((one) => !one.wrong);
  const pictures = good.filter((one) => !one.caption).length;
  const size = good.reduce((sum, one) => sum + one.file.size, 0);
  const wrong = files.filter((one) => one.wrong && !one.file.name.startsWith("."));
  return [
    el(
      "p",
      {},
      el("b", {}, w("room.count", { count: pictures })),
      comma(),
      w("upload.captions", { count: good.length - pictures }),
      comma(),
      bytes(size),
    ),
    wrong.length
      ? el(
          "details",
          {},
          el("summary", {}, w("upload.left_out", { count: wrong.length })),
          el(
            "ul",
            {},
            wrong.slice(0, 50).map((one) => el("li", {}, `${one.file.name}: `, w(one.wrong))),
          ),
        )
      : "",
  ];
}

/** The files that were dropped, those in folders too. */
async function droppedFiles(transfer) {
  const found = [];
  const walk = async (entry) => {
    if (entry.isFile) found.push(await new Promise((resolve, reject) => entry.file(resolve, reject)));
    if (!entry.isDirectory) return;
    const reader = entry.createReader();
    for (;;) {
      const inner = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!inner.length) return;
      for (const one of inner) await walk(one);
    }
  };
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files];
  for (const entry of entries) await walk(entry);
  return found;
}

async function sendAll(root, form, state, key) {
  const { name, words, repeats } = Object.fromEntries(new FormData(form));
  const files = state.files.filter((one) => !one.wrong);
  const made = await ask("upload_folder", {
    name: name || words,
    words,
    repeats: Number(String(repeats).normalize("NFKC")) || 10,
  });
  if (!made) return;
  state.busy = true;
  const meter = el("progress", {
    max: files.reduce((sum, one) => sum + one.file.size, 0),
    value: 0,
    "aria-label": w("upload.title"),
  });
  const said = el("p", { role: "status" });
  const wrong = el("ul", { class: "upload-wrong" });
  form.replaceChildren(
    $("header", form),
    el("div", { class: "upload-way" }, said, meter, wrong),
    el("footer", {}, el("button", { type: "button", class: "btn", onclick: () => root.close() }, w("upload.stop"))),
  );
  let sent = 0;
  let good = 0;
  for (const [at, { file }] of files.entries()) {
    if (state.stop) return;
    set(said, w("upload.sending", { at: number(at + 1), count: number(files.length), name: file.name }));
    const error = await sendFile(made.folder, file, state, (here) => {
      meter.value = sent + here;
    });
    sent += file.size;
    meter.value = sent;
    if (error) wrong.append(el("li", {}, error));
    else good += 1;
  }
  if (state.stop) return;
  if (!good) {
    set(said, w("upload.none"));
    return;
  }
  uploadDone(root, form, made, good, wrong, key);
}

/** Send one file piece by piece; gives what went wrong, in words. A piece that did not arrive is sent again. */
async function sendFile(folder, file, state, here) {
  for (let start = 0; start < file.size && !state.stop; ) {
    const data = await base64Of(file.slice(start, start + PIECE));
    let answer = null;
    for (let tries = 0; tries < 3 && !answer; tries++)
      answer = await question("upload", { folder, name: file.name, start, size: file.size, data }, 120_000).catch(
        () => null,
      );
    if (!answer) return `${file.name}: ${w("failed")}`;
    if (answer.error) return sentence(answer.error);
    start = answer.had;
    here(start);
  }
  return "";
}

function uploadDone(root, form, made, good, wrong, key) {
  writeUndoable(
    { [key]: made.parent, ...(key === "train_data_dir" ? { dataset_config: "" } : {}) },
    w("upload.done", { count: good }),
  );
  form.replaceChildren(
    $("header", form),
    el("p", {}, rich(w("upload.are_in", { count: good, path: `**${made.folder}**` }))),
    wrong.childElementCount ? el("div", {}, el("p", {}, w("upload.not_taken")), wrong) : "",
    el(
      "footer",
      {},
      quietButton(w("close"), () => root.close()),
      key === "train_data_dir"
        ? mainButton(w("room.open"), () => {
            root.close();
            enterByDoor();
          })
        : "",
    ),
  );
}
