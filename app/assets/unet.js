// The picture of the U-Net's 25 blocks; it and kohya's text fields write into each other.

/** Rows by picture size, as they face each other: down at the left, up at the right. */
const UNET_ROWS = [
  ["64 × 64", [0, 1, 2], [22, 23, 24]],
  ["32 × 32", [3, 4, 5], [19, 20, 21]],
  ["16 × 16", [6, 7, 8], [16, 17, 18]],
  ["8 × 8", [9, 10, 11], [13, 14, 15]],
];
const MID = 12;
const NO_ATTENTION = new Set([0, 3, 6, 9, 10, 11, 13, 14, 15]);
const blockName = (at) => (at < MID ? `IN${at}` : at === MID ? "MID" : `OUT${at - MID - 1}`);
/** Which text fields hold a picture's numbers: key, first block, count. */
const UNET_FIELDS = {
  weights: [
    ["down_lr_weight", 0, 12],
    ["mid_lr_weight", 12, 1],
    ["up_lr_weight", 13, 12],
  ],
  block_dims: [["block_dims", 0, 25]],
  block_alphas: [["block_alphas", 0, 25]],
  conv_block_dims: [["conv_block_dims", 0, 25]],
  conv_block_alphas: [["conv_block_alphas", 0, 25]],
};
const UNET_FILL = {
  weights: () => 1,
  block_dims: () => page.values.network_dim,
  block_alphas: () => page.values.network_alpha,
  conv_block_dims: () => page.values.conv_dim,
  conv_block_alphas: () => page.values.conv_alpha,
};
const SOFT = [
  1, 1, 1, 0.8, 0.8, 0.8, 0.5, 0.5, 0.5, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.5, 0.5, 0.5, 0.8, 0.8, 0.8, 1, 1, 1,
];
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
    if (!place.firstChild) buildUnet(place, kind);
    const mode = unetMode[kind];
    const numbers = Array(25).fill("");
    let curve = false;
    for (const [key, first, count] of UNET_FIELDS[mode]) {
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

function buildUnet(place, kind) {
  const cell = (at, row, column) => {
    const none = kind !== "conv" && NO_ATTENTION.has(at);
    return el(
      "div",
      { class: none ? "ub no" : "ub", "data-at": at, title: none ? w("unet_no") : "" },
      el("span", {}, blockName(at)),
      none
        ? null
        : el("input", {
            inputmode: "decimal",
            "aria-label": blockName(at),
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
  };
  const grid = el(
    "div",
    { class: "unet", role: "group", "aria-label": "U-Net" },
    el("div", { class: "lv" }),
    el("div", { class: "uh" }, w("unet_down")),
    el("div", { class: "uh" }, w("unet_up")),
    UNET_ROWS.flatMap(([size, down, up], row) => [
      el("div", { class: "lv" }, size),
      ...down.map((at, column) => cell(at, row, column)),
      el("div", { class: "skip" }),
      ...up.map((at, column) => cell(at, row, column + 4)),
    ]),
    el("div", { class: "mid" }, cell(MID, 4, 3)),
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
              link("unet_all", Array(25).fill(1)),
              link(
                "unet_draw",
                Array.from({ length: 25 }, (_, at) => Number(at >= MID)),
              ),
              link("unet_soft", SOFT),
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

/** A number typed into the picture goes into the list of its text field. */
function typedBlock(kind, at, text) {
  const mode = unetMode[kind];
  const [key, first, count] = UNET_FIELDS[mode].find(([, start, length]) => at >= start && at < start + length);
  const numbers = fieldNumbers(key, count) || Array(count).fill(String(UNET_FILL[mode]() ?? 1));
  const value = text.trim() === "" ? String(UNET_FILL[mode]() ?? 1) : text.trim();
  if (!isNumber(value)) return;
  numbers[at - first] = value;
  write({ [key]: numbers.join(",") });
  paintUnet();
}

/** All blocks at once; null: blank fields. */
function setBlocks(kind, numbers) {
  const fields = UNET_FIELDS[unetMode[kind]];
  write(
    Object.fromEntries(
      fields.map(([key, first, count]) => [key, numbers ? numbers.slice(first, first + count).join(",") : ""]),
    ),
  );
  paintUnet();
}

/** Arrow keys go from block to block. */
function moveInUnet(event) {
  const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  if (!step) return;
  const grid = event.target.closest(".unet");
  let row = Number(event.target.dataset.row);
  let column = Number(event.target.dataset.column);
  for (let tries = 0; tries < 8; tries++) {
    row += step[0];
    column += step[1];
    const next = $(`input[data-row="${row}"][data-column="${row === 4 ? 3 : column}"]`, grid);
    if (next) {
      event.preventDefault();
      next.focus();
      return;
    }
  }
}
