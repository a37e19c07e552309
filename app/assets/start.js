// Start: the server is connected when Gradio has mounted the bridge; then the form gets its content.

const ACTIONS = {
  train: () => train(),
  stop,
  command: showCommand,
  presets: showPresets,
  light: switchLight,
  open: showOpen,
  report: showReport,
  room: enterByDoor,
  changed: showChanged,
  load: () => loadPath(typedConfig()),
  save: () => save(typedConfig()),
  save_as: saveAs,
  find: () => {
    openMenu(true);
    $("#la-search").focus();
  },
  menu: () => openMenu(!$("#head").classList.contains("menu")),
};

/** On a phone: the buttons for files and the search, under the header. */
function openMenu(open) {
  $("#head").classList.toggle("menu", open);
  $("[data-act=menu]").setAttribute("aria-expanded", String(open));
}

/** Without its content the page is of no use: asked until it comes. */
async function firstAnswer() {
  for (;;) {
    const answer = await ask("start");
    if (answer) return answer;
    await rest(2000);
  }
}

async function connect(server) {
  const again = Boolean(page.server); // mounted again: the first one has asked, or asks until it has its answer
  page.server = server;
  if (again) return;
  const [answer] = await Promise.all([firstAnswer(), present("#la-apply"), present("#la-listen")]);
  Object.assign(page, {
    fields: answer.fields,
    keys: answer.keys,
    defaults: answer.defaults,
    values: { ...answer.defaults }, // what Gradio's widgets hold until the draft is written into them
    path: answer.path,
    saved: /\.json$/i.test(answer.path) ? answer.path : "",
    carried: answer.carried,
    offered: answer.offered,
    mark: answer.mark,
    secrets: answer.secrets,
    presets: answer.presets,
    fresh: answer.fresh,
  });
  addSprite();
  for (const wire of $$("#la-apply, #la-listen")) {
    wire.tabIndex = -1;
    wire.setAttribute("aria-hidden", "true");
  }
  startDraft(answer);
  startHeader();
  dress();
  write(answer.values);
  paintOffer();
  await askRun();
  await returnToPlace();
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
  history.scrollRestoration = "manual";
  addSprite();
  const light = cookie("ui_light");
  if (light) setTimeout(() => document.body.classList.toggle("dark", light === "dark"), 0);
}

document.addEventListener("DOMContentLoaded", early);
for (const kind of ["input", "change", "click", "keyup"]) {
  document.addEventListener(kind, touchedField, true);
}
document.addEventListener("focusin", focused);
document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-act]");
  if (button) ACTIONS[button.dataset.act]?.();
  const tab = event.target.closest?.("[role=tab]");
  // Twice: a busy machine may not have changed the tab by the first.
  if (tab)
    for (const rest of [30, 300])
      setTimeout(() => {
        dress();
        paint();
        showTab(tab);
        if (page.fields) rememberPlace();
      }, rest);
  // By the path: a button of the panel may have replaced its content, and itself.
  const inside = event.composedPath().some((node) => node.id === "la-panel" || node.dataset?.act);
  if (!inside && $("#la-panel") && !$("#la-panel").hidden) closePanel();
});
document.addEventListener("dragover", (event) => {
  if (event.dataTransfer?.types.includes("Files")) event.preventDefault();
});
document.addEventListener("drop", (event) => {
  const files = [...(event.dataTransfer?.files || [])];
  if (!files.length) return;
  event.preventDefault();
  if (!page.fields) return;
  const pictures = files.filter((file) => PICTURE_NAMES.test(file.name)).length;
  const isFolder = [...event.dataTransfer.items].some((item) => item.webkitGetAsEntry?.()?.isDirectory);
  if (isFolder || pictures > 1 || (pictures && openedTab() === "folders")) {
    droppedFiles(event.dataTransfer).then((found) => showUpload("train_data_dir", found));
  } else openFile(files[0]);
});
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
  if (event.key === "/" && !typing) {
    event.preventDefault();
    $("#la-search")?.focus();
  }
  if (event.key === "Escape" && $("#la-panel") && !$("#la-panel").hidden) closePanel();
});

let dressing = 0;
new MutationObserver(() => {
  if (!page.fields) return;
  dressChoices();
  if (dressing) return;
  dressing = requestAnimationFrame(() => {
    dressing = 0;
    const slots = $$(".la-slot:not([data-seen])");
    if (!slots.length && !$(".la-field:not([data-dressed])")) return;
    for (const slot of slots) slot.dataset.seen = "1";
    dress();
    paint();
    paintOffer();
  });
}).observe(document.documentElement, { childList: true, subtree: true });

window.atelier = {
  connect,
  useJob,
  heard,
  written,
  goTo,
  openTab,
  write,
  settled,
  page,
  run,
  showRun,
  showJobs,
  showTools,
  proposeCaptions: takeToRoom,
};
