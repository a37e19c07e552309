// A LoRA file explained: card and sheet, see app/jobs/lora_card.py.

/** What the views show about the LoRA files of one run. */
function loraFiles(root, job) {
  const ICON = { yes: "check", limits: "alert", no: "x", base: "cube" };
  const verdicts = (rows) =>
    el(
      "ul",
      { class: "v" },
      rows.map((row) =>
        el(
          "li",
          { class: row.verdict },
          icon(ICON[row.verdict]),
          el("b", {}, row.name),
          el("span", {}, rich(row.text)),
        ),
      ),
    );
  const facts = (rows) =>
    el(
      "dl",
      { class: "facts" },
      rows.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, together(String(value))))),
    );
  const chips = (told) => {
    const classes = told.classes || [],
      captions = (told.captions || []).filter(([text]) => !classes.includes(text));
    if (!classes.length && !captions.length) return null;
    const chip = (text, count) =>
      el("li", { title: count ? w("inside.times", { count }) : "" }, text, count ? el("i", {}, ` ${count}`) : null);
    return el(
      "div",
      {},
      el("h4", {}, w("inside.words")),
      classes.length
        ? el(
            "ul",
            { class: "chips main", "aria-label": w("inside.classes") },
            classes.map((text) => chip(text)),
          )
        : null,
      captions.length
        ? el(
            "ul",
            { class: "chips", "aria-label": w("inside.captions") },
            captions.map(([text, count]) => chip(text, count)),
          )
        : null,
    );
  };
  const table = (rows) =>
    el(
      "details",
      { class: "meta2" },
      el("summary", {}, w("inside.metadata", { count: rows.length })),
      el(
        "table",
        {},
        el("thead", {}, el("tr", {}, el("th", {}, w("inside.key")), el("th", {}, w("inside.value")))),
        el(
          "tbody",
          {},
          rows.map(([key, value]) => el("tr", {}, el("td", {}, key), el("td", {}, el("div", { class: "val" }, value)))),
        ),
      ),
    );
  // A DyLoRA holds LoRAs of smaller ranks: one of them becomes a file.
  const smaller = (told) => {
    if (!told.smaller?.length) return null;
    const ranks = el(
      "select",
      { class: "tin", "aria-label": w("smaller.rank") },
      told.smaller.map((rank) => el("option", { value: rank }, w("inside.rank", { rank }))),
    );
    ranks.value = told.smaller[Math.floor((told.smaller.length - 1) / 2)];
    const answer = el("p", { class: "sub sm", role: "status" });
    const button = el("button", { class: "btn", type: "button" }, w("smaller.make"));
    button.onclick = async () => {
      button.disabled = true;
      let made;
      made = await question("make_smaller", { job, file: told.name, rank: +ranks.value }).catch(() => ({
        error: { what: w("try.no_answer") },
      }));
      button.disabled = false;
      if (made.error) {
        answer.replaceChildren(...rich(sentence(made.error)));
        return;
      }
      answer.replaceChildren(
        w("smaller.made", { name: made.name, size: made.size }),
        " ",
        el("a", { href: made.url, download: made.name }, w("download")),
      );
      filesChanged();
    };
    return el(
      "div",
      {},
      el("h4", {}, w("smaller.title")),
      el("p", { class: "sub sm" }, w("smaller.text")),
      el("div", { class: "row smaller" }, ranks, button),
      answer,
    );
  };
  // A sheet with everything about one file of the run.
  async function sheet(file) {
    const body = el("div", { class: "body", tabindex: "0" });
    const close = el(
      "button",
      { class: "ib", type: "button", "aria-label": w("close"), title: w("close"), onclick: () => dialog.close() },
      icon("x"),
    );
    const dialog = el(
      "dialog",
      { class: "la-box sheet", "aria-label": w("inside.of", { name: file }) },
      el("div", { class: "shead" }, el("h3", {}, w("inside.of", { name: file })), close),
      body,
    );
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close();
    });
    dialog.addEventListener("close", () => dialog.remove());
    root.append(dialog);
    dialog.showModal();
    let told;
    told = await question("explain", { job, file }).catch(() => ({ error: { what: w("try.no_answer") } }));
    if (told.error) {
      body.replaceChildren(el("p", {}, ...rich(sentence(told.error))));
      return;
    }
    body.replaceChildren(
      facts(told.rows),
      el("h4", {}, w("works_with")),
      verdicts(told.readers),
      chips(told) ?? "",
      smaller(told) ?? "",
      told.metadata ? table(told.metadata) : "",
    );
  }
  const more = (file) =>
    el(
      "button",
      { class: "btn q2 s", type: "button", onclick: () => sheet(file) },
      icon("info", true),
      w("inside.all"),
    );
  return { verdicts, facts, chips, smaller, sheet, more };
}
