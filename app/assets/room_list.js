// The room's pictures in rows: only those in view exist, and they are used again while one scrolls.

const LIST_SIZES = { s: 116, m: 172, l: 300 };
const GAP = 14;
const UNDER = 66;
const cards = new Map();
let spareCards = [];
let listFrame = 0;
let picturesTimer = 0;

function buildMain() {
  cards.clear();
  spareCards = [];
  const list = el(
    "div",
    {
      class: "room-list",
      role: "listbox",
      tabindex: "0",
      "aria-multiselectable": "true",
      "aria-label": w("room.pictures"),
      "aria-describedby": "room-keys",
    },
    el("div", { class: "room-space", role: "presentation" }),
  );
  list.addEventListener("scroll", listScrolled, { passive: true });
  list.addEventListener("click", clickedCard);
  list.addEventListener("dblclick", (event) => event.target.closest(".room-card") && openZoom());
  $(".room-main", room.root).replaceChildren(
    el("div", { class: "room-bar" }),
    el("p", { class: "room-none sub", hidden: true }),
    list,
    el("div", { class: "room-changes", hidden: true }),
    el("p", { class: "la-sr", id: "room-keys" }, w("room.keys")),
    el("button", {
      type: "button",
      class: "btn p room-edit",
      hidden: true,
      onclick: () => room.root.classList.add("open"),
    }),
  );
  new ResizeObserver(() => room.root && paintList()).observe(list);
}

/** Columns and sizes for the room that there is. */
function listShape() {
  const list = $(".room-list", room.root);
  const wide = list.clientWidth - 2 * GAP;
  const wish = LIST_SIZES[room.size];
  const columns = Math.max(wide < 500 && room.size !== "l" ? 2 : 1, Math.floor((wide + GAP) / (wish + GAP)));
  const side = Math.floor((wide - (columns - 1) * GAP) / columns);
  return { columns, side, row: side + UNDER + GAP, height: list.clientHeight };
}

function paintMain() {
  const changes = room.view === "changes";
  $(".room-list", room.root).hidden = changes;
  $(".room-changes", room.root).hidden = !changes;
  room.root.classList.toggle("changing", changes);
  paintRoomBar();
  if (changes) return paintChanges();
  const none = $(".room-none", room.root);
  none.hidden = room.shown.length > 0;
  none.textContent = w(room.pictures.length ? "room.none_shown" : "room.none");
  paintList();
}

function paintList() {
  if (room.view === "changes") return;
  const shape = listShape();
  const space = $(".room-space", room.root);
  space.style.height = `${Math.ceil(room.shown.length / shape.columns) * shape.row + GAP}px`;
  space.style.setProperty("--side", `${shape.side}px`);
  fillList(shape, true);
  loadPictures();
}

function listScrolled() {
  if (!listFrame)
    listFrame = requestAnimationFrame(() => {
      listFrame = 0;
      if (!room.root) return;
      fillList(listShape());
      clearTimeout(picturesTimer);
      picturesTimer = setTimeout(loadPictures, 60);
    });
}

/** Put cards where one looks; `anew` draws those that are there already, too. */
function fillList(shape, anew = false) {
  const list = $(".room-list", room.root);
  const first = Math.max(0, Math.floor(list.scrollTop / shape.row) - 1) * shape.columns;
  const last = Math.min(
    room.shown.length,
    (Math.ceil((list.scrollTop + shape.height) / shape.row) + 1) * shape.columns,
  );
  for (const [at, card] of cards)
    if (at < first || at >= last) {
      cards.delete(at);
      spareCards.push(card);
      card.hidden = true;
      $("img", card).removeAttribute("src");
    }
  for (let at = first; at < last; at++) {
    const known = cards.get(at);
    if (known && !anew) continue;
    const card = known ?? spareCards.pop() ?? $(".room-space", room.root).appendChild(newCard());
    cards.set(at, card);
    fillCard(card, at, shape);
  }
  const now = cards.get(room.at);
  if (now) list.setAttribute("aria-activedescendant", now.id);
  else list.removeAttribute("aria-activedescendant");
}

let cardNumber = 0;
function newCard() {
  return el(
    "div",
    { class: "room-card", role: "option", id: `room-card-${cardNumber++}` },
    el(
      "div",
      { class: "room-pic" },
      el("div", { class: "room-whole" }, el("img", { alt: "", decoding: "async" }), el("i")),
      el("span", { class: "room-lost", hidden: true }, icon("error"), el("span")),
    ),
    el("p", { class: "room-text" }),
    el("p", { class: "room-line" }, el("span"), el("span", { class: "room-marks" })),
  );
}

