// Help for one block of the U-Net, in the rail beside its picture.

/** What a block is for: by its side and by the size of what passes through it. */
const BLOCK_SIZES = [64, 32, 16, 8];
function blockPart(at) {
  if (at === MID) return ["mid", 8];
  const down = at < MID;
  const level = Math.floor((down ? at : at - MID - 1) / 3);
  return [down ? "in" : "out", down ? BLOCK_SIZES[level] : BLOCK_SIZES[3 - level]];
}

function focusBlock(kind, at) {
  page.focus = `block ${kind} ${at}`;
  paintRail();
}

/** "block weights 16" -> ["weights", 16], or null for the key of a setting. */
function focusedBlock() {
  const [word, kind, at] = page.focus.split(" ");
  return word === "block" ? [kind, Number(at)] : null;
}

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
  const [key, first, count] = UNET_FIELDS[mode].find(([, start, length]) => at >= start && at < start + length);
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
  const [side, size] = blockPart(at);
  const key = UNET_FIELDS[unetMode[kind]].find(([, start, length]) => at >= start && at < start + length);
  const slider =
    kind !== "weights"
      ? null
      : el("input", {
          type: "range",
          min: "0",
          max: "1",
          step: "0.05",
          "aria-label": w("block_slider", { block: blockName(at) }),
          oninput: (event) => typedBlock(kind, at, event.target.value),
        });
  return el(
    "section",
    { class: "card help", id: "la-block", "data-kind": kind, "data-at": at },
    el(
      "h2",
      {},
      icon("help"),
      el("span", {}, blockName(at)),
      el("small", {}, w("block_place", { label: page.fields[key[0]].label, place: at - key[1] + 1, count: key[2] })),
    ),
    el(
      "dl",
      { id: "la-block-text" },
      el("dt", {}, w("block_this")),
      el("dd", {}, w(`block.${side}_${size}`, { size: `${size} × ${size}` })),
      el("dt", { class: "num" }),
      el("dd", { class: "sum" }),
    ),
    slider,
    el("div", { class: "key" }, el("code", {}, key[0]), el("span", {}, w("block_size_note"))),
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
