// Beside the pictures: filters and tags at the left, the chosen picture at the right.

const MOST_TAGS = 400;
/** Reasons of a picture that cannot be read, as trainer/data/picture_files.py names them. */
const REASONS = ["empty", "no_picture", "truncated", "too_large", "missing", "no_access"];

/** The filters with their counts; what is found out in the background changes them often. */
function filterList() {
  const counts = Object.fromEntries(ROOM_FILTERS.map((name) => [name, 0]));
  counts.all = room.pictures.length;
  for (const marks of room.marks) for (const name of marks) counts[name] += 1;
  return el(
    "ul",
    { class: "room-filters" },
    ROOM_FILTERS.filter((name) => counts[name] || name === "all" || name === room.filter).map((name) =>
      el(
        "li",
        {},
        el(
          "button",
          {
            type: "button",
            "data-filter": name,
            "data-focus": `filter-${name}`,
            "aria-pressed": String(room.filter === name && !room.tag),
            title: w(`room.about.${name}`),
            onclick: () => setFilter({ filter: name, tag: "" }),
          },
          el("span", {}, w(`room.filter.${name}`)),
          el("b", {}, number(counts[name])),
        ),
      ),
    ),
  );
}

function paintSide() {
  const side = $(".room-side", room.root);
  const kept = {
    top: side.scrollTop,
    tag: $(".room-tag-find", side)?.value ?? "",
    focus: side.contains(document.activeElement),
  };
  const focus = kept.focus ? document.activeElement.dataset.focus : "";
  side.replaceChildren(
    filterList(),
    el("p", { class: "room-progress sub sm", role: "status" }),
    othersBox(),
    leftOut(),
    tagList(kept.tag),
    copiesBox(),
  );
  side.scrollTop = kept.top;
  if (focus) $(`[data-focus="${CSS.escape(focus)}"]`, side)?.focus({ preventScroll: true });
}

/** The filters alone: much quicker than all that stands below them. */
function paintFilters() {
  const old = $(".room-filters", room.root);
  const focus = old.contains(document.activeElement) ? document.activeElement.dataset.focus : "";
  old.replaceWith(filterList());
  if (focus) $(`[data-focus="${focus}"]`, room.root)?.focus({ preventScroll: true });
}

function setFilter(change) {
  Object.assign(room, change, { at: 0, from: 0, view: "pictures" });
  room.chosen.clear();
  judgeRoom();
  $(".room-list", room.root).scrollTop = 0;
  paintRoom();
}

/** Folders that are not read, and why. */
function leftOut() {
  const told = room.data.left_out.filter(([, reason, count]) => count || ["no_access", "missing"].includes(reason));
  if (!told.length) return "";
  return el(
    "details",
    { class: "room-note", open: window.innerWidth > 900 },
    el("summary", {}, w("room.left_out")),
    el(
      "ul",
      {},
      told
        .slice(0, 12)
        .map(([name, reason, count]) =>
          el("li", {}, `${name}: ${w(`room.reason.${reason}`)}`, count ? ` (${number(count)})` : ""),
        ),
    ),
  );
}

// --- captions in files of another ending --------------------------------------------------------------

/** Text files of other endings than Caption Extension, and the two ways out. */
function othersBox() {
  const endings = {};
  let without = 0;
  for (const picture of room.pictures)
    for (const ending of picture.others) {
      endings[ending] = (endings[ending] ?? 0) + 1;
      without += !picture.caption;
    }
  const [most] = Object.entries(endings).sort((one, other) => other[1] - one[1]);
  if (!most) return "";
  return el(
    "details",
    { class: "room-note", open: window.innerWidth > 900 },
    el("summary", {}, rich(w("room.others", { ending: most[0], count: most[1], own: room.data.ending }))),
    acts(
      el(
        "button",
        { type: "button", class: "btn s", onclick: () => useEnding(most[0]) },
        w("room.use_ending", { ending: most[0] }),
      ),
      without
        ? el(
            "button",
            { type: "button", class: "btn s", onclick: () => copyOthers(most[0]) },
            w("room.copy_ending", { own: room.data.ending }),
          )
        : null,
    ),
  );
}

