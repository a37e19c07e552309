// The page's state, questions to the server, and the line that tells what was done.

/** The id under which the server keeps this browser's draft. */
const BROWSER =
  cookie("atelier_browser") ||
  [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
keepCookie("atelier_browser", BROWSER);
/** This page among those of the browser that share the draft. */
const TAB = Math.random().toString(36).slice(2, 12);

const page = {
  server: null,
  fields: null,
  keys: [],
  defaults: {},
  values: {},
  /** What the draft holds: the form as this tab and the server last agreed on it, and its version. */
  kept: {},
  keptFile: {},
  version: 0,
  path: "",
  look: null,
  presets: [],
  focus: "",
  /** The field in which one types now. */
  typing: "",
  fresh: false,
  dataset: null,
  pending: {},
  saved: "",
  carried: {},
  report: null,
  offered: "",
  chosen: "",
  unheard: false,
  mark: "",
  secrets: {},
};

/** Milliseconds after which an answer is said to take long, and after which it is waited for no more. */
const SLOW = 10_000;
const PATIENCE = 60_000;

/** The server's answer to a question of app/answers; what went wrong there is {error}. Throws where none comes. */
async function question(name, request = {}, most = PATIENCE) {
  const answer = await patient(page.server[name]({ lang: LANG, browser: BROWSER, ...request }), most);
  if (!answer) throw new Error("no answer");
  return answer;
}

/** What is awaited; a line says it where that takes long. A busy machine is slow, and gone is another thing. */
async function saidIfSlow(promise) {
  let line = null;
  const bell = setTimeout(() => {
    line = toast(w("slow"), { stays: true });
  }, SLOW);
  try {
    return await promise;
  } finally {
    clearTimeout(bell);
    line?.remove();
  }
}

/** Why no answer came: it took too long, or nothing is there that answers; `cause`: there was one, in words. */
const whyNone = (error) => (error.cause ? error.message : w(error.message === "late" ? "late" : "failed"));

/** The same, errors shown as a line: they come back as null. */
async function ask(name, request = {}, most = PATIENCE) {
  let answer;
  try {
    answer = await saidIfSlow(question(name, request, most));
  } catch (error) {
    toast(whyNone(error), { bad: true });
    return null;
  }
  if (!answer.error) return answer;
  toast(sentence(answer.error), { bad: true });
  return null;
}

/** A line, given back, that goes away unless it `stays`; with `undo` it has a button, with `more` ({text, press})
 * one more. */
function toast(text, { bad = false, undo = null, more = null, stays = false } = {}) {
  $("#la-toast")?.remove();
  const box = el(
    "div",
    { id: "la-toast", role: bad ? "alert" : "status", class: bad ? "bad" : "" },
    el("span", {}, rich(text)),
  );
  const button = (label, press) => {
    const onclick = () => {
      box.remove();
      press();
    };
    box.append(el("button", { type: "button", class: "btn q2 s", onclick }, label));
  };
  if (more) button(more.text, more.press);
  if (undo) button(w("undo"), undo);
  box.append(
    el(
      "button",
      { type: "button", class: "ib", "aria-label": w("close"), onclick: () => box.remove() },
      icon("x", true),
    ),
  );
  ($("dialog[open]") ?? document.body).append(box); // what lies under an open dialog cannot be pressed
  if (!stays) setTimeout(() => box.remove(), undo || bad ? 12000 : 5000);
  return box;
}
