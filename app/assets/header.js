// The header: configuration file, search, language, light; the panel that opens under it.

function startHeader() {
  wordHeader();
  for (const button of $$("#head [data-lang]"))
    button.addEventListener("click", () => switchLanguage(button.dataset.lang));
  const config = $("#la-config");
  keep({}); // what a reload brings back
  completePaths(config, $("#d-config"), () => "settings");
  config.addEventListener("keydown", (event) => {
    if (event.key === "Enter") loadPath(typedConfig());
  });
  config.addEventListener("focus", () => {
    config.value = page.path || page.offered;
    config.select();
  });
  config.addEventListener("blur", () => {
    if (config.value.trim() === (page.path || page.offered)) paintConfig();
  });
  $("#la-file").addEventListener("change", (event) => {
    const [file] = event.target.files;
    event.target.value = "";
    if (file) openFile(file);
  });
  startSearch();
}

function wordHeader() {
  for (const item of $$("#head [data-ph]")) item.placeholder = w(item.dataset.ph);
  for (const item of $$("#head [data-label]")) item.setAttribute("aria-label", w(item.dataset.label));
  for (const item of $$("#head [data-tip]")) item.title = w(item.dataset.tip);
  for (const button of $$("#head [data-lang]"))
    button.setAttribute("aria-pressed", String(button.dataset.lang === LANG));
  $("#la-found").setAttribute("aria-label", w("find"));
}

function switchLight() {
  const dark = !document.body.classList.contains("dark");
  keepCookie("ui_light", dark ? "dark" : "light");
  document.body.classList.toggle("dark", dark);
}

let panelFrom = null;
/** The panel under the header: presets, command, report, questions. Closing it gives the focus back. */
function openPanel(title, ...content) {
  const panel = $("#la-panel");
  if (panel.hidden) panelFrom = document.activeElement;
  panel.replaceChildren(
    el(
      "div",
      { class: "panel", role: "dialog", "aria-label": title },
      el(
        "h2",
        {},
        el("span", {}, title),
        el("button", { type: "button", class: "ib", "aria-label": w("close"), onclick: closePanel }, icon("x")),
      ),
      ...content,
    ),
  );
  panel.hidden = false;
  panel.style.setProperty("--la-top", `${Math.max(8, $("#head").getBoundingClientRect().bottom + 4)}px`);
  $("button:not(.ib), input:not([type=file]), textarea", panel)?.focus({ preventScroll: true });
}
function closePanel() {
  const panel = $("#la-panel");
  const inside = panel.contains(document.activeElement);
  panel.hidden = true;
  panel.replaceChildren();
  $("[data-act=presets]").setAttribute("aria-expanded", "false");
  if (inside && panelFrom?.isConnected) panelFrom.focus({ preventScroll: true });
}

/** A button row of a panel. */
const acts = (...buttons) => el("div", { class: "acts" }, buttons);
const mainButton = (text, onclick) => el("button", { type: "button", class: "btn p", onclick }, text);
const quietButton = (text, onclick) => el("button", { type: "button", class: "btn q2", onclick }, text);

// --- search -------------------------------------------------------------------------------------------

function startSearch() {
  const input = $("#la-search");
  const list = $("#la-found");
  let number = 0;
  let at = 0;
  const close = () => {
    number++; // what was asked before opens the list no more
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  };
  const choose = ({ key, tool }) => {
    close();
    input.value = "";
    if (tool) useTool(tool, toolbox.values[tool] || {});
    else goTo(key);
  };
  const mark = () =>
    $$("li[data-key]", list).forEach((item, place) => {
      item.setAttribute("aria-selected", String(place === at));
      if (place === at) {
        input.setAttribute("aria-activedescendant", item.id);
        item.scrollIntoView({ block: "nearest" });
      }
    });
  input.addEventListener("input", async () => {
    const mine = ++number;
    if (!input.value.trim()) return close();
    const answer = await ask("find", { query: input.value });
    if (!answer || mine !== number) return;
    at = 0;
    list.replaceChildren(
      ...(answer.found.length
        ? answer.found.map((hit, place) =>
            el(
              "li",
              {
                role: "option",
                id: `found-${place}`,
                "data-key": hit.key,
                "data-tool": hit.tool || null,
                onmousedown: (event) => {
                  event.preventDefault();
                  choose(hit);
                },
              },
              el("b", {}, hit.label),
              el("span", { class: "sub" }, hit.where),
            ),
          )
        : [el("li", { class: "sub", role: "option", "aria-disabled": "true" }, w("nothing_found"))]),
    );
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    mark();
  });
  input.addEventListener("keydown", (event) => {
    const items = $$("li[data-key]", list);
    if (event.key === "Escape") {
      close();
      input.blur();
    } else if (list.hidden || !items.length) return;
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      at = (at + (event.key === "ArrowDown" ? 1 : items.length - 1)) % items.length;
      mark();
    } else if (event.key === "Enter") {
      event.preventDefault();
      choose(items[at].dataset);
    }
  });
  let leaving = 0;
  input.addEventListener("blur", () => {
    leaving = setTimeout(close, 150);
  });
  input.addEventListener("focus", () => clearTimeout(leaving));
}
