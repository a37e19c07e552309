// Captions changed in the room: first only here, with undo; into the files when the person says so.

const MOST_CHANGES = 200;

/** Set captions by stem as one step that can be undone; one that is as in the file is no change. */
function change(captions, { join = "" } = {}) {
  const before = new Map();
  for (const [stem, caption] of captions) {
    before.set(stem, room.pending.get(stem));
    room.touched.add(stem);
    if (caption === room.byStem.get(stem)[0].caption) room.pending.delete(stem);
    else room.pending.set(stem, caption);
  }
  const last = room.undo[room.undo.length - 1];
  if (!join || last?.join !== join) room.undo.push({ before, join });
  keepPending();
}

function undoEdit() {
  const last = room.undo.pop();
  if (!last) return;
  for (const [stem, caption] of last.before) {
    if (caption === undefined || caption === room.byStem.get(stem)[0].caption) room.pending.delete(stem);
    else room.pending.set(stem, caption);
  }
  keepPending();
  document.activeElement?.closest?.(".room-caption")?.blur();
  tellPending().then(refreshRoom);
  refreshRoom();
}

/** Changes that are not written yet outlast the page, those of another tab on the same pictures too. */
function keepPending() {
  const others = (storedValue(roomKey()) ?? []).filter(([stem]) => !room.touched.has(stem));
  const mine = [...room.touched]
    .filter((stem) => room.pending.has(stem))
    .map((stem) => [stem, room.byStem.get(stem)[0].caption, room.pending.get(stem)]);
  const kept = [...others, ...mine];
  store(roomKey(), kept.length ? JSON.stringify(kept) : "");
}

/** Those whose file says what it said then come back. */
function bringPending() {
  const kept = storedValue(roomKey()) ?? [];
  const captions = new Map(room.pictures.map((picture) => [picture.stem, picture.caption]));
  const here = kept.filter(([stem, before]) => captions.get(stem) === before);
  for (const [stem, , after] of here) room.pending.set(stem, after);
  for (const [stem, before] of kept) if (captions.get(stem) !== before) room.touched.add(stem); // forgotten
  const lost = kept.length - here.length;
  if (lost) toast(w("room.lost", { count: lost }), { bad: true });
  if (room.pending.size) tellPending().then(refreshRoom);
}

/** Ask for tokens and unknown words of captions that were not in the files. */
async function tellPending() {
  const unknown = [...new Set(room.pending.values())].filter((caption) => caption && !room.told.has(caption));
  if (!unknown.length) return;
  const answer = await ask("room_tell", { captions: unknown, limit: room.data.limit });
  for (const [place, told] of (answer?.told ?? []).entries()) room.told.set(unknown[place], told);
}

// --- one caption ----------------------------------------------------------------------------------------

let tellTimer = 0;
function captionBox(picture) {
  const text = el("textarea", {
    class: "room-in room-caption",
    rows: "5",
    spellcheck: "false",
    "data-place": picture.place,
    "aria-label": w("room.caption"),
    "aria-describedby": "room-told",
    placeholder: w("room.without", { words: room.data.folders[picture.folder].words || "–" }),
  });
  text.value = captionOf(picture);
  text.addEventListener("input", () => {
    const caption = picture.lines ? text.value : text.value.replace(/\s*\n\s*/g, " ");
    change([[picture.stem, caption.trim()]], { join: `typed ${picture.stem}` });
    clearTimeout(tellTimer);
    tellTimer = setTimeout(async () => {
      await tellPending();
      if (!room.root) return;
      room.marks[picture.place] = marksOf(picture);
      paintTold();
      paintList();
    }, 250);
    room.marks[picture.place] = marksOf(picture);
    paintList();
    paintFoot();
  });
  text.addEventListener("blur", (event) => {
    const last = room.undo[room.undo.length - 1];
    if (last) last.join = "";
    const side = room.root && $(".room-side", room.root);
    if (side && !side.contains(event.relatedTarget)) paintSide(); // or the button that is being pressed would go
  });
  return el(
    "section",
    { class: "room-part" },
    el("h3", {}, w("room.caption"), el("small", { class: "room-tokens" })),
    text,
    el("div", { id: "room-told" }),
    el(
      "p",
      { class: "sub sm room-hint" },
      el("span", { class: "no-touch" }, `${w("room.caption_keys")} `),
      w("room.caption_kept"),
    ),
  );
}

