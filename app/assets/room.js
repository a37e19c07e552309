// The dataset room: every picture of the run, how it is cut, what it is learned with, and what is wrong with it.
// This file holds its state and its frame; room_list.js draws the pictures, room_side.js what stands beside them,
// room_edit.js changes captions.

const room = {
  root: null,
  data: null,
  pictures: [],
  byStem: new Map(),
  marks: [],
  shown: [],
  at: 0,
  from: 0,
  chosen: new Set(),
  filter: "all",
  tag: "",
  query: "",
  size: "m",
  view: "pictures",
  /** Whether a press on a picture adds it to the chosen ones. */
  picking: false,
  /** What was done last to many captions, and what came of it. */
  bulk: "add",
  bulkSaid: "",
  pending: new Map(),
  /** Whose captions were changed in this tab; of the others this browser may keep what another tab has changed. */
  touched: new Set(),
  undo: [],
  told: new Map(),
  alike: new Map(),
  equal: new Set(),
  study: null,
  copies: [],
};

const ROOM_FILTERS = [
  "all",
  "unreadable",
  "small",
  "no_caption",
  "long",
  "alike",
  "words",
  "others",
  "held_out",
  "changed",
];
const roomKey = () => `room:${room.data.folders.map((folder) => folder.path).join("|")}`;

/** The name without its ending: pictures that share it share a caption file. */
const stemOf = (picture) => `${picture.folder}/${picture.name.replace(/(.)\.[^.]*$/, "$1")}`;
const captionOf = (picture) => room.pending.get(picture.stem) ?? picture.caption;
const pathOf = (picture) => pathIn(room.data.folders[picture.folder].path, picture.name);
const thumbOf = (picture, side) =>
  `/live/thumb?path=${encodeURIComponent(pathOf(picture))}&side=${side}&stamp=${picture.stamp}`;

/** Open the room on the form's folders. */
async function openRoom() {
  const answer = await ask("room", { values: page.values }, 120_000);
  if (!answer) return;
  buildRoom();
  enterRoom(answer);
}

function enterRoom(answer) {
  room.data = answer.room;
  room.study = answer.study;
  room.copies = answer.copies;
  room.pictures = answer.room.pictures.map((picture, place) => {
    const full = { caption: "", fits: [], others: [], unreadable: "", stamp: "", ...picture, place };
    full.stem = stemOf(full);
    return full;
  });
  room.byStem = new Map();
  for (const picture of room.pictures)
    room.byStem.set(picture.stem, [...(room.byStem.get(picture.stem) ?? []), picture]);
  Object.assign(room, { at: 0, from: 0, filter: "all", tag: "", query: "", view: "pictures" });
  for (const kept of [room.chosen, room.pending, room.touched, room.told, room.alike, room.equal]) kept.clear();
  room.undo = [];
  bringPending();
  judgeRoom();
  paintRoom();
  $(".room-list", room.root).focus({ preventScroll: true });
  followStudy(answer.study);
}

/** The room's frame, once for each opening. */
function buildRoom() {
  room.root?.remove();
  const close = iconButton("x", w("close"), () => room.root.close());
  room.root = el(
    "dialog",
    { id: "la-room", "aria-labelledby": "room-title" },
    el(
      "div",
      { class: "room la-slot", "data-seen": "1" },
      el("header", { class: "room-head" }, el("h2", { id: "room-title" }), el("div", { class: "room-tools" }), close),
      el("aside", { class: "room-side", "aria-label": w("room.filters") }),
      el("div", { class: "room-main" }),
      el("aside", { class: "room-more", "aria-label": w("room.details") }),
      el("footer", { class: "room-foot" }),
    ),
  );
  room.root.addEventListener("keydown", roomKeys);
  room.root.addEventListener("cancel", leaveStep);
  room.root.addEventListener("close", closeRoom);
  document.body.append(room.root);
  buildMain();
  room.root.showModal();
}

function closeRoom() {
  question("room_leave", { study: room.study }).catch(() => {});
  room.root.remove();
  room.root = null;
  room.study = null;
}

/** Escape leaves one thing at a time: the large picture, the details on a phone, the choice, the room. */
function leaveStep(event) {
  const inner = $(".room-zoom", room.root);
  if (inner || room.chosen.size > 1 || room.root.classList.contains("open")) event.preventDefault();
  if (inner) closeZoom();
  else if (room.root.classList.contains("open")) room.root.classList.remove("open");
  else if (room.chosen.size > 1) choose([]);
}

/** What is wrong with each picture; what the filters count. */
function judgeRoom() {
  room.marks = room.pictures.map(marksOf);
  const query = room.query.trim().toLowerCase();
  room.shown = room.pictures
    .filter((picture) => {
      const caption = captionOf(picture);
      if (room.filter !== "all" && !room.marks[picture.place].has(room.filter)) return false;
      if (room.tag && !tagsOf(caption).some((tag) => plainTag(tag) === room.tag)) return false;
      return !query || `${picture.name}\n${caption}`.toLowerCase().includes(query);
    })
    .map((picture) => picture.place);
  if (room.filter === "alike") room.shown.sort((one, other) => groupOf(one) - groupOf(other) || one - other);
  room.at = Math.max(0, Math.min(room.at, room.shown.length - 1));
}
const groupOf = (place) => Math.min(...(room.alike.get(place) ?? [place]));

