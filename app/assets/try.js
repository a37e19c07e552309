// "Try it": pictures with the LoRA beside the base model's. Shared by the live view and the jobs tab.

/** The card for one run; `offer`: what it begins with (app/jobs/outcome.py). */
function tryCard(root, job, offer) {
  const KEPT = 8,
    id = `la-try-${Math.random().toString(36).slice(2, 8)}`;
  let asked = 0,
    drawing = false,
    shown = null;
  const kept = [];

  const field = (name, input, wide) =>
    el("div", { class: wide ? "tf wide" : "tf" }, el("label", { for: input.id }, w(`try.${name}`)), input);
  const input = (name, value, attributes = {}) => {
    const made = el("input", { id: `${id}-${name}`, class: "tin", ...attributes });
    made.value = value;
    return made;
  };
  const number = (name, value, min, max, step) =>
    input(name, value, { type: "number", min, max, step, inputmode: "decimal" });
  const prompt = el("textarea", { id: `${id}-prompt`, class: "tin", rows: "2", spellcheck: "false" });
  prompt.value = offer.prompt;
  const negative = input("negative", offer.negative, { type: "text", spellcheck: "false" });
  const slider = input("strength", "0.8", { type: "range", min: "0", max: "1.2", step: "0.05" });
  const strength = number("strength-number", "0.8", "0", "1.2", "0.05");
  strength.setAttribute("aria-label", w("try.strength"));
  const seed = number("seed", String(offer.seed), "0", "4294967295", "1");
  const dice = el(
    "button",
    {
      class: "ib",
      type: "button",
      "aria-label": w("try.seed_new"),
      title: w("try.seed_new"),
      onclick: () => {
        seed.value = Math.floor(Math.random() * 4294967296);
      },
    },
    icon("dice"),
  );
  const width = number("width", offer.width, "64", "2048", "8"),
    height = number("height", offer.height, "64", "2048", "8");
  const steps = number("steps", offer.steps, "1", "200", "1"),
    scale = number("scale", offer.scale, "0", "30", "0.5");
  const file = el(
    "select",
    { id: `${id}-file`, class: "tin" },
    offer.files.map((name) => el("option", { value: name }, name)),
  );
  file.value = offer.file;
  const moreSays = el("summary", {});
  const says = () =>
    set(moreSays, w("try.more", { width: width.value, height: height.value, steps: steps.value, scale: scale.value }));
  const more = el(
    "details",
    { class: "tmore", open: !!offer.negative },
    moreSays,
    el("div", { class: "tneg" }, field("negative", negative, true)),
    el(
      "div",
      { class: "tgrid four" },
      field("width", width),
      field("height", height),
      field("steps", steps),
      field("scale", scale),
    ),
  );
  for (const one of [width, height, steps, scale]) one.addEventListener("input", says);
  says();
  slider.addEventListener("input", () => {
    strength.value = slider.value;
    paintSlider();
  });
  strength.addEventListener("input", () => {
    slider.value = strength.value;
    paintSlider();
  });
  const paintSlider = () => slider.style.setProperty("--part", `${(100 * slider.value) / 1.2}%`);
  paintSlider();

  const make = el("button", { class: "btn", type: "submit" }, icon("wand"), el("span", {}, w("try.make")));
  const stop = el(
    "button",
    {
      class: "btn q2",
      type: "button",
      hidden: true,
      onclick: () => {
        question("try_cancel", { id: asked }).catch(() => {});
      },
    },
    w("try.stop"),
  );
  const status = el("p", { class: "sub sm", role: "status", "aria-live": "polite" });
  const bar = el("i"),
    progress = el(
      "div",
      {
        class: "prog",
        role: "progressbar",
        "aria-label": w("try.title"),
        "aria-valuemin": "0",
        "aria-valuemax": "100",
        hidden: true,
      },
      bar,
    );
  const trouble = el("p", { class: "tbad", role: "alert", hidden: true });
  const pair = el("div", { class: "tpair", hidden: true });
  const strip = el("div", { class: "tstrip", hidden: true });
  const form = el(
    "form",
    { novalidate: true },
    field("prompt", prompt, true),
    el(
      "div",
      { class: "tgrid" },
      el(
        "div",
        { class: "tf" },
        el("label", { for: slider.id }, w("try.strength")),
        el("div", { class: "tslide" }, slider, strength),
      ),
      el(
        "div",
        { class: "tf" },
        el("label", { for: seed.id }, w("try.seed")),
        el("div", { class: "tseed" }, seed, dice),
      ),
    ),
    offer.files.length > 1 ? field("file", file, true) : null,
    more,
    el("div", { class: "row" }, make, stop),
  );
  const card = el(
    "section",
    { class: "card try" },
    el("h3", {}, w("try.title")),
    form,
    progress,
    trouble,
    pair,
    status,
    strip,
  );
  const warm = () => question("try_warm", { job, file: offer.file }).catch(() => {});
  card.addEventListener("focusin", warm, { once: true });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!drawing) draw();
  });

  const wish = () => ({
    job,
    file: file.value || offer.file,
    prompt: prompt.value,
    negative: negative.value,
    strength: +strength.value,
    seed: Math.max(0, Math.round(+seed.value || 0)),
    width: +width.value,
    height: +height.value,
    steps: +steps.value,
    scale: +scale.value,
    sampler: offer.sampler,
  });
  function working(on) {
    drawing = on;
    stop.hidden = progress.hidden = !on;
    make.disabled = on;
    if (on) {
      trouble.hidden = true;
      bar.style.width = "0";
    }
  }
  function failed(error) {
    working(false);
    set(status, "");
    trouble.hidden = false;
    trouble.replaceChildren(...rich(sentence(error)));
  }
  async function draw() {
    const wanted = wish();
    working(true);
    set(status, w("try.starting"));
    try {
      const told = await question("try_ask", wanted);
      if (told.error) return failed(told.error);
      asked = told.id;
      await follow(asked, wanted);
    } catch {
      failed({ what: w("try.no_answer") });
    }
  }
  async function follow(number, wanted) {
    for (let lost = 0; lost < 20; ) {
      await new Promise((go) => setTimeout(go, 350));
      if (number !== asked) return;
      let told;
      try {
        told = await question("try_look", { id: number });
        lost = 0;
      } catch (error) {
        lost += error.message === "late" ? 5 : 1;
        continue;
      }
      if (told.error || told.problem) return failed(told.error || told.problem);
      if (told.state === "cancelled") {
        working(false);
        set(status, w("try.cancelled"));
        return;
      }
      paintTrial(told, wanted);
      if (told.state === "done") {
        working(false);
        remember(told, wanted);
        return;
      }
    }
    failed({ what: w("try.no_answer") });
  }
  const figure = (url, text, wanted, which) => {
    const image = url
      ? el(
          "button",
          {
            class: "pb",
            type: "button",
            title: w("enlarge"),
            onclick: () => lightbox(root, wanted.prompt, pictures(), which === "lora" ? 1 : 0),
          },
          el("img", { class: "pic", src: url, alt: `${wanted.prompt}, ${text}` }),
        )
      : el("div", { class: "wait" });
    return el("figure", {}, el("figcaption", {}, text), image);
  };
  const pictures = () =>
    [
      { url: shown.pictures.base, name: w("try.without") },
      { url: shown.pictures.lora, name: withText(shown.wanted) },
    ].filter((one) => one.url);
  const withText = (wanted) => w("try.with", { strength: wanted.strength });
  function paintTrial(told, wanted) {
    const key = JSON.stringify([told.pictures, wanted]);
    if (shown?.key !== key) {
      shown = { key, pictures: told.pictures, wanted };
      pair.hidden = false;
      pair.style.setProperty("--shape", `${wanted.width} / ${wanted.height}`);
      pair.replaceChildren(
        figure(told.pictures.base, w("try.without"), wanted, "base"),
        figure(told.pictures.lora, withText(wanted), wanted, "lora"),
      );
    }
    const share = told.of ? told.done / told.of : 0;
    bar.style.width = `${(share * 100).toFixed(1)}%`;
    progress.setAttribute("aria-valuenow", Math.round(share * 100));
    const text = {
      starting: "try.starting",
      loading: "try.loading",
      drawing: "try.drawing",
      done: told.seconds < 0.2 ? "try.known" : "try.made",
    }[told.state];
    set(status, w(text, { done: told.done, of: told.of, seconds: told.seconds.toFixed(1) }));
  }
  function remember(told, wanted) {
    if (kept.some((one) => one.pictures.lora === told.pictures.lora)) return;
    kept.unshift({ pictures: told.pictures, wanted, seconds: told.seconds });
    kept.splice(KEPT);
    strip.hidden = kept.length < 2;
    strip.replaceChildren(
      el("span", { class: "sub sm" }, w("try.earlier")),
      el(
        "div",
        { class: "trow" },
        kept.map((one) =>
          el(
            "button",
            {
              class: "pb",
              type: "button",
              title: `${one.wanted.prompt}, ${one.wanted.strength}`,
              "aria-label": w("try.again", { prompt: one.wanted.prompt, strength: one.wanted.strength }),
              onclick: () => !drawing && paintTrial({ ...one, state: "done", done: 1, of: 1 }, one.wanted),
            },
            el("img", { class: "pic", src: one.pictures.lora, alt: "" }),
            el("span", { "aria-hidden": "true" }, one.wanted.strength),
          ),
        ),
      ),
    );
  }
  return card;
}
