// A picture that is opened: what it says of how it was drawn, and the run that drew it.

/** A picture is no file of settings: say so, and offer the run where one of here has drawn it. */
async function isPicture(file) {
  const answer = await ask("run_of_sample", { text: await drawnBy(file) });
  if (!answer) return;
  const use = () => {
    closePanel();
    useJob(answer.job);
  };
  const values = { name: `**${answer.name}**`, step: answer.step };
  const about = answer.job ? (answer.step ? "picture_run" : "picture_tried") : "picture_made";
  openPanel(
    w("picture_title", { name: file.name }),
    el("p", answer.made ? {} : { class: "sub" }, rich(w(answer.made ? about : "picture_text", values))),
    answer.made ? el("pre", { tabindex: "0" }, answer.made) : null,
    acts(answer.job ? mainButton(w("picture_use"), use) : null, quietButton(w("close"), closePanel)),
  );
}

const PNG_MARK = 8; // bytes before the first chunk

/** The text "parameters" of a PNG, "" where there is none (www.w3.org/TR/png-3: tEXt, iTXt). */
async function drawnBy(file) {
  const data = new Uint8Array(await file.slice(0, 1 << 20).arrayBuffer());
  const view = new DataView(data.buffer);
  const said = (from, to, code) => new TextDecoder(code).decode(data.subarray(from, to));
  for (let at = PNG_MARK; at + 12 <= data.length; ) {
    const kind = said(at + 4, at + 8, "latin1");
    const start = at + 8;
    const end = start + view.getUint32(at);
    const text = start + "parameters\0".length;
    if (kind === "IDAT" || end > data.length) return "";
    if ((kind === "tEXt" || kind === "iTXt") && said(start, text, "latin1") === "parameters\0") {
      if (kind === "tEXt") return said(text, end, "latin1");
      // Two bytes say whether it is compressed (ours is not), then a language and a translated name.
      const language = data.indexOf(0, text + 2);
      const name = data.indexOf(0, language + 1);
      return data[text] ? "" : said(name + 1, end, "utf-8");
    }
    at = end + 4;
  }
  return "";
}
