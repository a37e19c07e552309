// The picture of the denoiser's blocks; it and kohya's text fields write into each other.

/** The blocks of the chosen family, as app/form/blocks.py tells them. */
const unet = () => page.look.blocks;
/** Which text fields hold a picture's numbers: key, first block, count. */
function unetFields(mode) {
  const { names, down, mid, up } = unet();
  if (mode !== "weights") return [[mode, 0, names.length]];
  return [
    ["down_lr_weight", ...down],
    ["mid_lr_weight", ...mid],
    ["up_lr_weight", ...up],
  ];
}
/** The field that holds a block's number. */
const unetField = (mode, at) => unetFields(mode).find(([, first, count]) => at >= first && at < first + count);
const UNET_FILL = {
  weights: () => 1,
  block_dims: () => page.values.network_dim,
  block_alphas: () => page.values.network_alpha,
  conv_block_dims: () => page.values.conv_dim,
  conv_block_alphas: () => page.values.conv_alpha,
};
/** Less towards the smallest pictures, by levels. */
const SOFT = { 4: [1, 0.8, 0.5, 0.2], 3: [1, 0.8, 0.4] };
const unetMode = { weights: "weights", blocks: "block_dims", conv: "conv_block_dims" };

const isNumber = (text) => text.trim() !== "" && Number.isFinite(Number(text));

/** A field's numbers, or null where it is blank or holds a named curve. */
function fieldNumbers(key, count) {
  const parts = String(page.values[key] ?? "").split(",");
  return parts.length === count && parts.every(isNumber) ? parts.map((part) => part.trim()) : null;
}

function paintUnet() {
  for (const place of $$(".la-unet")) {
    const kind = place.dataset.kind;
    if (place.dataset.family !== unet().family) buildUnet(place, kind);
    const mode = unetMode[kind];
    const numbers = Array(unet().names.length).fill("");
    let curve = false;
    for (const [key, first, count] of unetFields(mode)) {
      const found = fieldNumbers(key, count);
      if (found)
        found.forEach((number, at) => {
          numbers[first + at] = number;
        });
      else if (String(page.values[key] ?? "").trim()) curve = true;
    }
    const fill = UNET_FILL[mode]();
    const threshold = Number(page.values.block_lr_zero_threshold || 0);
    for (const cell of $$(".ub[data-at]", place)) {
      const at = Number(cell.dataset.at);
      const input = $("input", cell);
      if (!input) continue;
      if (document.activeElement !== input || !input.dataset.typing) input.value = numbers[at];
      input.placeholder = curve ? "~" : String(fill ?? "");
      const value = Number(numbers[at] === "" ? fill : numbers[at]);
      const strength = kind === "weights" ? value : Math.log2(1 + value) / 7;
      cell.style.setProperty("--v", String(Math.max(0, Math.min(1, strength || 0))));
      cell.classList.toggle("off", kind === "weights" ? value <= threshold : value === 0);
    }
    $(".unet-curve", place).hidden = !curve;
    paintBlockCard();
    for (const button of $$("[data-mode]", place))
      button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
  }
}

/** One block: its number, or a dash where there is nothing to train. */
function unetCell(kind, at, row, column) {
  const none = kind === "conv" ? !unet().convolutions.includes(at) : !unet().attention.includes(at);
  const name = unet().names[at];
  return el(
    "div",
    { class: none ? "ub no" : "ub", "data-at": at, title: none ? w(kind === "conv" ? "unet_none" : "unet_no") : "" },
    el("span", {}, name),
    none
      ? null
      : el("input", {
          inputmode: "decimal",
          "aria-label": name,
          "aria-describedby": "la-block-text",
          "data-row": row,
          "data-column": column,
          autocomplete: "off",
          oninput: (event) => {
            event.target.dataset.typing = "1";
            typedBlock(kind, at, event.target.value);
          },
          onblur: (event) => {
            delete event.target.dataset.typing;
            paintUnet();
          },
          onfocus: (event) => {
            event.target.select();
            focusBlock(kind, at);
          },
          onkeydown: moveInUnet,
        }),
  );
}