/** Tokens of the caption, what is cut off, and words that CLIP hardly knows. */
function paintTold() {
  const place = $("#room-told", room.root);
  const picture = current();
  if (!place || !picture) return;
  const caption = captionOf(picture);
  const told = room.told.get(caption);
  const count = caption ? (told ? `${told.tokens} / ${room.data.limit}` : "…") : "";
  set($(".room-tokens", room.root), count && w("room.tokens", { count }));
  const words = Object.entries(told?.words ?? {});
  place.replaceChildren(
    told?.cut
      ? el("p", { class: "room-cut", tabindex: "0" }, el("b", {}, w("room.cut_off")), " ", el("s", {}, told.cut))
      : "",
    words.length
      ? el(
          "p",
          { class: "room-unknown sm" },
          el("b", {}, w("room.unknown")),
          " ",
          words.map(([word, pieces]) => w("room.pieces", { word, count: pieces })).join(comma()),
          ` ${w("room.unknown_why")}`,
        )
      : "",
  );
}

// --- many captions --------------------------------------------------------------------------------------

const BULK = {
  add: { tags: true, front: true },
  remove: { tags: true },
  replace: { tags: true, by: true },
  front: { tags: true },
  sort: { keep: true },
  once: {},
  text: { tags: true, by: true },
};

function bulkParts() {
  const pictures = chosenPictures().filter((picture) => !picture.unreadable && picture.stamp);
  const what = el(
    "select",
    { class: "room-in", name: "do", "aria-label": w("room.bulk_what") },
    Object.keys(BULK).map((name) => el("option", { value: name }, w(`room.bulk.${name}`))),
  );
  what.value = room.bulk;
  const named = el("input", { class: "room-in", name: "tags", list: "room-taglist", placeholder: w("room.bulk_tags") });
  const by = el("input", { class: "room-in", name: "by", placeholder: w("room.bulk_by") });
  const front = el(
    "label",
    { class: "room-check" },
    el("input", { type: "checkbox", name: "front" }),
    w("room.bulk_front"),
  );
  const keep = el(
    "label",
    { class: "room-field" },
    el("span", {}, w("room.bulk_keep")),
    el("input", { class: "room-in", name: "keep", inputmode: "numeric", value: page.values.keep_tokens || 1 }),
  );
  const form = el(
    "form",
    { class: "room-bulk" },
    what,
    named,
    by,
    front,
    keep,
    el("button", { class: "btn p" }, w("room.bulk_do")),
    el("p", { class: "sub sm", role: "status", id: "room-bulk-said" }, room.bulkSaid),
    el(
      "datalist",
      { id: "room-taglist" },
      tagCounts()
        .slice(0, 200)
        .map(({ tag }) => el("option", { value: tag })),
    ),
  );
  const fit = () => {
    room.bulk = what.value;
    const parts = BULK[what.value];
    named.hidden = !parts.tags;
    by.hidden = !parts.by;
    front.hidden = !parts.front;
    keep.hidden = !parts.keep;
    named.setAttribute("aria-label", w(what.value === "text" ? "room.bulk_text" : "room.bulk_tags"));
    named.placeholder = named.getAttribute("aria-label");
    by.setAttribute("aria-label", w("room.bulk_by"));
  };
  what.addEventListener("change", fit);
  fit();
  if (room.tag && ["remove", "replace", "front"].includes(what.value)) named.value = room.tag;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    bulk(pictures, {
      do: what.value,
      tags: named.value,
      by: by.value,
      front: form.elements.front.checked,
      keep: Number(form.elements.keep.value.normalize("NFKC")) || 0,
    });
  });
  room.bulkSaid = "";
  return [el("h3", {}, w("room.chosen", { count: room.chosen.size })), form];
}

