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
  listen();
}

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
  const labels = offer && Object.keys(offer.changes).map((key) => `**${page.fields[key].label}**`);
  const press = () => writeUndoable(offer.changes, w("fixed", { label: labels.join(comma()) }));
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
let lookStale = false;
let looking = false;
/** Something changed: look at the form after a short rest. */
function touched(after = 180) {
  lookStale = true;
  clearTimeout(lookTimer);
  lookTimer = setTimeout(lookNow, after);
}

/** Marks, problems and plan of the form; the server keeps the form as this browser's draft. */
async function askLook(most = 60_000) {
  const { values, path, carried, offered, report } = page;
  const news = report === reportKept ? {} : { report };
  const answer = await question("look", { values, path, carried, offered, ...news }, most);
  reportKept = report;
  return answer;
}
let reportKept = null;
/** The report that the draft holds already: it is large and seldom changes. */
const reportRead = (report) => {
  page.report = reportKept = report;
};

/** One look after the other until it is of what the form holds now: none may be lost, late or out of order. */
async function lookNow() {
  if (looking) return;
  looking = true;
  for (let lost = 0; lookStale; ) {
    lookStale = false;
    try {
      const answer = await askLook(Math.min(60_000, 20_000 * (lost + 1)));
      lost = 0;
      if (answer.error) toast(sentence(answer.error), { bad: true });
      else if (!lookStale) page.look = answer;
      if (!answer.error && !lookStale) {
        paint();
        followModel();
      }
    } catch {
      lost += 1;
      if (lost === 3) toast(w("failed"), { bad: true });
      lookStale = true;
      await rest(Math.min(8000, 500 * 2 ** lost));
    }
  }
  looking = false;
}

/** Everything that follows from the last look. */
function paint() {
  if (!page.look) return;
  for (const part of [paintFields, paintTabs, paintRail, paintBar, paintPlan, paintUnet]) {
    try {
      part();
    } catch (error) {
      console.error(error);
    }
  }
}