function fillCard(card, at, shape) {
  const picture = room.pictures[room.shown[at]];
  const marks = room.marks[picture.place];
  card.hidden = false;
  card.dataset.at = at;
  card.style.transform = `translate(${GAP + (at % shape.columns) * (shape.side + GAP)}px, ${
    GAP + Math.floor(at / shape.columns) * shape.row
  }px)`;
  card.setAttribute("aria-selected", String(room.chosen.has(picture.place)));
  card.setAttribute("aria-setsize", room.shown.length);
  card.setAttribute("aria-posinset", at + 1);
  card.classList.toggle("at", at === room.at);
  const [whole, lost] = $(".room-pic", card).children;
  const there = picture.stamp && !picture.unreadable;
  whole.hidden = !there;
  lost.hidden = there;
  if (!there) set(lost.lastChild, w(picture.stamp ? "room.filter.unreadable" : "room.outside_short"));
  drawWhole(whole, picture, shape.side);
  const image = whole.firstChild;
  if (image.dataset.src !== thumbOf(picture, 448)) image.removeAttribute("src");
  image.alt = picture.name;
  image.dataset.src = there ? thumbOf(picture, 448) : "";
  const caption = captionOf(picture);
  const [, text, line] = card.children;
  set(text, caption || (there ? w("room.without", { words: room.data.folders[picture.folder].words || "–" }) : ""));
  text.classList.toggle("sub", !caption);
  const fit = fitOf(picture);
  const repeats = room.data.folders[picture.folder].repeats;
  set(
    line.firstChild,
    fit ? `${fit.bucket[0]} × ${fit.bucket[1]}${repeats > 1 ? ` · ${repeats}×` : ""}` : picture.name,
  );
  const names = [...marks].filter((name) => name !== "words");
  const shownNow = names.join();
  if (line.lastChild.dataset.shown !== shownNow) {
    line.lastChild.dataset.shown = shownNow;
    const words = el("span", { class: "la-sr" }, names.map(markWord).join(comma()));
    line.lastChild.replaceChildren(...names.map(markOf), names.length ? words : "");
  }
}

/** The picture's own shape in a square, with the crop drawn on it. */
function drawWhole(whole, picture, side) {
  const wide = picture.width || 1;
  const high = picture.height || 1;
  const scale = side / Math.max(wide, high);
  whole.style.width = `${Math.max(1, Math.round(wide * scale))}px`;
  whole.style.height = `${Math.max(1, Math.round(high * scale))}px`;
  drawCrop(whole.lastChild, picture);
}

/** The frame of what is learned; nothing where all of it is. */
function drawCrop(frame, picture) {
  const crop = cropOf(picture);
  frame.hidden = !crop || (crop[2] > 0.999 && crop[3] > 0.999);
  if (frame.hidden) return;
  const [left, top, wide, high] = crop.map((share) => `${(100 * share).toFixed(2)}%`);
  Object.assign(frame.style, { left, top, width: wide, height: high });
  frame.classList.toggle("by-chance", room.data.folders[picture.folder].random_crop);
}

const MARK_ICONS = {
  unreadable: "error",
  small: "expand",
  no_caption: "bang",
  long: "scissors",
  alike: "copy",
  others: "file",
  held_out: "pause",
  changed: "pen",
};
const markOf = (name) => {
  const mark = icon(MARK_ICONS[name], true);
  mark.classList.add(`mark-${name}`);
  return mark;
};
const markWord = (name) => w(`room.filter.${name}`);

/** Pictures come when one has stopped scrolling: those that flew by are never asked for. */
function loadPictures() {
  for (const card of cards.values()) {
    const image = $("img", card);
    if (image.dataset.src && image.getAttribute("src") !== image.dataset.src) image.src = image.dataset.src;
  }
}

function clickedCard(event) {
  const card = event.target.closest(".room-card");
  if (!card) return;
  const at = +card.dataset.at;
  if (event.shiftKey) moveTo(at, true);
  else if (event.ctrlKey || event.metaKey || room.picking) toggle(at);
  else {
    moveTo(at);
    room.root.classList.add("open");
  }
}

function scrollToAt() {
  const list = $(".room-list", room.root);
  const shape = listShape();
  const top = Math.floor(room.at / shape.columns) * shape.row;
  if (top < list.scrollTop) list.scrollTop = top;
  else if (top + shape.row + GAP > list.scrollTop + shape.height) list.scrollTop = top + shape.row + GAP - shape.height;
}

// --- one picture, large ---------------------------------------------------------------------------------