function buildUnet(place, kind) {
  const { family, rows, middle, names, up } = unet();
  place.dataset.family = family;
  place.replaceChildren();
  const grid = el(
    "div",
    { class: "unet", role: "group", "aria-label": "U-Net" },
    el("div", { class: "lv" }),
    el("div", { class: "uh" }, w("unet_down")),
    el("div", { class: "uh" }, w("unet_up")),
    rows.flatMap(({ size, down, up }, row) => [
      el("div", { class: "lv" }, `${size} × ${size}`),
      ...down.map((at, column) => unetCell(kind, at, row, column)),
      el("div", { class: "skip" }),
      ...up.map((at, column) => unetCell(kind, at, row, column + 4)),
    ]),
    el(
      "div",
      { class: middle.length > 1 ? "mid several" : "mid" },
      middle.map((at, column) => unetCell(kind, at, rows.length, column + 3)),
    ),
  );
  const link = (name, numbers) =>
    el("button", { type: "button", class: "link", onclick: () => setBlocks(kind, numbers) }, w(name));
  const modes =
    kind === "weights"
      ? []
      : UNET_MODES[kind].map(([mode, name]) =>
          el(
            "button",
            {
              type: "button",
              class: "btn s",
              "data-mode": mode,
              onclick: () => {
                unetMode[kind] = mode;
                paintUnet();
              },
            },
            w(name),
          ),
        );
  place.append(
    modes.length ? el("div", { class: "acts" }, modes) : "",
    grid,
    el(
      "div",
      { class: "unet-foot legend" },
      el("span", {}, el("span", { class: "k on" }), w("unet_on")),
      kind === "weights" ? el("span", {}, el("span", { class: "k off" }), w("unet_off")) : null,
      kind === "conv" ? null : el("span", {}, el("span", { class: "k no" }), w("unet_no")),
      el(
        "div",
        { class: "links" },
        kind === "weights"
          ? [
              link(
                "unet_all",
                names.map(() => 1),
              ),
              link(
                "unet_draw",
                names.map((_, at) => Number(middle.includes(at) || at >= up[0])),
              ),
              link("unet_soft", softShape()),
            ]
          : null,
        link("unet_clear", null),
      ),
    ),
    el("p", { class: "la-note unet-curve", hidden: true }, w("unet_curve")),
  );
}
const UNET_MODES = {
  blocks: [
    ["block_dims", "unet_dims"],
    ["block_alphas", "unet_alphas"],
  ],
  conv: [
    ["conv_block_dims", "unet_dims"],
    ["conv_block_alphas", "unet_alphas"],
  ],
};

/** Weights that fall with the size of the pictures. */
function softShape() {
  const { names, rows, middle } = unet();
  const soft = SOFT[rows.length];
  const numbers = names.map(() => 1);
  rows.forEach(({ down, up }, level) => {
    for (const at of [...down, ...up]) numbers[at] = soft[level];
  });
  for (const at of middle) numbers[at] = soft.at(-1);
  return numbers;
}

/** A number typed into the picture goes into the list of its text field. */
function typedBlock(kind, at, text) {
  const mode = unetMode[kind];
  const [key, first, count] = unetField(mode, at);
  const numbers = fieldNumbers(key, count) || Array(count).fill(String(UNET_FILL[mode]() ?? 1));
  const value = text.trim() === "" ? String(UNET_FILL[mode]() ?? 1) : text.trim();
  if (!isNumber(value)) return;
  numbers[at - first] = value;
  write({ [key]: numbers.join(",") });
  paintUnet();
}

/** All blocks at once; null: blank fields. */
function setBlocks(kind, numbers) {
  const fields = unetFields(unetMode[kind]);
  write(
    Object.fromEntries(
      fields.map(([key, first, count]) => [key, numbers ? numbers.slice(first, first + count).join(",") : ""]),
    ),
  );
  paintUnet();
}

/** Arrow keys go from block to block; the middle lies below all rows, between the sides. */
function moveInUnet(event) {
  const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  if (!step) return;
  const last = unet().rows.length;
  const grid = event.target.closest(".unet");
  const begin = Number(event.target.dataset.row);
  let row = begin;
  let column = Number(event.target.dataset.column);
  for (let tries = 0; tries < 8; tries++) {
    row += step[0];
    column += step[1];
    const far = (input) => Math.abs(Number(input.dataset.column) - column);
    const [nearest] = $$(`input[data-row="${row}"]`, grid).sort((a, b) => far(a) - far(b));
    if (nearest && (far(nearest) === 0 || (step[0] && [begin, row].includes(last)))) {
      event.preventDefault();
      nearest.focus();
      return;
    }
  }
}