async function bulk(pictures, wish) {
  const stems = new Map(pictures.map((picture) => [picture.stem, captionOf(picture)]));
  const answer = await ask("room_edit", { captions: [...stems.values()], wish, separator: room.data.separator });
  if (!answer || !room.root) return;
  const changed = [...stems].map(([stem, before], place) => [stem, answer.captions[place], before]);
  const typed = ([stem, , before]) => captionOf(room.byStem.get(stem)[0]) !== before; // meanwhile
  const really = changed.filter((one) => one[1] !== one[2] && !typed(one));
  if (really.length) change(really.map(([stem, after]) => [stem, after]));
  room.bulkSaid = w("room.bulk_done", { count: really.length, total: number(stems.size) });
  await tellPending();
  refreshRoom();
}

// --- before and after -------------------------------------------------------------------------------------

/** Captions from elsewhere, as changes to look at: [{path, caption}]. The room opens where it is not. */
async function proposeCaptions(proposed) {
  if (!room.root) {
    await openRoom();
    if (!room.root) return;
  }
  const stems = new Map(room.pictures.map((picture) => [pathOf(picture), picture.stem]));
  const known = proposed.filter(({ path }) => stems.has(path));
  change(known.map(({ path, caption }) => [stems.get(path), caption]));
  room.view = "changes";
  refreshRoom();
  await tellPending();
  refreshRoom();
  if (!room.pending.size) toast(w("tools_not_in_room"), { bad: true });
}

const changedPictures = () => {
  const seen = new Set();
  return room.pictures.filter(
    (picture) => room.pending.has(picture.stem) && !seen.has(picture.stem) && seen.add(picture.stem),
  );
};

function paintFoot() {
  const foot = $(".room-foot", room.root);
  const count = changedPictures().length;
  foot.hidden = !count && !room.undo.length;
  foot.replaceChildren(
    el("span", { role: "status" }, count ? w("room.pending", { count }) : ""),
    el(
      "button",
      { type: "button", class: "btn q2", disabled: !room.undo.length, onclick: undoEdit },
      icon("reset", true),
      w("undo"),
    ),
    count && room.view === "pictures"
      ? el(
          "button",
          {
            type: "button",
            class: "btn p",
            onclick: () => {
              room.view = "changes";
              room.root.classList.remove("open");
              paintRoom();
            },
          },
          w("room.look_at"),
        )
      : "",
  );
}

function changesHead() {
  const count = changedPictures().length;
  const back = el(
    "button",
    {
      type: "button",
      class: "btn q2",
      onclick: () => {
        room.view = "pictures";
        paintRoom();
      },
    },
    icon("left", true),
    w("room.back_to_pictures"),
  );
  return el(
    "div",
    { class: "room-changes-head" },
    back,
    el("p", {}, rich(w("room.changes_about", { count, ending: room.data.ending }))),
    el("button", { type: "button", class: "btn q2", disabled: !count, onclick: discard }, w("room.discard")),
    el(
      "button",
      { type: "button", class: "btn p room-write", disabled: !count, onclick: writeCaptions },
      w("room.write", { count }),
    ),
  );
}

function paintChanges() {
  const pictures = changedPictures();
  const most = room.mostChanges ?? MOST_CHANGES;
  $(".room-changes", room.root).replaceChildren(
    ...(pictures.length ? pictures.slice(0, most).map(changeRow) : [el("p", { class: "sub" }, w("room.no_changes"))]),
    pictures.length > most
      ? el(
          "button",
          {
            type: "button",
            class: "btn",
            onclick: () => {
              room.mostChanges = most + MOST_CHANGES;
              paintChanges();
            },
          },
          w("more", { count: number(pictures.length - most) }),
        )
      : "",
  );
}

