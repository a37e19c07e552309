// What every part of the page's script uses: elements, icons, words, numbers, waiting. It knows nothing of the page.

const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
const SVG = "http://www.w3.org/2000/svg";
const cookie = (name) => (document.cookie.match(new RegExp(`(?:^|; )${name}=([^;]*)`)) || [])[1] || "";
const keepCookie = (name, value) => {
  // biome-ignore lint/suspicious/noDocumentCookie: not every browser has the Cookie Store
  document.cookie = `${name}=${value}; path=/; max-age=31536000; samesite=lax`;
};

/** What this browser keeps between visits; some allow none. */
function stored(name, where = localStorage) {
  try {
    return where.getItem(`atelier_${name}`) || "";
  } catch {
    return "";
  }
}
/** The same as a value; null where there is none. */
function storedValue(name, where = localStorage) {
  try {
    return JSON.parse(stored(name, where));
  } catch {
    return null;
  }
}
/** Keep a text; a blank one is forgotten. */
function store(name, value, where = localStorage) {
  try {
    if (value) where.setItem(`atelier_${name}`, value);
    else where.removeItem(`atelier_${name}`);
  } catch {
    /* then it is not kept */
  }
}

// --- words --------------------------------------------------------------------------------------------

let LANG = (cookie("ui_lang") || navigator.language || "en").toLowerCase().startsWith("ja") ? "ja" : "en";
document.documentElement.lang = LANG;

/** From now on in this language; what stands in the page already is put into it by `inOtherWords`. */
function speak(code) {
  LANG = code;
  document.documentElement.lang = code;
  keepCookie("ui_lang", code);
}

/** A word of the page, filled; `_one` for a count of 1, "" for one that is not there. */
function w(key, values = {}) {
  const name = values.count === 1 && `${key}_one` in WORDS[LANG] ? `${key}_one` : key;
  return together((WORDS[LANG][name] ?? "").replace(/\{(\w+)\}/g, (_, part) => values[part] ?? ""));
}

/** A number and its unit, in Japanese also what it counts, are not parted at the end of a line. */
function together(text) {
  const whole = text.replace(/(\d) (?=[kMGT]?B(?![A-Za-z]))/g, "$1\u00a0");
  return LANG === "ja"
    ? whole.replace(/(約|から|\d) (?=\d|[%分秒枚件回個層倍]|ビット|ステップ|エポック)/g, "$1\u00a0")
    : whole;
}

const comma = () => (LANG === "ja" ? "、" : ", ");
const colon = () => (LANG === "ja" ? "：" : ": ");
/** Sentences one after the other; blank ones are left out. */
const sentences = (...parts) => parts.filter(Boolean).join(LANG === "ja" ? "" : " ");
/** An error of the server in words. */
const sentence = (error) => sentences(error.what, error.why, error.fix);

// --- elements -----------------------------------------------------------------------------------------

/** An element: el("p", {class: "n", onclick: f}, "text", otherElement). Texts are never read as HTML. */
function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child != null && child !== false && child !== ""));
  return element;
}

/** Finds the words of Japanese where the browser cannot keep them whole by `word-break: auto-phrase`. */
const WORD_FINDER =
  !CSS.supports("word-break", "auto-phrase") && Intl.Segmenter
    ? new Intl.Segmenter("ja", { granularity: "word" })
    : null;
