// The form's content: what was typed, what is written into the widgets, and the look at it.

let listenTimer = 0;
/** Something may have been typed or chosen that Gradio does not tell: ask for all values. */
function listen() {
  clearTimeout(listenTimer);
  listenTimer = setTimeout(() => $("#la-listen")?.click(), 90);
}

/** Gradio hands over all values at every input; what `write` wrote may not have reached its own state yet. */
function heard(keys, values) {
  clearTimeout(listenTimer);
  page.unheard = false;
  if (!page.fields) return;
  const before = page.values;
  page.values = Object.fromEntries(keys.map((key, place) => [key, values[place]]));
  for (const [key, { stale, value }] of Object.entries(page.pending)) {
    if (stale.has(page.values[key])) page.values[key] = value;
    else delete page.pending[key];
  }
  if (keys.every((key) => before[key] === page.values[key])) return;
  if (before.model_list !== page.values.model_list) picked();
  else if (before.pretrained_model_name_or_path !== page.values.pretrained_model_name_or_path) named();
  touched();
}

/** Something happened in a field; where a person typed or chose, what was written before counts no more. */
function touchedField(event) {
  const field = event.target.closest?.(".la-field, [role=option], [role=listbox]");
  if (!field) return;
  const typed =
    ["input", "change"].includes(event.type) || event.key === "Enter" || event.target.closest("[role=option]");
  if (typed) delete page.pending[field.closest(".la-field")?.id.slice(2)];
  page.unheard = true;
  if (event.type === "input") whileTyping(field.id.slice(2));
  listen();
}

let typingTimer = 0;
/** What is half typed is not called wrong: the field's problems wait until one rests or goes on. */
function whileTyping(key) {
  page.typing = key;
  clearTimeout(typingTimer);
  typingTimer = setTimeout(doneTyping, 1800);
}
function doneTyping() {
  clearTimeout(typingTimer);
  if (!page.typing) return;
  page.typing = "";
  paint();
}
document.addEventListener("focusout", doneTyping);

/** "Model Quick Pick" fills the path; a path of one's own makes it "custom". */
function picked() {
  const name = page.values.model_list;
  if (!name || name === "custom") return;
  page.chosen = name;
  write({ pretrained_model_name_or_path: name });
}
function named() {
  const { model_list: pick, pretrained_model_name_or_path: name } = page.values;
  page.chosen = name;
  if (pick && pick !== "custom" && pick !== name) write({ model_list: "custom" });
}

/** A base model that was just chosen says what it is: the switches follow. What was loaded stays as it is. */
function followModel() {
  const told = page.look.model;
  if (!told || told.name !== page.chosen || page.unheard) return; // what is being typed is not written over
  page.chosen = "";
  if (!Object.keys(told.changes).length) return;
  const { offer } = told;
  const press = () => writeUndoable(offer.changes, w("fixed", { label: labelsOf(Object.keys(offer.changes)) }));
  const more = offer && { text: offer.text, press };
  writeUndoable(told.changes, told.text, { more });
}

/** Change some widgets, all in one update. A busy machine takes its time until Gradio's own state has them. */
function write(changes) {
  for (const [key, value] of Object.entries(changes)) {
    if (page.values[key] === value) continue;
    const stale = page.pending[key]?.stale ?? new Set();
    page.pending[key] = { stale: stale.add(page.values[key]), value };
  }
  Object.assign(page.values, changes);
  $("#la-apply").click();
  touched(0);
}
const written = (keys) => keys.map((key) => page.values[key]);

/** Change widgets so that it can be undone; `also` takes back what is not in a widget; `more` is the line's. */
function writeUndoable(changes, text, { also = () => {}, more = null } = {}) {
  const before = Object.fromEntries(Object.keys(changes).map((key) => [key, page.values[key]]));
  write(changes);
  toast(text, {
    more,
    undo: () => {
      also();
      write(before);
    },
  });
}

let lookTimer = 0;
let looking = false;
/** Counts the changes of the form. */
let formState = 0;
/** The one that was looked at last. */
let lookedAt = 0;
/** Counts the looks asked for. */
let looks = 0;
/** Something changed: look at the form after a short rest. */
function touched(after = 180) {
  formState += 1;
  clearTimeout(lookTimer);
  lookTimer = setTimeout(lookNow, after);
}

/** Marks, problems and plan of the form; the server merges the form into this browser's draft. */
async function askLook(of, number) {
  const { values, kept, version } = page;
  const sent = { ...values };
  const file = fileState();
  const changes = page.keys.filter((key) => sent[key] !== kept[key]);
  if (
    file.path !== page.keptFile.path ||
    file.offered !== page.keptFile.offered ||
    file.mark !== page.keptFile.mark ||
    file.report !== page.keptFile.report
  )
    changes.push("file");
  const { report, saved, ...others } = file;
  const news = report === page.keptFile.report ? {} : { report };
  const request = { values: sent, changes, tab: TAB, number, since: version, ...others, ...news };
  const answer = await question("look", request, 600_000);
  if (answer.overtaken) throw new Error("overtaken"); // a later one is on its way
  return { of, sent, file, answer };
}

/**
 * Look until a look is of what the form holds now: none may be lost, late or out of order.
 *
 * One is asked at a time. Where no answer comes the same is asked again, and whichever answer comes first counts:
 * a busy server is slow, and would never be done if what it is at work on were given up for asking anew.
 */
async function lookNow() {
  if (looking) return;
  looking = true;
  let asked = [];
  let of = -1;
  for (let tries = 0; lookedAt !== formState; tries += 1) {
    if (of !== formState) asked = [];
    of = formState;
    looks += 1;
    asked.push(askLook(of, looks));
    let wrong = "slow";
    const none = () => {
      wrong = "failed";
      return rest(Math.min(8000, 500 * 2 ** tries));
    };
    const look = await Promise.race([Promise.any(asked).catch(none), rest(Math.min(60_000, 15_000 * (tries + 1)))]);
    if (look) {
      tries = -1;
      lookedAt = look.of;
      heardLook(look);
    } else if (tries === 3) toast(w(wrong), { bad: wrong === "failed" });
  }
  looking = false;
}

/** Whether the last look is of what the form holds. */
const settled = () => Boolean(page.look) && lookedAt === formState && !looking;

/** An answer: it counts where it is of what the form holds now. */
function heardLook({ of, sent, file, answer }) {
  if (answer.error) return toast(sentence(answer.error), { bad: true });
  if (answer.draft) mergeDraft(answer.draft, sent, file);
  if (of !== formState && page.look) return;
  page.look = answer;
  paint();
  followModel();
}

/** Everything that follows from the last look. */
function paint() {
  if (!page.look) return;
  for (const part of [paintFields, paintTabs, paintRail, paintBar, paintPlan, paintUnet, paintConfig]) {
    try {
      part();
    } catch (error) {
      console.error(error);
    }
  }
}
