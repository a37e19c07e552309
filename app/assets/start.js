// Start: the server is connected when Gradio has mounted the bridge; then the form gets its content.

const ACTIONS = {
  train, stop, command: showCommand, presets: showPresets, light: switchLight,
  open: () => $("#la-file").click(),
  load: () => loadPath($("#la-config").value),
  save: () => save($("#la-config").value.trim()),
  save_as: saveAs,
  menu: () => {
    const open = $("#head").classList.toggle("menu");
    $("[data-act=menu]").setAttribute("aria-expanded", String(open));
  },
};

async function connect(server) {
  page.server = server;
  if (page.fields) return; // mounted again
  const [answer] = await Promise.all([ask("start"), present("#la-apply")]);
  if (!answer) return;
  Object.assign(page, { fields: answer.fields, keys: answer.keys, defaults: answer.defaults, values: answer.values, path: answer.path, presets: answer.presets, job: answer.job, fresh: answer.fresh });
  addSprite();
  startHeader();
  dress();
  write({});
  paintOffer();
  pollJob();
  document.documentElement.dataset.ready = "1";
}

/** Symbols for all icons; Gradio may clear the body once while it mounts. */
function addSprite() {
  if (document.getElementById("i-folder")) return;
  const holder = document.createElement("div");
  holder.innerHTML = SPRITE;
  document.body.prepend(holder.firstChild);
}

function early() {
  addSprite();
  const light = cookie("ui_light");
  if (light) setTimeout(() => document.body.classList.toggle("dark", light === "dark"), 0);
}

document.addEventListener("DOMContentLoaded", early);
for (const kind of ["input", "change", "click", "keyup"]) {
  document.addEventListener(kind, (event) => { if (event.target.closest?.(".la-field, [role=option], [role=listbox]")) listen(); }, true);
}
document.addEventListener("focusin", focused);
document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-act]");
  if (button) ACTIONS[button.dataset.act]?.();
  else if (event.target.closest?.("[role=tab]")) setTimeout(() => { dress(); paint(); }, 30);
  if (!event.target.closest?.("#la-panel, [data-act]") && !$("#la-panel")?.hidden) closePanel();
});
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
  if (event.key === "/" && !typing) { event.preventDefault(); $("#la-search")?.focus(); }
  if (event.key === "Escape" && $("#la-panel") && !$("#la-panel").hidden) closePanel();
});

let dressing = 0;
new MutationObserver(() => {
  if (dressing || !page.fields) return;
  dressing = requestAnimationFrame(() => {
    dressing = 0;
    if ($(".la-field:not([data-dressed])") || $(".la-slot > *:empty, .la-slot .la-unet:empty")) { dress(); paint(); paintOffer(); }
  });
}).observe(document.documentElement, { childList: true, subtree: true });

window.addEventListener("la-show-setting", (event) => goTo(event.detail.key));
window.addEventListener("la-run", (event) => { page.run = event.detail; paintBar(); });

window.atelier = { connect, useJob, heard, written, goTo, openTab, write, page };