function changeRow(picture) {
  const after = room.pending.get(picture.stem);
  const cut = room.told.get(after)?.cut;
  return el(
    "article",
    { class: "room-change", "aria-label": picture.name },
    el("img", { src: thumbOf(picture, 192), alt: "", loading: "lazy" }),
    el(
      "div",
      {},
      el("small", { class: "sub" }, w("room.before")),
      el("p", {}, difference(picture.caption, after, "del")),
    ),
    el(
      "div",
      {},
      el("small", { class: "sub" }, w("room.after"), " · ", picture.name),
      el("p", {}, difference(after, picture.caption, "ins")),
      cut ? el("p", { class: "room-cut sm" }, el("b", {}, w("room.cut_off")), " ", el("s", {}, cut)) : "",
    ),
    iconButton("reset", w("room.take_back", { name: picture.name }), () => {
      change([[picture.stem, picture.caption]]);
      refreshRoom();
    }),
  );
}

/** The tags of a caption, those that the other lacks marked. */
function difference(caption, other, tag) {
  if (!caption) return el("em", { class: "sub" }, w("room.no_file"));
  const has = new Set(tagsOf(other));
  const separator = room.data.separator;
  return caption
    .split("\n")
    .flatMap((line, at) => [
      at ? el("br") : "",
      ...line
        .split(separator)
        .flatMap((part, place) => [place ? separator : "", has.has(part.trim()) ? part : el(tag, {}, part)]),
    ]);
}

function discard() {
  change(changedPictures().map((picture) => [picture.stem, picture.caption]));
  room.view = "pictures";
  refreshRoom();
  toast(w("room.discarded"), { undo: undoEdit });
}

const writeCaptions = onePress(async () => {
  const pictures = changedPictures();
  const changes = pictures.map((picture) => ({
    path: pathOf(picture),
    before: picture.caption,
    after: room.pending.get(picture.stem),
  }));
  const { root } = room;
  const written = pictures.map((picture) => [picture.stem, room.pending.get(picture.stem)]);
  const button = $(".room-write", root);
  button.disabled = true;
  const answer = await ask("room_write", { values: page.values, changes }, 300_000);
  button.disabled = false;
  if (!answer || room.root !== root) return;
  for (const [stem, caption] of written) nowInFile(stem, caption);
  if (!room.pending.size) room.undo = [];
  room.copies = answer.copies;
  room.view = "pictures";
  keepPending();
  refreshRoom();
  touched(0);
  dataAsked = "";
  toast(w("room.written", { count: answer.count }), { undo: answer.copy && (() => restore(answer.copy)) });
});

/** A caption was written. What was changed while it was on its way stays a change. */
function nowInFile(stem, caption) {
  const [first, ...others] = room.byStem.get(stem);
  room.touched.add(stem);
  const shown = captionOf(first);
  for (const picture of [first, ...others]) picture.caption = caption;
  if (shown === caption) room.pending.delete(stem);
  else room.pending.set(stem, shown);
}

// --- what stood there before ------------------------------------------------------------------------------

function copiesBox() {
  if (!room.copies.length) return "";
  return el(
    "section",
    { class: "room-part" },
    el("h3", {}, w("room.copies")),
    el(
      "ul",
      { class: "room-copies" },
      room.copies
        .slice(0, 12)
        .map((copy) =>
          el(
            "li",
            {},
            el(
              "span",
              { class: "sm" },
              new Date(copy.time * 1000).toLocaleString(LANG === "ja" ? "ja-JP" : "en-GB"),
              " · ",
              w("room.files", { count: copy.count }),
              copy.finished ? "" : ` · ${w("room.unfinished")}`,
            ),
            el("button", { type: "button", class: "btn q2 s", onclick: () => restore(copy.copy) }, w("room.restore")),
          ),
        ),
    ),
  );
}

const restore = onePress(async (copy) => {
  const answer = await ask("room_restore", { values: page.values, copy }, 300_000);
  if (!answer) return;
  dataAsked = "";
  touched(0);
  if (room.root) await reopenRoom();
  toast(w("room.restored", { count: answer.count }));
});