function useEnding(ending) {
  const before = page.values.caption_extension;
  write({ caption_extension: ending });
  reopenRoom();
  const undo = () => {
    write({ caption_extension: before });
    reopenRoom();
  };
  toast(w("fixed", { label: labelsOf(["caption_extension"]) }), { undo });
}

/** The captions of the other files as changes to look at, for pictures that have none. */
async function copyOthers(ending) {
  const bare = room.pictures.filter((picture) => !picture.caption && picture.others.includes(ending));
  const answer = await ask("room_others", { values: page.values, ending });
  if (!answer) return;
  proposeCaptions(
    bare
      .filter((picture) => answer.captions[pathOf(picture)])
      .map((picture) => ({
        path: pathOf(picture),
        caption: answer.captions[pathOf(picture)],
      })),
  );
}

async function reopenRoom() {
  const answer = await ask("room", { values: page.values }, 120_000);
  if (answer && room.root) enterRoom(answer);
}

// --- tags -----------------------------------------------------------------------------------------------

const tagsOf = (caption) =>
  caption
    .split(/\n/)
    .flatMap((line) => line.split(room.data.separator))
    .map((tag) => tag.trim())
    .filter(Boolean);
/** As app/dataset/tags.py compares them. */
const plainTag = (tag) => tag.replaceAll("_", " ").toLowerCase().split(/\s+/).filter(Boolean).join(" ");

function tagCounts() {
  const counts = new Map();
  const plains = new Map(); // thousands of captions have the same few tags
  for (const picture of room.pictures)
    for (const tag of new Set(tagsOf(captionOf(picture)))) {
      const plain = plains.get(tag) ?? plainTag(tag);
      plains.set(tag, plain);
      const known = counts.get(plain);
      if (known) known.count += 1;
      else counts.set(plain, { tag, plain, count: 1 });
    }
  return [...counts.values()].sort((one, other) => other.count - one.count || one.tag.localeCompare(other.tag));
}

function tagList(find) {
  const all = tagCounts();
  const list = el("ul", { class: "room-tags" });
  const fill = (query) => {
    const wanted = plainTag(query);
    const found = all.filter(({ plain }) => plain.includes(wanted));
    list.replaceChildren(
      ...found.slice(0, MOST_TAGS).map(({ tag, plain, count }) =>
        el(
          "li",
          {},
          el(
            "button",
            {
              type: "button",
              "aria-pressed": String(room.tag === plain),
              "data-focus": `tag-${plain}`,
              onclick: () => setFilter({ tag: room.tag === plain ? "" : plain, filter: "all" }),
            },
            el("span", {}, tag),
            el("b", {}, number(count)),
          ),
        ),
      ),
      found.length > MOST_TAGS ? el("li", { class: "sub sm" }, w("more", { count: found.length - MOST_TAGS })) : "",
    );
  };
  const input = el("input", {
    class: "room-in room-tag-find",
    type: "search",
    value: find,
    placeholder: w("room.find_tag"),
    "aria-label": w("room.find_tag"),
    "data-focus": "tag-find",
  });
  input.addEventListener("input", () => fill(input.value));
  fill(find);
  return el(
    "section",
    { class: "room-part room-tagged" },
    el("h3", {}, w("room.tags"), el("small", {}, number(all.length))),
    input,
    list,
  );
}

// --- above the pictures ---------------------------------------------------------------------------------

