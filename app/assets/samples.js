// Sample pictures: a grid of prompt by step, and one picture large.

const spread = (list, most) => {
  if (list.length <= most) return list;
  const chosen = new Set(
    Array.from({ length: most }, (_, at) => list[Math.round((at * (list.length - 1)) / (most - 1))]),
  );
  return list.filter((item) => chosen.has(item));
};
// Which steps get a column: the first, the latest, evenly between, and what is still to come.
const sampleColumns = (done, planned, most) => {
  const latest = done[done.length - 1] ?? -1,
    future = planned.filter((step) => step > latest);
  const all = [...done, ...future];
  if (all.length <= most) return all;
  const ahead = future.slice(0, 1),
    kept = spread(done, most - ahead.length);
  return [...kept, ...ahead];
};
/** How many columns a list of samples has room for: on a phone as few as can be judged. */
const mostColumns = (root) => (root.clientWidth < 700 ? 3 : 6);
// pictures: [{url, step, or name: what it is called}]; `at` is the first one shown.
const lightbox = (root, prompt, pictures, at) => {
  const image = el("img", { alt: "" }),
    caption = el("p", { class: "cap2" });
  const show = (next) => {
    at = Math.max(0, Math.min(pictures.length - 1, next));
    image.onload = () => image.style.setProperty("--r", image.naturalWidth / image.naturalHeight);
    image.src = pictures[at].url;
    const { name, step } = pictures[at];
    image.alt = name ? `${prompt}, ${name}` : w("sample_alt", { prompt, step: number(step) });
    set(caption, `${name || w("step_n", { step: number(step) })} · ${prompt}`);
    back.disabled = at === 0;
    on.disabled = at === pictures.length - 1;
  };
  const back = iconButton("left", w("earlier"), () => show(at - 1)),
    on = iconButton("right", w("later"), () => show(at + 1));
  const dialog = el(
    "dialog",
    { class: "la-box", "aria-label": prompt },
    el("div", { class: "frame" }, back, image, on),
    el(
      "div",
      { class: "foot" },
      caption,
      iconButton("x", w("close"), () => dialog.close()),
    ),
  );
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") show(at - 1);
    if (event.key === "ArrowRight") show(at + 1);
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("close", () => dialog.remove());
  root.append(dialog);
  show(at);
  dialog.showModal();
};
// rows: [{prompt, tag, cells: Map(step -> url)}], one line of the grid each.
const sampleGrid = (root, steps, rows, latest, side = "132px") => {
  const cell = (row, step) => {
    const url = row.cells.get(step);
    if (!url) return el("div", { class: "wait" });
    const pictures = [...row.cells].sort((a, b) => a[0] - b[0]).map(([s, u]) => ({ step: s, url: u }));
    const label = w("sample_alt", { prompt: row.prompt, step: number(step) });
    const open = () =>
      lightbox(
        root,
        row.prompt,
        pictures,
        pictures.findIndex((picture) => picture.step === step),
      );
    return el(
      "button",
      { class: step === latest ? "pb new" : "pb", type: "button", title: w("enlarge"), onclick: open },
      el("img", { class: "pic", src: url, alt: label, loading: "lazy", decoding: "async" }),
    );
  };
  const head = [
    el("span", { class: "h l" }, w("step")),
    ...steps.map((step) => el("span", { class: "h" }, number(step))),
  ];
  const body = rows.flatMap((row) => [
    row.tag
      ? el("span", { class: "q tagq" }, row.head ? el("span", { class: "qq" }, row.prompt) : null, row.tag())
      : el("span", { class: "q" }, row.prompt),
    ...steps.map((step) => cell(row, step)),
  ]);
  return el("div", { class: "sg", style: `--n:${steps.length};--side:${side}` }, head, body);
};

/** Of a LoRA file: whether it is the one to take, its size, its epoch or step. */
function fileFacts(file, judged) {
  const point = file.final
    ? ""
    : file.epoch
      ? w("epoch_n", { epoch: number(file.epoch) })
      : w("step_n", { step: number(file.step) });
  const facts = [together(file.size), point].filter(Boolean).join(comma());
  return el("span", { class: "sub" }, takeMark(judged, file), facts);
}

// A file's name, whole: what tells it from others stands at its end ("…step00000120.safetensors").
const wholeName = (name, strong = false) => el(strong ? "b" : "span", { class: "ell whole" }, name);

// A card's heading; what stands beside it is no part of its name.
const cardHead = (title, note) =>
  el("div", { class: "ch" }, el("h3", {}, rich(title)), note ? el("small", {}, note) : null);
/** What a tool has told, as a card; null where it told nothing. */
const findingsCard = (outcome) => {
  const row = ([level, text]) =>
    el("li", { class: level }, icon(level === "info" ? "info" : level === "error" ? "error" : "alert"), rich(text));
  const { findings } = outcome || {};
  return findings?.length ? viewCard(w("tools_found"), "", el("ul", { class: "findings" }, findings.map(row))) : null;
};
// A card of the views.
const viewCard = (title, note, ...body) => el("section", { class: "card" }, title ? cardHead(title, note) : null, body);