/** Particles, endings and signs: no line begins with them. */
const NO_BEGINNING = /^(?:[\u3041-\u3096ー]{1,3}|[\s\p{P}\p{S}]+)$/u;
const NO_END = /[（「『“(\s]$/u;

/** A text whose lines break between its words. */
function unbroken(text) {
  if (LANG !== "ja" || !WORD_FINDER) return text;
  const words = [...WORD_FINDER.segment(text)].map((one) => one.segment);
  const breaks = (at) => at && !NO_BEGINNING.test(words[at]) && !NO_END.test(words[at - 1]);
  return el(
    "span",
    { class: "la-whole" },
    words.map((word, at) => [breaks(at) ? el("wbr") : "", word]),
  );
}

/** **bold** and `code` of our own texts as elements. */
function rich(text) {
  const bold = (part) => (part.startsWith("**") ? el("b", {}, unbroken(part.slice(2, -2))) : unbroken(part));
  const piece = (part) => (part.startsWith("`") ? el("code", {}, part.slice(1, -1)) : bold(part));
  return together(String(text || ""))
    .split(/(\*\*.+?\*\*|`[^`]+`)/g)
    .filter(Boolean)
    .map(piece);
}

/** A symbol of icons.svg. */
function icon(name, small = false) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", small ? "ic s" : "ic");
  svg.setAttribute("aria-hidden", "true");
  svg.append(document.createElementNS(SVG, "use"));
  svg.firstChild.setAttribute("href", `#i-${name}`);
  return svg;
}

const iconButton = (name, label, onclick) =>
  el("button", { class: "ib", type: "button", "aria-label": label, title: label, onclick }, icon(name));

/** Fetches a file; `named` is its name on disk, blank where the answer says it. */
const downloadLink = (href, name, named = "") =>
  el(
    "a",
    { class: "ib", href, download: named, "aria-label": w("download_file", { name }), title: w("download") },
    icon("down"),
  );

/** Text in place: no elements come or go, so nobody who watches the page's tree is woken. */
function set(element, text) {
  const alone = element.childNodes.length === 1 && element.firstChild.nodeType === Node.TEXT_NODE;
  if (alone) {
    if (element.firstChild.nodeValue !== String(text)) element.firstChild.nodeValue = text;
  } else if (element.textContent !== String(text)) element.textContent = text;
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

const rest = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** A press while the last one is still at work counts for nothing: a double click is one press. */
function onePress(work) {
  let atWork = false;
  return async (...given) => {
    if (atWork) return;
    atWork = true;
    try {
      await work(...given);
    } finally {
      atWork = false;
    }
  };
}

/** Of several questions asked one after the other, only the answer to the last counts; null for the others. */
function onlyLast(ask) {
  let turn = 0;
  return async (...given) => {
    const mine = ++turn;
    const answer = await ask(...given);
    return mine === turn ? answer : null;
  };
}

/** Resolves when an element of this selector exists. */
async function present(selector) {
  while (!$(selector)) await rest(20);
}

/** The answer, or an error after `most` milliseconds: a server that went away may never answer. */
function patient(promise, most) {
  let bell;
  const late = new Promise((_, reject) => {
    bell = setTimeout(() => reject(new Error("late")), most);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(bell));
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = el("textarea", { style: "position:fixed;opacity:0" }, text);
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

/** The same by a button, which says for a moment that it is done. */
async function copyFrom(button, text) {
  await copyText(text);
  const label = $(".t", button) || button;
  const before = label.textContent;
  button.setAttribute("data-done", w("copied_short"));
  if (label !== button) label.textContent = w("copied_short");
  setTimeout(() => {
    button.removeAttribute("data-done");
    if (label !== button) label.textContent = before;
  }, 1500);
}

/** A file's bytes in Base64. */
const base64Of = (blob) =>
  new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.split(",")[1] ?? "");
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });

// --- paths of the computer on which the program runs --------------------------------------------------

const nameOf = (path) => path.replace(/^.*[\\/]/, "");
function pathIn(folder, name) {
  const between = folder.includes("\\") && !folder.includes("/") ? "\\" : "/";
  return folder.endsWith(between) ? folder + name : folder + between + name;
}

// --- numbers ------------------------------------------------------------------------------------------

const number = (value) => new Intl.NumberFormat("en").format(value);
const digits = (value, count) => +value.toPrecision(count);

/** A learning rate: 0, 0.01, 1e-4. */
function rate(value) {
  if (value === 0 || value >= 0.01) return String(digits(value, 3));
  const text = String(digits(value, 3));
  return text.includes("e") ? text : digits(value, 3).toExponential();
}

function bytes(count) {
  if (count >= 1e9) return together(`${(count / 1e9).toFixed(1)} GB`);
  return together(count >= 1e6 ? `${Math.round(count / 1e6)} MB` : `${Math.round(count / 1e3)} kB`);
}

/** 1:02:03. */
function clock(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const two = (part) => String(part).padStart(2, "0");
  const [hours, minutes, left] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return hours ? `${hours}:${two(minutes)}:${two(left)}` : `${minutes}:${two(left)}`;
}

/** 3 h 5 min, 17 min, 41 s. */
function span(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  if (hours) return `${hours} ${w("hour")} ${minutes} ${w("minute")}`;
  if (minutes >= 10) return `${minutes + (whole % 60 >= 30 ? 1 : 0)} ${w("minute")}`;
  return minutes ? `${minutes} ${w("minute")} ${whole % 60} ${w("second")}` : `${whole} ${w("second")}`;
}

/** 14:05, or 14:05:09. */
function time(seconds, full = false) {
  const parts = { hour: "2-digit", minute: "2-digit", ...(full ? { second: "2-digit" } : {}) };
  return new Date(seconds * 1000).toLocaleTimeString("en-GB", parts);
}

/** today 14:05, yesterday 14:05, 3 Nov. */
function when(seconds) {
  const day = new Date(seconds * 1000),
    today = new Date(),
    yesterday = new Date(Date.now() - 864e5),
    clock = time(seconds);
  if (day.toDateString() === today.toDateString()) return w("jobs_today", { time: clock });
  if (day.toDateString() === yesterday.toDateString()) return w("jobs_yesterday", { time: clock });
  return day.toLocaleDateString(LANG === "ja" ? "ja-JP" : "en-GB", {
    day: "numeric",
    month: "short",
    ...(day.getFullYear() === today.getFullYear() ? {} : { year: "numeric" }),
  });
}