function paintRoomBar() {
  const bar = $(".room-bar", room.root);
  if (room.view === "changes") return bar.replaceChildren(changesHead());
  const typed = $(".room-find", bar);
  const find =
    typed ??
    el("input", {
      class: "room-in room-find",
      type: "search",
      placeholder: w("room.find"),
      "aria-label": w("room.find"),
    });
  if (!typed)
    find.addEventListener("input", () => {
      room.query = find.value;
      Object.assign(room, { at: 0, from: 0 });
      judgeRoom();
      paintMain();
      paintMore();
    });
  if (find.value !== room.query) find.value = room.query;
  const sizes = el(
    "div",
    { class: "room-sizes", role: "group", "aria-label": w("room.sizes") },
    Object.keys(LIST_SIZES).map((size) =>
      el(
        "button",
        {
          type: "button",
          "aria-pressed": String(room.size === size),
          "aria-label": w(`room.size.${size}`),
          onclick: () => {
            room.size = size;
            paintMain();
            scrollToAt();
          },
        },
        el("i", { class: `size-${size}` }),
      ),
    ),
  );
  const told = el(
    "span",
    { class: "sub sm room-shown", role: "status" },
    room.shown.length === room.pictures.length ? "" : w("room.shown", { count: number(room.shown.length) }),
  );
  const pick = el(
    "button",
    {
      type: "button",
      class: "btn q2 s room-pick",
      "aria-pressed": String(room.picking),
      onclick: () => {
        room.picking = !room.picking;
        if (!room.picking) choose([]);
        paintRoomBar();
      },
    },
    w("room.pick"),
  );
  const all = el("button", { type: "button", class: "btn q2 s", onclick: () => choose(room.shown) }, w("room.all"));
  // The field stays where it is: moved, it would lose the focus of one who types in it.
  for (const part of [...bar.children]) if (part !== typed) part.remove();
  bar.append(...(typed ? [] : [find]), told, pick, all, sizes);
}

// --- the chosen picture -----------------------------------------------------------------------------------

function paintMore() {
  const more = $(".room-more", room.root);
  const caption = $(".room-caption", more);
  if (caption && document.activeElement === caption && caption.dataset.place === String(current()?.place))
    return paintTold();
  const edit = $(".room-edit", room.root);
  edit.hidden = room.chosen.size < 2;
  edit.textContent = w("room.edit_chosen", { count: room.chosen.size });
  const picture = edit.hidden ? current() : null; // several are changed together
  const parts = picture ? pictureParts(picture) : edit.hidden ? [] : bulkParts();
  more.replaceChildren(phoneBar(picture), ...parts);
  if (picture) paintTold();
}

/** Where the details cover the list: back to it, and from picture to picture. */
function phoneBar(picture) {
  const back = el(
    "button",
    { type: "button", class: "btn q2 s room-back", onclick: () => room.root.classList.remove("open") },
    icon("left", true),
    w("room.back"),
  );
  const step = (name, by, label) => {
    const button = iconButton(name, label, () => {
      moveTo(room.at + by);
      $(`.room-nav [aria-label="${CSS.escape(label)}"]`, room.root)?.focus(); // it is a new one
    });
    button.disabled = !(room.at + by in room.shown);
    return button;
  };
  if (!picture) return el("div", { class: "room-nav" }, back);
  return el(
    "div",
    { class: "room-nav" },
    back,
    el("span", { class: "num sub sm" }, `${number(room.at + 1)} / ${number(room.shown.length)}`),
    step("left", -1, w("room.previous")),
    step("right", 1, w("room.next")),
  );
}

function pictureParts(picture) {
  const whole = el("div", { class: "room-whole" }, el("img", { alt: picture.name, decoding: "async" }), el("i"));
  drawWhole(whole, picture, Math.min(320, window.innerWidth - 48));
  if (picture.stamp && !picture.unreadable) whole.firstChild.src = thumbOf(picture, 448);
  return [
    picture.stamp && !picture.unreadable
      ? el("button", { type: "button", class: "room-large", "aria-label": w("room.zoom"), onclick: openZoom }, whole)
      : "",
    el("h3", { class: "room-name" }, picture.name),
    el("p", { class: "sub sm" }, sizeWords(picture)),
    problemList(picture),
    picture.unreadable || !picture.stamp ? "" : captionBox(picture),
    alikeBox(picture),
    folderBox(room.data.folders[picture.folder]),
  ];
}

