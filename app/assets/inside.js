// A LoRA file explained: card and sheet. `server.explain`: see app/jobs/lora_card.py.
LA.inside ??= (words, root, server, job) => {
  const { h, icon, fill, patient } = LA;
  const w = (key, values) => fill(words[key], values || {});
  const ICON = { yes: 'check', limits: 'warn', no: 'x', base: 'cube' };
  const verdicts = (rows) => h('ul', { class: 'v' }, rows.map((row) => h('li', { class: row.verdict }, icon(ICON[row.verdict]), h('b', {}, row.name), h('span', {}, row.text))));
  const facts = (rows) => h('dl', { class: 'facts' }, rows.map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value))));
  const chips = (told) => {
    const classes = told.classes || [], captions = (told.captions || []).filter(([text]) => !classes.includes(text));
    if (!classes.length && !captions.length) return null;
    const chip = (text, count) => h('li', { title: count ? w('inside.times', { count }) : '' }, text, count ? h('i', {}, ` ${count}`) : null);
    return h('div', {}, h('h4', {}, w('inside.words')), classes.length ? h('ul', { class: 'chips main', 'aria-label': w('inside.classes') }, classes.map((text) => chip(text))) : null, captions.length ? h('ul', { class: 'chips', 'aria-label': w('inside.captions') }, captions.map(([text, count]) => chip(text, count))) : null);
  };
  const table = (rows) => h('details', { class: 'meta2' }, h('summary', {}, w('inside.metadata', { count: rows.length })), h('table', {}, h('thead', {}, h('tr', {}, h('th', {}, w('inside.key')), h('th', {}, w('inside.value')))), h('tbody', {}, rows.map(([key, value]) => h('tr', {}, h('td', {}, key), h('td', {}, h('div', { class: 'val' }, value)))))));
  // A DyLoRA holds LoRAs of smaller ranks: one of them becomes a file.
  const smaller = (told) => {
    if (!told.smaller?.length) return null;
    const ranks = h('select', { class: 'tin', 'aria-label': w('smaller.rank') }, told.smaller.map((rank) => h('option', { value: rank }, w('inside.rank', { rank }))));
    ranks.value = told.smaller[Math.floor((told.smaller.length - 1) / 2)];
    const answer = h('p', { class: 'sub sm', role: 'status' });
    const button = h('button', { class: 'btn', type: 'button' }, w('smaller.make'));
    button.onclick = async () => {
      button.disabled = true;
      let made;
      try { made = await patient(server.make_smaller({ job, file: told.name, rank: +ranks.value, lang: words.language }), 60_000); } catch { made = { error: { what: w('try.no_answer') } }; }
      button.disabled = false;
      if (made.error) { answer.replaceChildren(...LA.rich(LA.sentence(made.error))); return; }
      answer.replaceChildren(w('smaller.made', { name: made.name, size: made.size }), ' ', h('a', { href: made.url, download: made.name }, w('download')));
      window.dispatchEvent(new Event('la-files'));
    };
    return h('div', {}, h('h4', {}, w('smaller.title')), h('p', { class: 'sub sm' }, w('smaller.text')), h('div', { class: 'row smaller' }, ranks, button), answer);
  };
  // A sheet with everything about one file of the run.
  async function sheet(file) {
    const body = h('div', { class: 'body', tabindex: '0' });
    const close = h('button', { class: 'ib', type: 'button', 'aria-label': w('close'), title: w('close'), onclick: () => dialog.close() }, icon('x'));
    const dialog = h('dialog', { class: 'la-box sheet', 'aria-label': w('inside.of', { name: file }) }, h('div', { class: 'shead' }, h('h3', {}, w('inside.of', { name: file })), close), body);
    dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });
    dialog.addEventListener('close', () => dialog.remove());
    root.append(dialog); dialog.showModal();
    let told;
    try { told = await patient(server.explain({ job, file, lang: words.language })); } catch { told = { error: { what: w('try.no_answer') } }; }
    if (told.error) { body.replaceChildren(h('p', {}, ...LA.rich(LA.sentence(told.error)))); return; }
    body.replaceChildren(facts(told.rows), h('h4', {}, w('works_with')), verdicts(told.readers), chips(told) ?? '', smaller(told) ?? '', told.metadata ? table(told.metadata) : '');
  }
  const more = (file) => h('button', { class: 'btn q2 s', type: 'button', onclick: () => sheet(file) }, icon('info', true), w('inside.all'));
  return { verdicts, facts, chips, smaller, sheet, more };
};