function marksOf(picture) {
  const caption = captionOf(picture);
  const told = room.told.get(caption);
  const has = {
    unreadable: picture.unreadable,
    small: picture.small,
    no_caption: !picture.unreadable && !caption && picture.stamp,
    long: told?.cut,
    alike: room.alike.has(picture.place),
    words: told?.words,
    others: picture.others.length,
    held_out: picture.held_out,
    changed: room.pending.has(picture.stem),
  };
  return new Set(Object.keys(has).filter((name) => has[name]));
}

const fitOf = (picture) => room.data.fits[picture.fits[0]];
/** How many times a picture is enlarged for its bucket. */
function enlarged(picture) {
  const fit = fitOf(picture);
  return fit ? fit.resized[0] / picture.width : 0;
}

/** The crop as shares of the picture: left, top, width, height. */
function cropOf(picture) {
  const fit = fitOf(picture);
  if (!fit) return null;
  const [wide, high] = fit.resized;
  return [fit.corner[0] / wide, fit.corner[1] / high, fit.bucket[0] / wide, fit.bucket[1] / high];
}

// --- what is found out in the background --------------------------------------------------------------

async function followStudy(study) {
  let captions = false;
  let seen = -1;
  await rest(700); // the pictures come first: the first question begins the study
  while (room.root && room.study === study) {
    const news = await question("room_news", { study, captions, seen }).catch(() => null);
    if (!room.root || room.study !== study || news?.gone) return;
    if (news && !news.error) {
      if (news.captions) for (const [place, told] of Object.entries(news.captions)) keepTold(+place, told);
      captions ||= !!news.captions;
      if (news.alike) keepAlike(news);
      const changed = news.captions || (news.alike && (news.done === news.total || news.done % 500 < 40));
      seen = news.done;
      $(".room-progress", room.root)?.replaceChildren(
        seen < news.total ? w("room.looking", { done: number(seen), total: number(news.total) }) : "",
      );
      if (changed) {
        judgeRoom();
        paintFilters();
        paintMain();
        // What is being typed at the right stays.
        if (room.chosen.size < 2 && !$(".room-more", room.root).contains(document.activeElement)) paintMore();
        else paintTold();
      }
      if (seen >= news.total && captions) return;
    }
    await rest(seen < 200 ? 300 : 1000);
  }
}

const keepTold = (place, told) => room.told.set(room.pictures[place].caption, told);

function keepAlike(news) {
  room.alike.clear();
  room.equal = new Set(news.equal.flat());
  for (const group of [...news.alike, ...news.equal])
    for (const place of group) room.alike.set(place, [...new Set([...(room.alike.get(place) ?? []), ...group])]);
  for (const place of news.unreadable) room.pictures[place].unreadable ||= "no_picture";
}

/** Draw everything anew, keeping the place. */
function refreshRoom() {
  judgeRoom();
  paintRoom();
}

function paintRoom() {
  if (!room.root) return;
  const count = room.pictures.length;
  $("#room-title", room.root).replaceChildren(
    el("span", {}, w("room.title")),
    el("small", {}, [room.data.name, w("room.count", { count })].filter(Boolean).join(" · ")),
  );
  paintSide();
  paintMain();
  paintMore();
  paintFoot();
}

// --- keys -----------------------------------------------------------------------------------------------

function roomKeys(event) {
  event.stopPropagation(); // "/" and others are the page's
  const typing = event.target.closest("input, textarea, select");
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z" && !typing) {
    event.preventDefault();
    undoEdit();
  } else if ($(".room-zoom", room.root)) zoomKeys(event);
  else if (event.target.closest(".room-list")) listKeys(event);
  else if (typing?.matches(".room-caption") && event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    moveTo(room.at + (event.shiftKey ? -1 : 1));
    $(".room-caption", room.root)?.focus();
  }
}

function listKeys(event) {
  const columns = listShape().columns;
  const page = columns * Math.max(1, Math.floor(listShape().height / listShape().row) - 1);
  const steps = {
    ArrowLeft: -1,
    ArrowRight: 1,
    ArrowUp: -columns,
    ArrowDown: columns,
    PageUp: -page,
    PageDown: page,
    Home: -room.at,
    End: room.shown.length - 1 - room.at,
  };
  if (event.key in steps && !event.altKey) moveTo(room.at + steps[event.key], event.shiftKey);
  else if (event.key === " ") toggle(room.at);
  else if (event.key === "a" && (event.ctrlKey || event.metaKey)) choose(room.shown);
  else if (event.key === "Enter") openZoom();
  else if (event.key === "F2" || event.key === "e") {
    room.root.classList.add("open");
    $(".room-caption", room.root)?.focus();
  } else return;
  event.preventDefault();
}

/** Go to a picture by its place among those shown; with `extend` all up to there are chosen. */
function moveTo(at, extend = false) {
  room.at = Math.max(0, Math.min(at, room.shown.length - 1));
  if (extend) {
    const [first, last] = [Math.min(room.from, room.at), Math.max(room.from, room.at)];
    room.chosen = new Set(room.shown.slice(first, last + 1));
  } else {
    room.from = room.at;
    room.chosen = new Set(room.shown.length ? [room.shown[room.at]] : []);
  }
  scrollToAt();
  paintList();
  paintMore();
}

function toggle(at) {
  const place = room.shown[at];
  room.at = room.from = at;
  if (!room.chosen.delete(place)) room.chosen.add(place);
  paintList();
  paintMore();
}

function choose(places) {
  room.chosen = new Set(places);
  paintList();
  paintMore();
}

const current = () => room.pictures[room.shown[room.at]];
const chosenPictures = () => [...room.chosen].sort((one, other) => one - other).map((place) => room.pictures[place]);