/** 1024 × 768 → 640 × 512, enlarged 1.4 times, 6 % cut off. */
function sizeWords(picture) {
  if (!picture.width) return "";
  const size = `${number(picture.width)} × ${number(picture.height)}`;
  if (!fitOf(picture)) return size;
  const buckets = picture.fits.map((fit) => room.data.fits[fit].bucket.join(" × ")).join(comma());
  const [, , wide, high] = cropOf(picture);
  const lost = Math.round(100 * (1 - wide * high));
  const parts = [`${size} → ${buckets}`];
  if (enlarged(picture) > 1.005) parts.push(w("room.enlarged", { times: digits(enlarged(picture), 2) }));
  if (lost)
    parts.push(w(room.data.folders[picture.folder].random_crop ? "room.cut_by_chance" : "room.cut", { percent: lost }));
  return parts.join(comma());
}

function problemList(picture) {
  const marks = room.marks[picture.place];
  const told = [];
  const say = (text, sign = "alert") =>
    told.push(el("li", { class: sign }, icon(sign, true), el("span", {}, rich(text))));
  if (!picture.stamp) say(w("room.outside"));
  if (picture.unreadable)
    say(w(`room.unreadable.${REASONS.includes(picture.unreadable) ? picture.unreadable : "no_picture"}`));
  if (marks.has("small")) say(w("room.about.small"));
  if (picture.others.length)
    say(w("room.others_here", { endings: picture.others.join(comma()), own: room.data.ending }));
  if (picture.held_out) say(w("room.held_out_here"), "info");
  return told.length ? el("ul", { class: "room-problems" }, told) : "";
}

function alikeBox(picture) {
  const others = (room.alike.get(picture.place) ?? []).filter((place) => place !== picture.place);
  if (!others.length) return "";
  const same = room.equal.has(picture.place);
  return el(
    "section",
    { class: "room-part" },
    el("h3", {}, w(same ? "room.equal" : "room.alike", { count: others.length })),
    el(
      "div",
      { class: "room-alike" },
      others.slice(0, 12).map((place) => {
        const other = room.pictures[place];
        return el(
          "button",
          {
            type: "button",
            title: other.name,
            "aria-label": w("room.go_to", { name: other.name }),
            onclick: () => goToPicture(place),
          },
          el("img", { src: thumbOf(other, 192), alt: "" }),
        );
      }),
    ),
  );
}

function goToPicture(place) {
  if (!room.shown.includes(place)) setFilter({ filter: "all", tag: "", query: "" });
  moveTo(room.shown.indexOf(place));
}

/** Repeats and class words of a folder, which can be changed without renaming it. */
function folderBox(folder) {
  const field = (name, label, value) =>
    el("label", { class: "room-field" }, el("span", {}, label), el("input", { class: "room-in", name, value }));
  const form = el(
    "form",
    { class: "room-folder" },
    field("repeats", w("room.repeats"), folder.repeats || ""),
    field("words", w("room.words"), folder.words),
    el("button", { class: "btn s" }, w("room.change")),
    el("p", { class: "sub sm", role: "status" }, w("room.folder_about")),
  );
  form.elements.repeats.inputMode = "numeric";
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    changeFolder(folder, Number(form.elements.repeats.value.normalize("NFKC")), form.elements.words.value);
  });
  return el(
    "section",
    { class: "room-part" },
    el("h3", {}, folder.is_reg ? w("room.folder_reg") : w("room.folder"), el("small", {}, folder.name)),
    form,
  );
}

async function changeFolder(folder, repeats, words) {
  const answer = await ask("room_folder", { values: page.values, folder: folder.path, repeats, words });
  if (!answer) return;
  const before = page.values.dataset_config;
  write(answer.changes);
  await reopenRoom();
  const undo = () => {
    write({ dataset_config: before });
    reopenRoom();
  };
  toast(w("room.folder_changed", { name: `**${folder.name}**` }), { undo });
}
