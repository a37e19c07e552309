// Help for one block of the U-Net, in the rail beside its picture.

/** What a block is for: ["mid", 32], or ["in_0", 128] by its side and its level. */
function blockPart(at) {
  const { rows, middle } = unet();
  const level = rows.findIndex(({ down, up }) => down.includes(at) || up.includes(at));
  if (middle.includes(at)) return ["mid", rows.at(-1).size];
  return [`${rows[level].down.includes(at) ? "in" : "out"}_${level}`, rows[level].size];
}

function focusBlock(kind, at) {
  page.focus = `block ${kind} ${at}`;
  paintRail();
}

/** "block weights 16" -> ["weights", 16], or null for the key of a setting, or a block of another family. */
function focusedBlock() {
  const [word, kind, place] = page.focus.split(" ");
  const at = Number(place);
  return word === "block" && inPicture(at) ? [kind, at] : null;
}
const inPicture = (at) =>
  unet().middle.includes(at) || unet().rows.some(({ down, up }) => [...down, ...up].includes(at));

const decimal = (number) => String(Number(number.toPrecision(3)));
const rateText = (rate) =>
  rate && rate < 0.001
    ? rate
        .toExponential()
        .replace(/^(\d\.\d{2})\d+/, "$1")
        .replace("e-0", "e-")
    : decimal(rate);

/** A block's own number, or what it gets where it has none. */
function blockNumber(mode, at) {
  const [key, first, count] = unetField(mode, at);
  const numbers = fieldNumbers(key, count);
  return Number(numbers ? numbers[at - first] : (UNET_FILL[mode]() ?? 0));
}

/** What a block's number means in this run. */
function blockSum(kind, at) {
  if (kind === "weights") {
    const value = blockNumber("weights", at);
    const rate = Number(page.values.unet_lr === "" ? page.values.learning_rate : page.values.unet_lr);
    if (value <= Number(page.values.block_lr_zero_threshold || 0)) return w("block_left_out");
    return w("block_learns", { value: decimal(value), rate: rateText(rate), product: `**${rateText(value * rate)}**` });
  }
  const [dims, alphas] = UNET_MODES[kind].map(([mode]) => blockNumber(mode, at));
  return dims
    ? w("block_rank", { rank: decimal(dims), alpha: decimal(alphas), ratio: `**${decimal(alphas / dims)}**` })
    : w("block_none");
}

function blockCard(kind, at) {
  const [part, size] = blockPart(at);
  const name = unet().names[at];
  const key = unetField(unetMode[kind], at);
  const slider =
    kind !== "weights"
      ? null
      : el("input", {
          type: "range",
          min: "0",
          max: "1",
          step: "0.05",
          "aria-label": w("block_slider", { block: name }),
          oninput: (event) => typedBlock(kind, at, event.target.value),
        });
  return el(
    "section",
    { class: "card help", id: "la-block", "data-kind": kind, "data-at": at },
    el(
      "h2",
      {},
      icon("help"),
      el("span", {}, name),
      el("small", {}, w("block_place", { label: page.fields[key[0]].label, place: at - key[1] + 1, count: key[2] })),
    ),
    el(
      "dl",
      { id: "la-block-text" },
      el("dt", {}, w("block_this")),
      el("dd", {}, w(`block.${part}`, { size: `${size} × ${size}` })),
      el("dt", { class: "num" }),
      el("dd", { class: "sum" }),
    ),
    slider,
    el("div", { class: "key" }, el("code", {}, key[0]), el("span", {}, w("block_size_note", { side: unet().side }))),
  );
}

/** The figures of the card follow the fields. */
function paintBlockCard() {
  const card = $("#la-block");
  if (!card) return;
  const { kind } = card.dataset;
  const at = Number(card.dataset.at);
  const number = blockNumber(unetMode[kind], at);
  $(".num", card).textContent = w(
    kind === "weights" ? "block_weight" : unetMode[kind].endsWith("dims") ? "block_dim" : "block_alpha",
    { value: decimal(number) },
  );
  $(".sum", card).replaceChildren(...rich(blockSum(kind, at)));
  const slider = $("input", card);
  if (slider && document.activeElement !== slider) slider.value = String(number);
}
