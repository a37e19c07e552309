// Tabs of one browser share one draft: what another tab has changed comes into this one, setting by setting.

const otherTabs = "BroadcastChannel" in window ? new BroadcastChannel("lora-atelier-draft") : null;
if (otherTabs)
  otherTabs.onmessage = ({ data }) => {
    if (page.fields && data > page.version) touched(0);
  };

/** The draft as `start` gives it. */
function startDraft(answer) {
  page.version = answer.version;
  page.kept = { ...answer.values };
  page.report = answer.report;
  page.keptFile = fileState();
}

/** What became of the form that was `sent`: others' changes come in, where both changed one it is said. */
function mergeDraft(draft, sent, file) {
  if (draft.version > page.version) otherTabs?.postMessage(draft.version);
  page.version = draft.version;
  page.kept = { ...sent, ...draft.taken };
  page.keptFile = file;
  if (draft.file) takeFile(draft.file);
  const news = Object.entries(draft.taken).filter(([key]) => page.values[key] === sent[key]);
  if (news.length)
    writeUndoable(Object.fromEntries(news), w("tab_taken", { labels: labelsOf(news.map(([key]) => key)) }));
  const both = Object.entries(draft.conflicts);
  if (!both.length) return;
  const [[key, theirs]] = both;
  const values = {
    labels: labelsOf(both.map(([one]) => one)),
    theirs: shortValue(theirs),
    mine: shortValue(sent[key]),
  };
  const text = both.length > 1 ? w("tab_conflicts", values) : w("tab_conflict", values);
  const more = {
    text: w(both.length > 1 ? "tab_take_all" : "tab_take", values),
    press: () => write(Object.fromEntries(both)),
  };
  toast(text, { stays: true, more });
}

/** Another tab has loaded a file. */
function takeFile(file) {
  keep({ ...file, saved: /\.json$/i.test(file.path || "") ? file.path : "" });
  page.keptFile = fileState();
}

/** The labels of some settings, for a sentence: the first three by name. */
function labelsOf(keys) {
  const labels = keys.slice(0, 3).map((key) => `**${page.fields[key].label}**`);
  return labels.join(comma()) + (keys.length > 3 ? ` ${w("more", { count: keys.length - 3 })}` : "");
}

/** A value in a sentence. */
function shortValue(value) {
  if (typeof value === "boolean") return w(value ? "on" : "off");
  const text = value === "" || value == null ? w("blank") : String(value);
  return text.length > 40 ? `…${text.slice(-38)}` : text;
}
