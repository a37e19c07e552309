// What all parts of the page's script share: words, elements, the form's content, questions to the server.

const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
const cookie = (name) => (document.cookie.match(new RegExp(`(?:^|; )${name}=([^;]*)`)) || [])[1] || "";
const keepCookie = (name, value) => {
  document.cookie = `${name}=${value}; path=/; max-age=31536000; samesite=lax`;
};

const LANG = (cookie("ui_lang") || navigator.language || "en").toLowerCase().startsWith("ja") ? "ja" : "en";
document.documentElement.lang = LANG;

/** The id under which the server keeps this browser's draft. */
const BROWSER = cookie("atelier_browser") || [...crypto.getRandomValues(new Uint8Array(16))]
  .map((byte) => byte.toString(16).padStart(2, "0")).join("");
keepCookie("atelier_browser", BROWSER);

const page = {
  server: null, fields: null, keys: [], defaults: {}, values: {}, path: "", look: null,
  presets: [], job: null, focus: "", fresh: false, dataset: null, pending: {}, saved: "", run: null,
  carried: {}, report: null, offered: "", secrets: {},
};

/** A word of the page, filled; `_one` for a count of 1. */
function w(key, values = {}) {
  const name = values.count === 1 && `${key}_one` in WORDS[LANG] ? `${key}_one` : key;
  return together(WORDS[LANG][name].replace(/\{(\w+)\}/g, (_, part) => values[part]));
}

/** Japanese: a number and what it counts are not parted at the end of a line. */
function together(text) {
  return LANG === "ja" ? text.replace(/(約|\d) (?=\d|[分秒枚件回個層]|ステップ|エポック)/g, "$1\u00a0") : text;
}

/** An element: el("p", {class: "n", onclick: f}, "text", otherElement). Texts are never read as HTML. */
function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child != null && child !== ""));
  return element;
}