const zoom = { scale: 1, x: 0, y: 0, cut: false };

function openZoom() {
  if (!current()?.stamp || current().unreadable) return;
  closeZoom();
  Object.assign(zoom, { scale: 1, x: 0, y: 0, cut: false });
  const stage = el("div", { class: "zoom-stage" });
  $(".room", room.root).append(
    el(
      "div",
      { class: "room-zoom", role: "group", "aria-label": w("room.zoom"), tabindex: "-1" },
      el(
        "div",
        { class: "zoom-bar" },
        el("span", { class: "zoom-name" }),
        el(
          "button",
          { type: "button", class: "btn s zoom-cut", "aria-pressed": "false", onclick: cutZoom },
          w("room.as_cut"),
        ),
        iconButton("left", w("room.previous"), () => stepZoom(-1)),
        iconButton("right", w("room.next"), () => stepZoom(1)),
        iconButton("x", w("close"), closeZoom),
      ),
      stage,
    ),
  );
  stage.addEventListener("wheel", wheelZoom, { passive: false });
  stage.addEventListener("pointerdown", dragZoom);
  stage.addEventListener("dblclick", () => scaleZoom(zoom.scale > 1 ? 1 / zoom.scale : 2));
  paintZoom();
  $(".room-zoom", room.root).focus();
}

function closeZoom() {
  const open = $(".room-zoom", room.root);
  if (!open) return;
  open.remove();
  $(".room-list", room.root).focus({ preventScroll: true });
}

function paintZoom() {
  const picture = current();
  const stage = $(".zoom-stage", room.root);
  const crop = zoom.cut ? (cropOf(picture) ?? [0, 0, 1, 1]) : [0, 0, 1, 1];
  const [wide, high] = [picture.width * crop[2], picture.height * crop[3]];
  const fit = Math.min(stage.clientWidth / wide, stage.clientHeight / high);
  const whole = el(
    "div",
    { class: "room-whole" },
    el("img", { alt: picture.name, src: thumbOf(picture, 2048), draggable: "false" }),
    el("i"),
  );
  const box = el("div", { class: "zoom-box" }, whole);
  Object.assign(box.style, { width: `${wide * fit}px`, height: `${high * fit}px` });
  Object.assign(whole.style, {
    width: `${picture.width * fit}px`,
    height: `${picture.height * fit}px`,
    left: `${-crop[0] * picture.width * fit}px`,
    top: `${-crop[1] * picture.height * fit}px`,
  });
  drawCrop(whole.lastChild, picture);
  if (zoom.cut) whole.lastChild.hidden = true;
  stage.replaceChildren(box);
  $(".zoom-name", room.root).textContent = `${picture.name} · ${room.at + 1} / ${room.shown.length}`;
  $(".zoom-cut", room.root).setAttribute("aria-pressed", String(zoom.cut));
  placeZoom();
}

function placeZoom() {
  const box = $(".zoom-box", room.root);
  if (box) box.style.transform = `translate(${zoom.x}px, ${zoom.y}px) scale(${zoom.scale})`;
}

function scaleZoom(by) {
  zoom.scale = Math.max(1, Math.min(12, zoom.scale * by));
  if (zoom.scale === 1) zoom.x = zoom.y = 0;
  placeZoom();
}

function wheelZoom(event) {
  event.preventDefault();
  scaleZoom(event.deltaY < 0 ? 1.2 : 1 / 1.2);
}

function dragZoom(event) {
  const stage = event.currentTarget;
  const start = { x: event.clientX - zoom.x, y: event.clientY - zoom.y };
  const move = (next) => {
    if (zoom.scale === 1) return;
    zoom.x = next.clientX - start.x;
    zoom.y = next.clientY - start.y;
    placeZoom();
  };
  stage.setPointerCapture(event.pointerId);
  stage.addEventListener("pointermove", move);
  stage.addEventListener("pointerup", () => stage.removeEventListener("pointermove", move), { once: true });
}

function cutZoom() {
  zoom.cut = !zoom.cut;
  paintZoom();
}

function stepZoom(by) {
  moveTo(room.at + by);
  Object.assign(zoom, { scale: 1, x: 0, y: 0 });
  paintZoom();
}

function zoomKeys(event) {
  const acts = {
    ArrowLeft: () => stepZoom(-1),
    ArrowRight: () => stepZoom(1),
    "+": () => scaleZoom(1.5),
    "-": () => scaleZoom(1 / 1.5),
    0: () => scaleZoom(1 / zoom.scale),
    c: cutZoom,
  };
  if (!acts[event.key]) return;
  event.preventDefault();
  acts[event.key]();
}
