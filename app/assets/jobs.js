// The Jobs tab: list, one run against the default, two runs side by side; see app/page/jobs_tab.py.
(() => {
  const { h, icon, rich, set, fill, number, span, time, chart, columns, grid, patient } = LA;
  const root = element.querySelector('.la-jobs') || element;
  if (root.dataset.up) return;
  root.dataset.up = '1';
  let words = null, jobs = [], chosen = [], shown = null, all = false, against = '', timer = 0, listKey = '', showKey = '', asked = 0;
  const w = (key, values) => fill(words[key], values || {});
  const filter = h('input', { type: 'search' });
  const list = h('ul', { class: 'jl' }), hint = h('p', { class: 'sub sm hint' }), right = h('section', {}), title = h('h2', {});
  const visible = () => !document.hidden && root.offsetParent !== null;

  async function ask() {
    clearTimeout(timer);
    if (!root.isConnected) return;
    if (visible()) {
      try {
        const told = await patient(server.jobs({ lang: LA.language(), words: words?.language }));
        if (told.words) { words = told.words; frame(); listKey = showKey = ''; }
        jobs = told.jobs;
        chosen = chosen.filter((id) => jobs.some((job) => job.id === id));
        if (!chosen.length && !shown && jobs.length) { chosen = [(jobs.find((job) => job.state !== 'queued') || jobs[0]).id]; }
        rows();
        await show();
      } catch { /* the server is away: the live view says so, the list stays */ }
    }
    timer = setTimeout(ask, jobs.some((job) => job.state === 'running') ? 3000 : 6000);
  }
  function frame() {
    filter.placeholder = w('jobs_filter'); filter.setAttribute('aria-label', w('jobs_filter'));
    set(title, w('jobs'));
    if (!root.querySelector('.jobs')) {
      root.replaceChildren(h('div', { class: 'jobs' }, h('section', {}, h('div', { class: 'bar2' }, title, h('label', { class: 'find' }, icon('search', true), filter)), list, hint), right));
    }
  }
  const letter = (id) => (chosen.length < 2 ? (chosen[0] === id ? 'A' : '') : chosen[0] === id ? 'A' : chosen[1] === id ? 'B' : '');
  function pick(id) {
    chosen = chosen.includes(id) ? chosen.filter((other) => other !== id) : chosen.length < 2 ? [...chosen, id] : [chosen[0], id];
    rows(); show(true);
  }
  function when(seconds) {
    const day = new Date(seconds * 1000), today = new Date(), yesterday = new Date(Date.now() - 864e5), clock = time(seconds);
    if (day.toDateString() === today.toDateString()) return w('jobs_today', { time: clock });
    if (day.toDateString() === yesterday.toDateString()) return w('jobs_yesterday', { time: clock });
    return day.toLocaleDateString(words.language === 'ja' ? 'ja-JP' : 'en-GB', { day: 'numeric', month: 'short', ...(day.getFullYear() === today.getFullYear() ? {} : { year: 'numeric' }) });
  }
  const comma = () => (words.language === 'ja' ? '、' : ', ');
  function facts(job) {
    const steps = !job.total ? '' : job.state === 'finished' ? w('jobs_steps', { steps: number(job.total) }) : w('jobs_steps_of', { step: number(job.step), total: number(job.total) });
    return [when(job.created), job.state === 'finished' && job.seconds ? span(job.seconds, words) : '', steps].filter(Boolean).join(comma());
  }
  const STATE_ICON = { finished: 'check', stopped: 'stop', failed: 'error', lost: 'error', queued: 'clock' };
  function status(job) {
    const text = w(`state.${job.state}`) + (job.state === 'running' && job.total ? ` ${Math.round((100 * job.step) / job.total)} %` : '');
    return h('span', { class: `st ${job.state}` }, job.state === 'running' ? h('span', { class: 'dotl' }) : icon(STATE_ICON[job.state], true), ' ', text);
  }
  function rows() {
    const wanted = filter.value.trim().toLowerCase(), found = jobs.filter((job) => job.name.toLowerCase().includes(wanted));
    const key = JSON.stringify([found, chosen, words.language]);
    if (key === listKey) return;
    listKey = key;
    set(hint, jobs.length > 1 && chosen.length < 2 ? w('jobs_pick') : '');
    const focused = document.activeElement?.dataset?.job;
    list.replaceChildren(...found.map((job) => {
      const mark = letter(job.id);
      const button = h('button', { class: 'pick', type: 'button', 'aria-pressed': String(!!mark), 'aria-description': w('jobs_choose', { name: job.name }), 'data-job': job.id, onclick: () => pick(job.id) },
        h('span', { class: `tag ${mark.toLowerCase()}`, 'aria-hidden': 'true' }, mark),
        job.thumb ? h('img', { class: 'thumb', src: job.thumb, alt: '', loading: 'lazy' }) : h('span', { class: 'thumb' }),
        h('span', { style: 'min-width:0' }, h('b', { class: 'ell' }, job.name), h('span', { class: 'sub sm' }, facts(job))), status(job));
      return h('li', { class: mark ? 'on' : '' }, button, job.resume ? h('button', { class: 'btn q2 s again', type: 'button', onclick: () => resume(job.id) }, icon('play', true), w('jobs_continue')) : null);
    }), ...(found.length ? [] : [h('li', { class: 'sub one', style: 'padding:12px 8px' }, w(jobs.length ? 'jobs_nothing_found' : 'jobs_none'))]));
    if (focused) list.querySelector(`[data-job="${CSS.escape(focused)}"]`)?.focus();
  }
  async function resume(id) { await patient(server.act({ do: 'continue', job: id })); window.dispatchEvent(new Event('la-look')); ask(); }
  // Asks first: the server says what goes and what stays, or why it cannot be done.
  async function removal(run) {
    let told;
    try { told = await patient(server.remove({ job: run.id, lang: words.language })); } catch { told = { error: { what: w('try.no_answer') } }; }
    const text = h('p', { role: 'status' }, rich(told.ask || LA.sentence(told.error)));
    const yes = h('button', { class: 'btn bad', type: 'button' }, icon('trash'), w('jobs_remove_yes'));
    const no = h('button', { class: 'btn q2', type: 'button', autofocus: true, onclick: () => dialog.close() }, w(told.ask ? 'jobs_keep' : 'close'));
    const dialog = h('dialog', { class: 'la-box ask', 'aria-label': w('jobs_remove') }, text, h('div', { class: 'row' }, told.ask ? yes : null, no));
    yes.onclick = async () => {
      yes.disabled = true;
      try { told = await patient(server.remove({ job: run.id, sure: run.id, lang: words.language }), 60_000); } catch { told = { error: { what: w('try.no_answer') } }; }
      if (told.error) { text.replaceChildren(...rich(LA.sentence(told.error))); yes.remove(); return; }
      dialog.close();
      chosen = chosen.filter((id) => id !== run.id); shown = null;
      window.dispatchEvent(new Event('la-look'));
      ask();
    };
    dialog.addEventListener('close', () => dialog.remove());
    root.append(dialog); dialog.showModal();
  }
  function use(run) {
    trigger('submit', { job: run.id });
  }

  async function show(pressed) {
    const busyRuns = jobs.filter((job) => chosen.includes(job.id)).map((job) => [job.id, job.state, job.step]);
    const key = JSON.stringify([busyRuns, chosen, all, against, words.language]);
    if (key === showKey) return;
    const turn = ++asked;
    if (!chosen.length) { showKey = key; shown = { runs: [] }; right.replaceChildren(jobs.length ? h('p', { class: 'sub' }, w('jobs_pick')) : ''); return; }
    const told = await patient(server.show({ chosen, all, against, lang: words.language }));
    if (turn !== asked) return; // another choice came meanwhile
    showKey = key; shown = told;
    paint();
  }
  const tag = (letter) => h('span', { class: `cap ${letter.toLowerCase()}` }, letter);
  function paint() {
    const [a, b] = shown.runs;
    if (!a) return;
    const heading = b ? h('h2', {}, tag('A'), a.name, ' ', h('span', { class: 'sub', style: 'font-weight:400;margin:0 8px' }, w('jobs_and')), ' ', tag('B'), b.name) : h('h2', {}, a.name);
    const buttons = b ? [h('button', { class: 'btn s', type: 'button', onclick: () => use(a) }, w('jobs_use_a')), h('button', { class: 'btn s', type: 'button', onclick: () => use(b) }, w('jobs_use_b'))] : [h('button', { class: 'btn', type: 'button', onclick: () => use(a) }, w('jobs_use')), server.remove && !['running', 'queued'].includes(a.state) ? h('button', { class: 'ib', type: 'button', 'aria-label': w('jobs_remove'), title: w('jobs_remove'), onclick: () => removal(a) }, icon('trash')) : null];
    const said = !b && a.outcome ? h('p', { class: 'said' }, h('b', {}, a.outcome.title), words.language === 'ja' ? '。' : '. ', rich([a.outcome.facts, a.outcome.why, a.outcome.fix].filter(Boolean).join(words.language === 'ja' ? '' : ' '))) : null;
    const loss = chart(130, w('loss'));
    const legend = b ? h('div', { class: 'legend' }, h('span', {}, h('i'), 'A'), h('span', {}, h('i', { class: 'b' }), 'B')) : null;
    const withCurve = shown.runs.filter((run) => run.curve.step.length);
    const lossCard = withCurve.length ? card(w('jobs_loss'), '', loss.box, legend) : null;
    const lora = !b && a.outcome?.lora?.rows ? inside(a) : null;
    right.replaceChildren(
      h('div', { class: 'bar2 wrap' }, heading, h('div', { class: 'row' }, buttons)), said ?? '',
      h('div', { class: 'pair' }, h('div', { class: 'stack' }, card(w('samples'), w('by_step'), samples(a, b)), b ? null : lossCard, !b && a.outcome?.try ? tryIt(a) : null, b ? null : card(w('files'), '', files(a)), lora), h('div', { class: 'stack' }, card(b ? '' : w('jobs_settings'), b ? '' : base(), settings(b)), b ? lossCard : null)));
    if (withCurve.length) {
      const to = Math.max(...withCurve.map((run) => Math.max(run.total, run.curve.step.at(-1))));
      const colours = { [a.id]: ['--color-accent', '#0b6b62'], [b?.id]: ['--la-second', '#b0602a'] };
      loss.draw({ from: 0, to, lines: withCurve.map((run) => ({ x: run.curve.step, y: run.curve.smooth, colour: colours[run.id], width: 2.25 })) });
      loss.say(withCurve.map((run) => `${run.name}: ${run.curve.smooth.at(-1).toFixed(3)}`).join('; '));
    }
  }
  const card = (name, note, ...body) => h('section', { class: 'card' }, name ? LA.head(name, note) : null, body);
  const cells = (run, index) => new Map((run?.samples || []).filter(([, at]) => at === index).map(([step, , url]) => [step, url]));
  function samples(a, b) {
    const steps = columns([...new Set([...a.samples, ...(b?.samples || [])].map(([step]) => step))].sort((x, y) => x - y), [], root.clientWidth < 700 ? 5 : 6);
    if (!steps.length) return h('p', { class: 'sub one' }, w('jobs_no_samples'));
    if (!b) return grid(words, root, steps, a.prompts.map((prompt, index) => ({ prompt, cells: cells(a, index) })), undefined, '110px');
    const prompts = [...new Set([...a.prompts, ...b.prompts])];
    return h('div', {}, prompts.flatMap((prompt, at) => {
      const rows = [[a, 'A'], [b, 'B']].filter(([run]) => run.prompts.includes(prompt)).map(([run, mark]) => ({ prompt, cells: cells(run, run.prompts.indexOf(prompt)), tag: () => tag(mark) }));
      const one = grid(words, root, steps, rows, undefined, '26px');
      one.classList.add('ab');
      if (at) one.querySelectorAll('.h').forEach((head) => head.remove());
      return [h('p', { class: 'pr' }, prompt), one];
    }));
  }
  // One card per run and language: what was typed and drawn stays while others are looked at.
  const trials = new Map();
  function tryIt(run) {
    const key = `${run.id} ${run.outcome.file.name} ${words.language}`;
    if (!trials.has(key)) trials.set(key, LA.tryCard(words, root, server, run.id, run.outcome.try));
    return trials.get(key);
  }
  function inside(run) {
    const { facts, chips, verdicts, smaller, more } = LA.inside(words, root, server, run.id);
    return card(w('inside'), '', facts(run.outcome.lora.rows), h('h4', {}, w('works_with')), verdicts(run.outcome.lora.readers), chips({ ...run.outcome.lora, captions: run.outcome.lora.captions?.slice(0, 5) }), smaller(run.outcome.lora), h('p', { class: 'more' }, more(run.outcome.file.name)));
  }
  function base() {
    const choice = h('select', { class: 'tin base', 'aria-label': w('jobs_against'), onchange: () => { against = choice.value; show(true); } }, h('option', { value: '' }, w('jobs_default')), shown.bases.map(([name, title]) => h('option', { value: name }, w('jobs_preset', { name: title }))));
    choice.value = against;
    return h('label', { class: 'against' }, h('span', { 'aria-hidden': 'true' }, w('jobs_against')), choice);
  }
  function settings(two) {
    const count = w('jobs_differ', { count: number(shown.differ), total: number(shown.settings) });
    const heads = two ? ['A', 'B'] : [against ? w('jobs_base') : w('jobs_default'), w('jobs_this')];
    const bold = (row, value) => (row.differs ? h('b', {}, value) : value);
    // Paths and prompts get lines of their own: in a narrow column they could not be read.
    const long = (row) => Math.max(row.a.length, row.b.length) > (root.clientWidth < 700 ? 9 : 16) || /[\\/\n]/.test(row.a + row.b);
    const line = (mark, row, value) => h('div', { class: 'lv' }, h('span', { class: 'sub' }, mark), h('span', {}, bold(row, value)));
    const narrow = (row) => h('tr', { class: row.differs ? '' : 'same', title: row.key }, h('td', {}, row.label), h('td', { class: 'r' }, two ? bold(row, row.a) : row.a), h('td', { class: 'r' }, bold(row, row.b)));
    const wide = (row) => h('tr', { class: row.differs ? 'wide' : 'wide same', title: row.key }, h('td', { colspan: '3' }, row.label, line(heads[0], row, row.a), line(heads[1], row, row.b)));
    const body = [...shown.rows.filter((row) => !long(row)).map(narrow), ...shown.rows.filter(long).map(wide)];
    const more = h('button', { class: 'btn q2 s', type: 'button', onclick: () => { all = !all; show(true); } }, w(all ? 'jobs_show_fewer' : 'jobs_show_all'));
    return [h('table', {}, h('thead', {}, h('tr', {}, h('th', {}, count), h('th', { class: 'r' }, heads[0]), h('th', { class: 'r' }, heads[1]))), h('tbody', {}, body)), shown.rows.length ? null : h('p', { class: 'sub one' }, w('jobs_same')), h('p', { style: 'margin-top:8px' }, more)];
  }
  function files(run) {
    const look = LA.inside(words, root, server, run.id), here = `/live/${encodeURIComponent(run.id)}`;
    const link = (href, name) => h('a', { class: 'ib', href, download: '', 'aria-label': w('download_file', { name }), title: w('download') }, icon('down'));
    const rows = run.files.filter((file) => file.kind === 'lora').map((file) => h('li', {}, icon('file'), h('span', { class: 'ell', title: file.name }, file.final ? h('b', {}, file.name) : file.name), h('span', { class: 'sub' }, file.size),
      h('button', { class: 'ib', type: 'button', 'aria-label': w('inside.of', { name: file.name }), title: w('inside.of', { name: file.name }), onclick: () => look.sheet(file.name) }, icon('info')), h('a', { class: 'ib', href: file.url, download: file.name, 'aria-label': w('download_file', { name: file.name }), title: w('download') }, icon('down'))));
    const pictures = w('sample_pictures', { count: number(run.samples.length) });
    if (run.samples.length) rows.push(h('li', {}, icon('image'), h('span', { class: 'ell' }, pictures), h('span'), h('span'), link(`${here}/samples.zip`, pictures)));
    rows.push(h('li', {}, icon('log'), h('span', { class: 'ell' }, w('full_log')), h('span'), h('span'), link(`${here}/log`, w('full_log'))));
    return h('ul', { class: 'files' }, rows);
  }
  filter.addEventListener('input', rows);
  window.addEventListener('la-files', () => { showKey = ''; ask(); });
  document.addEventListener('visibilitychange', () => visible() && ask());
  new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && ask()).observe(root);
  ask();
})();