/** **bold** and `code` of our own texts as elements. */
function rich(text) {
  return together(String(text || "")).split(/(\*\*.+?\*\*|`[^`]+`)/g).filter(Boolean).map((part) =>
    part.startsWith("**") ? el("b", {}, part.slice(2, -2))
      : part.startsWith("`") ? el("code", {}, part.slice(1, -1)) : part);
}

function icon(name, small = false) {
  const holder = document.createElement("div");
  holder.innerHTML = `<svg class="ic${small ? " s" : ""}" aria-hidden="true"><use href="#i-${name}"/></svg>`;
  return holder.firstChild;
}

/** The answer, or an error after `most` milliseconds: a server that went away may never answer. */
function patient(promise, most) {
  let bell;
  const late = new Promise((_, reject) => { bell = setTimeout(() => reject(new Error("late")), most); });
  return Promise.race([promise, late]).finally(() => clearTimeout(bell));
}

/** Ask the server (app/answers.py). Answers with {error} are shown and come back as null. */
async function ask(name, request = {}) {
  let answer;
  try {
    answer = await patient(page.server[name]({ lang: LANG, browser: BROWSER, ...request }), 60_000);
  } catch {
    toast(w("failed"), { bad: true });
    return null;
  }
  if (answer && answer.error) {
    toast([answer.error.what, answer.error.why, answer.error.fix].filter(Boolean).join(" "), { bad: true });
    return null;
  }
  return answer;
}

/** A line that goes away; with `undo` it has a button. */
function toast(text, { bad = false, undo = null } = {}) {
  $("#la-toast")?.remove();
  const box = el("div", { id: "la-toast", role: bad ? "alert" : "status", class: bad ? "bad" : "" }, el("span", {}, rich(text)));
  if (undo) box.append(el("button", { type: "button", class: "btn q2 s", onclick: () => { box.remove(); undo(); } }, w("undo")));
  box.append(el("button", { type: "button", class: "ib", "aria-label": w("close"), onclick: () => box.remove() }, icon("x", true)));
  document.body.append(box);
  setTimeout(() => box.remove(), undo || bad ? 12000 : 5000);
}

/** Resolves with the first element of this selector that is shown, or null after three seconds. */
function shown(selector) {
  return new Promise((resolve) => {
    const until = performance.now() + 3000;
    const look = () => {
      const found = $(selector);
      if (found && found.offsetParent !== null) resolve(found);
      else if (performance.now() > until) resolve(null);
      else requestAnimationFrame(look);
    };
    look();
  });
}

/** Resolves when an element of this selector exists. */
async function present(selector) {
  while (!$(selector)) await new Promise((resolve) => setTimeout(resolve, 20));
}

// --- the form's content -------------------------------------------------------------------------------

let listenTimer = 0;
/** Something may have been typed or chosen that Gradio does not tell: ask for all values. */
function listen() {
  clearTimeout(listenTimer);
  listenTimer = setTimeout(() => $("#la-listen")?.click(), 90);
}

/** Gradio hands over all values at every input. */
function heard(keys, values) {
  clearTimeout(listenTimer);
  if (!page.fields) return;
  const before = page.values;
  // What was just written by `write` may not have reached Gradio's own state yet.
  page.values = Object.fromEntries(keys.map((key, place) => [key, values[place]]));
  for (const [key, { old, value }] of Object.entries(page.pending)) {
    if (page.values[key] === old) page.values[key] = value;
    else delete page.pending[key];
  }
  if (keys.every((key) => before[key] === page.values[key])) return;
  if (before.model_list !== page.values.model_list) picked();
  else if (before.pretrained_model_name_or_path !== page.values.pretrained_model_name_or_path) named();
  touched();
}

/** "Model Quick Pick" fills the path; a path of one's own makes it "custom". */
function picked() {
  const name = page.values.model_list;
  if (name && name !== "custom") write({ pretrained_model_name_or_path: name });
}
function named() {
  const { model_list: pick, pretrained_model_name_or_path: name } = page.values;
  if (pick && pick !== "custom" && pick !== name) write({ model_list: "custom" });
}

/** Change some widgets, all in one update. */
function write(changes) {
  for (const [key, value] of Object.entries(changes)) page.pending[key] = { old: page.values[key], value };
  Object.assign(page.values, changes);
  $("#la-apply").click();
  touched(0);
}
function written(keys) {
  clearTimeout(writtenTimer);
  writtenTimer = setTimeout(() => { page.pending = {}; }, 600);
  return keys.map((key) => page.values[key]);
}
let writtenTimer = 0;

/** Change widgets so that it can be undone; `also` takes back what is not in a widget. */
function writeUndoable(changes, text, also = () => {}) {
  const before = Object.fromEntries(Object.keys(changes).map((key) => [key, page.values[key]]));
  write(changes);
  toast(text, { undo: () => { also(); write(before); } });
}

let lookTimer = 0;
let lookNumber = 0;
/** Something changed: look at the form after a short rest. */
function touched(rest = 180) {
  clearTimeout(lookTimer);
  lookTimer = setTimeout(lookNow, rest);
}

/** Marks, problems and plan of the form; the server keeps the form as this browser's draft. */
async function askLook() {
  const { values, path, carried, offered, report } = page;
  const answer = await ask("look", { values, path, carried, offered, ...(report === reportKept ? {} : { report }) });
  if (answer) reportKept = report;
  return answer;
}
let reportKept = null;
/** The report that the draft holds already: it is large and seldom changes. */
const reportRead = (report) => { page.report = reportKept = report; };

async function lookNow() {
  const number = ++lookNumber;
  const answer = await askLook();
  if (!answer || number !== lookNumber) return;
  page.look = answer;
  paint();
}

/** Everything that follows from the last look. */
function paint() {
  if (!page.look) return;
  for (const part of [paintFields, paintTabs, paintRail, paintBar, paintPlan, paintUnet]) {
    try { part(); } catch (error) { console.error(error); }
  }
}
