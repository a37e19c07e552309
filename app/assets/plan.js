// The plan as pictures: the sum in words, the learning-rate curve, buckets with thumbnails, sample prompts.

const DATA_KEYS = [
  "train_data_dir",
  "caption_extension",
  "max_resolution",
  "enable_bucket",
  "min_bucket_reso",
  "max_bucket_reso",
  "bucket_no_upscale",
  "bucket_reso_steps",
  "dataset_config",
  "reg_data_dir",
  "train_batch_size",
  "gradient_accumulation_steps",
  "shuffle_caption",
  "keep_tokens",
  "caption_dropout_rate",
  "caption_dropout_every_n_epochs",
  "flip_aug",
  "color_aug",
  "random_crop",
  "masked_loss",
  "validation_split",
  "validation_seed",
  "seed",
  "additional_parameters",
];
let dataAsked = "";
/** Counts the questions about the pictures. */
let dataTurn = 0;

function paintPlan() {
  paintSum();
  paintCurve();
  paintPrompts();
  paintDataset();
}

function paintSum() {
  const place = $("#la-sum");
  const plan = page.look.plan;
  if (!place) return;
  const judging =
    plan?.judging && el("div", { class: "judging" }, rich(plan.judging.text), " ", judgingButton(plan.judging));
  place.replaceChildren(...(plan ? [el("b", {}, rich(plan.sum)), " · ", ...rich(plan.rule), judging || ""] : []));
}

/** The offer to keep pictures back, at one click. */
function judgingButton({ fix, button }) {
  return fix
    ? el(
        "button",
        {
          class: "btn q2 s",
          type: "button",
          onclick: () => writeUndoable(fix, w("fixed", { label: labelsOf(Object.keys(fix)) })),
        },
        button,
      )
    : "";
}

function paintCurve() {
  const place = $("#la-curve");
  if (!place) return;
  const plan = page.look.plan;
  const curve = plan?.curve;
  if (!curve) return place.replaceChildren();
  const total = plan.total;
  const line = (points) =>
    points
      .map(
        ([step, rate], place) =>
          `${place ? "L" : "M"}${((600 * step) / total).toFixed(1)} ${(150 - (150 * rate) / curve.top).toFixed(1)}`,
      )
      .join("");
  const paths = [
    ...[0, 37.5, 75, 112.5, 150].map((y) => ["gl", `M0 ${y}H600`]),
    ...plan.saves.slice(0, 60).map((save) => ["mk", `M${((600 * save.step) / total).toFixed(1)} 0V150`]),
    ...(curve.lines.text_encoder ? [["s2", line(curve.lines.text_encoder)]] : []),
    ...(curve.lines.text_encoder_2 ? [["s2", line(curve.lines.text_encoder_2)]] : []),
    ...(curve.lines.unet ? [["sm_", line(curve.lines.unet)]] : []),
  ];
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 600 150");
  svg.setAttribute("preserveAspectRatio", "none");
  for (const [kind, d] of paths) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("class", kind);
    path.setAttribute("d", d);
    svg.append(path);
  }
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((part) => Math.round(part * total).toLocaleString("en"));
  place.replaceChildren(
    el(
      "div",
      {
        class: "chart",
        style: "--h:104px",
        role: "img",
        "aria-label": w("curve", { total: total.toLocaleString("en") }),
      },
      el(
        "div",
        { class: "yl" },
        curve.labels.map((text) => el("i", {}, text)),
      ),
      svg,
      el(
        "div",
        { class: "xl" },
        ticks.map((text) => el("i", {}, text)),
      ),
    ),
    el(
      "div",
      { class: "legend" },
      curve.lines.unet ? el("span", {}, el("i"), w("unet")) : null,
      curve.lines.text_encoder || curve.lines.text_encoder_2
        ? el(
            "span",
            {},
            el("i", { class: "second" }),
            w("text_encoder"),
            curve.stop ? comma() + w("stops_at", { percent: curve.stop }) : "",
          )
        : null,
      el("span", {}, el("i", { class: "tk" }), w("file_saved")),
    ),
  );
}

function paintPrompts() {
  const place = $("#la-prompts");
  if (!place) return;
  const rows = page.look.prompts;
  if (!rows.length) return place.replaceChildren();
  const right = ["size", "seed", "scale", "steps"];
  place.replaceChildren(
    el(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": w("prompts_title") },
      el(
        "table",
        {},
        el(
          "tr",
          {},
          ["prompt", "negative", ...right].map((name) => el("th", { class: right.includes(name) ? "r" : "" }, w(name))),
        ),
        rows.map((row) =>
          el(
            "tr",
            {},
            ["prompt", "negative", ...right].map((name) =>
              el("td", { class: right.includes(name) ? "r" : "" }, row[name] || "–"),
            ),
          ),
        ),
      ),
    ),
  );
}

async function paintDataset() {
  const place = $("#la-dataset");
  if (!place) return;
  const asked = JSON.stringify(DATA_KEYS.map((key) => page.values[key]));
  if (asked !== dataAsked) {
    dataAsked = asked;
    const turn = ++dataTurn;
    const answer =
      page.values.train_data_dir || page.values.dataset_config ? await ask("pictures", { values: page.values }) : null;
    if (turn !== dataTurn || asked !== dataAsked) return; // asked again meanwhile
    page.dataset = answer?.dataset;
    place.dataset.shown = "";
  }
  if (place.dataset.shown === asked) return;
  place.dataset.shown = asked;
  place.replaceChildren(...(page.dataset ? datasetParts(page.dataset) : []));
}

function datasetParts(data) {
  return [
    el("h2", {}, el("span", {}, w("dataset")), data.assumed ? el("small", {}, w("assumed")) : null),
    el(
      "p",
      { class: "room-door" },
      el("button", { type: "button", class: "btn", "data-act": "room" }, icon("image", true), w("room.open")),
      el("span", { class: "sub sm" }, w("room.open_about")),
    ),
    el(
      "div",
      { class: "stats" },
      data.stats.map(([figure, text]) => el("div", {}, el("b", {}, figure), text)),
    ),
    ...data.buckets.flatMap((bucket) => [bucket.head ? datasetHead(bucket.head) : [], bucketRow(bucket)].flat()),
    data.more ? el("p", { class: "sm sub" }, w("more_sizes", { count: data.more })) : "",
    data.without ? el("div", { class: "legend" }, el("span", {}, el("i", { class: "sq" }), data.without)) : "",
  ];
}

function bucketRow(bucket) {
  const thumb = ({ src, name, found, caption }) =>
    el(
      "span",
      { class: found ? "" : "no", title: `${name}\n${found ? caption : w("no_caption")}` },
      el("img", { class: "pic", src, alt: found ? name : name + comma() + w("no_caption") }),
    );
  const more = bucket.more ? el("em", {}, w("more", { count: bucket.more })) : null;
  return el(
    "div",
    { class: "bk" },
    el("b", {}, bucket.size),
    el("div", { class: "th" }, bucket.thumbs.map(thumb), more),
    el("span", { class: "sm sub" }, bucket.text),
  );
}

/** What a dataset file says of one of its datasets: size, batch, folders and what happens to their pictures. */
function datasetHead(head) {
  const line = ([folder, effects]) => el("p", { class: "sm sub" }, folder, effects && ` · ${effects}`);
  return el("div", { class: "ds" }, el("b", {}, head.title), head.folders.map(line));
}
