// The other language, in place: no reload, so that form, tab and scroll stay as they are.

/** The language in which the page stands. */
let spoken = LANG;

async function switchLanguage(code) {
  if (code === LANG) return;
  speak(code);
  const answer = await ask("start");
  if (LANG !== code) return; // another one was chosen meanwhile
  if (!answer) return speak(spoken); // the page keeps the words it has
  spoken = code;
  Object.assign(page, { fields: answer.fields, presets: answer.presets });
  inOtherWords();
}

/** All that stands in the page already, in the page's language. */
function inOtherWords() {
  const anchor = $$(".la-field").find((block) => block.getBoundingClientRect().top > 100);
  const top = anchor?.getBoundingClientRect().top;
  closePanel();
  for (const gone of $$("#la-sheet, #la-toast")) gone.remove();
  wordHeader();
  wordGradio();
  for (const block of $$(".la-field[data-dressed]"))
    wordField(block, block.id.slice(2), page.fields[block.id.slice(2)]);
  for (const option of $$("[data-words]")) delete option.dataset.words;
  for (const part of $$("#la-rail, #la-offer, .la-unet, .la-probs")) part.replaceChildren();
  for (const part of $$(".la-probs, #la-dataset")) delete part.dataset.shown;
  for (const blocks of $$(".la-unet")) delete blocks.dataset.family;
  dataAsked = "";
  paintOffer();
  paint();
  touched(0);
  askRun();
  jobsChanged();
  speakTools();
  if (anchor) window.scrollBy(0, anchor.getBoundingClientRect().top - top);
}

/** Gradio puts its tabs and fold-outs into the browser's language when the page is loaded, and then no more. */
function wordGradio() {
  const tabs = Object.keys(WORDS.en).filter((key) => key.startsWith("tab."));
  for (const button of $$("#tabs .tab-wrapper button")) {
    const said = button.textContent.trim();
    const key = tabs.find((tab) => Object.values(WORDS).some((words) => words[tab] === said));
    if (key) reword(button, w(key));
  }
  for (const fold of $$(".la-acc")) reword($(":scope > button > span", fold), w(`group.${fold.id.slice(2)}`));
}

function reword(element, text) {
  const node = [...element.childNodes].find((one) => one.nodeType === Node.TEXT_NODE && one.data.trim());
  if (node && text && node.data !== text) node.data = text;
}
