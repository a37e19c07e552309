// The Jobs tab: list, one run against the default, two runs side by side; see app/jobs_tab.py.
(() => {
  const { h, icon, rich, set, fill, number, span, time, chart, columns, grid } = LA;
  const root = element.querySelector('.la-jobs') || element;
  if (root.dataset.up) return;
  root.dataset.up = '1';
  let words = null, jobs = [], chosen = [], shown = null, all = false, timer = 0, listKey = '', showKey = '', asked = 0;
  const w = (key, values) => fill(words[key], values || {});
  const filter = h('input', { type: 'search' });
  const list = h('ul', { class: 'jl' }), right = h('section', {}), title = h('h2', {});
  const visible = () => !document.hidden && root.offsetParent !== null;

  async function ask() {
    clearTimeout(timer);
    if (!root.isConnected) return;
    if (visible()) {
      try {
        const told = await server.jobs({ lang: LA.language(), words: words?.language });
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
      root.replaceChildren(h('div', { class: 'jobs' }, h('section', {}, h('div', { class: 'bar2' }, title, h('label', { class: 'find' }, icon('search', true), filter)), list), right));
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
    const focused = document.activeElement?.dataset?.job;
    list.replaceChildren(...found.map((job) => {
      const mark = letter(job.id);
      const button = h('button', { class: 'pick', type: 'button', 'aria-pressed': String(!!mark), 'aria-label': `${w('jobs_choose', { name: job.name })}${comma()}${w(`state.${job.state}`)}`, 'data-job': job.id, onclick: () => pick(job.id) },
        h('span', { class: `tag ${mark.toLowerCase()}`, 'aria-hidden': 'true' }, mark),
        job.thumb ? h('img', { class: 'thumb', src: job.thumb, alt: '', loading: 'lazy' }) : h('span', { class: 'thumb' }),
        h('span', { style: 'min-width:0' }, h('b', { class: 'ell' }, job.name), h('span', { class: 'sub sm' }, facts(job))), status(job));
      return h('li', { class: mark ? 'on' : '' }, button, job.resume ? h('button', { class: 'btn q2 s again', type: 'button', onclick: () => resume(job.id) }, icon('play', true), w('jobs_continue')) : null);
    }), ...(found.length ? [] : [h('li', { class: 'sub one', style: 'padding:12px 8px' }, w(jobs.length ? 'jobs_nothing_found' : 'jobs_none'))]));
    if (focused) list.querySelector(`[data-job="${CSS.escape(focused)}"]`)?.focus();
  }
  async function resume(id) { await server.resume({ job: id }); window.dispatchEvent(new Event('la-look')); ask(); }
  function use(run) {
    trigger('submit', { job: run.id });
  }

  async function show(pressed) {
    const busyRuns = jobs.filter((job) => chosen.includes(job.id)).map((job) => [job.id, job.state, job.step]);
    const key = JSON.stringify([busyRuns, chosen, all, words.language]);
    if (key === showKey) return;
    const turn = ++asked;
    if (!chosen.length) { showKey = key; shown = { runs: [] }; right.replaceChildren(jobs.length ? h('p', { class: 'sub' }, w('jobs_pick')) : ''); return; }
    const told = await server.show({ chosen, all, lang: words.language });
    if (turn !== asked) return; // another choice came meanwhile
    showKey = key; shown = told;
    paint();
  }
  const tag = (letter) => h('span', { class: `cap ${letter.toLowerCase()}` }, letter);
  function paint() {
    const [a, b] = shown.runs;
    if (!a) return;
    const heading = b ? h('h2', {}, tag('A'), a.name, ' ', h('span', { class: 'sub', style: 'font-weight:400;margin:0 8px' }, w('jobs_and')), ' ', tag('B'), b.name) : h('h2', {}, a.name);
    const buttons = b ? [h('button', { class: 'btn s', type: 'button', onclick: () => use(a) }, w('jobs_use_a')), h('button', { class: 'btn s', type: 'button', onclick: () => use(b) }, w('jobs_use_b'))] : [h('button', { class: 'btn', type: 'button', onclick: () => use(a) }, w('jobs_use'))];
    const said = !b && a.outcome ? h('p', { class: 'said' }, h('b', {}, a.outcome.title), words.language === 'ja' ? '。' : '. ', rich([a.outcome.facts, a.outcome.why, a.outcome.fix].filter(Boolean).join(words.language === 'ja' ? '' : ' '))) : null;
    const loss = chart(130, w('loss'));
    const legend = b ? h('div', { class: 'legend' }, h('span', {}, h('i'), 'A'), h('span', {}, h('i', { class: 'b' }), 'B')) : null;
    const withCurve = shown.runs.filter((run) => run.curve.step.length);
    const lossCard = withCurve.length ? card(w('jobs_loss'), '', loss.box, legend) : null;
    right.replaceChildren(
      h('div', { class: 'bar2' }, heading, h('div', { class: 'row' }, buttons)), said ?? '',
      h('div', { class: 'pair' }, h('div', { class: 'stack' }, card(w('samples'), '', samples(a, b))), h('div', { class: 'stack' }, card('', '', settings(b)), lossCard, b ? null : card(w('files'), '', files(a)))));
    if (withCurve.length) {
      const to = Math.max(...withCurve.map((run) => Math.max(run.total, run.curve.step.at(-1))));
      const colours = { [a.id]: ['--color-accent', '#0b6b62'], [b?.id]: ['--la-second', '#b0602a'] };
      loss.draw({ from: 0, to, lines: withCurve.map((run) => ({ x: run.curve.step, y: run.curve.smooth, colour: colours[run.id], width: 2.25 })) });
      loss.say(withCurve.map((run) => `${run.name}: ${run.curve.smooth.at(-1).toFixed(3)}`).join('; '));
    }
  }
  const card = (name, note, ...body) => h('section', { class: 'card' }, name ? h('h3', {}, name, note ? h('small', {}, note) : null) : null, body);
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
  function settings(two) {
    const count = w(two ? 'jobs_differ' : 'jobs_differ_default', { count: number(shown.differ), total: number(shown.settings) });
    const heads = two ? ['A', 'B'] : [w('jobs_default'), w('jobs_this')];
    const body = shown.rows.map((row) => h('tr', { class: row.differs ? '' : 'same', title: row.key }, h('td', {}, row.label), h('td', { class: 'r' }, row.differs && two ? h('b', {}, row.a) : row.a), h('td', { class: 'r' }, row.differs ? h('b', {}, row.b) : row.b)));
    const more = h('button', { class: 'btn q2 s', type: 'button', onclick: () => { all = !all; show(true); } }, w(all ? 'jobs_show_fewer' : 'jobs_show_all'));
    return [h('table', {}, h('thead', {}, h('tr', {}, h('th', {}, count), h('th', { class: 'r' }, heads[0]), h('th', { class: 'r' }, heads[1]))), h('tbody', {}, body)), shown.rows.length ? null : h('p', { class: 'sub one' }, w('jobs_same')), h('p', { style: 'margin-top:8px' }, more)];
  }
  function files(run) {
    const rows = run.files.filter((file) => file.kind === 'lora').map((file) => h('li', {}, icon('file'), h('span', { class: 'ell', title: file.name }, file.final ? h('b', {}, file.name) : file.name), h('span', { class: 'sub' }, file.size), h('a', { class: 'ib', href: file.url, download: file.name, 'aria-label': w('download_file', { name: file.name }), title: w('download') }, icon('down'))));
    return h('ul', { class: 'files' }, rows.length ? rows : h('li', { class: 'sub one' }, w('no_files')));
  }
  filter.addEventListener('input', rows);
  document.addEventListener('visibilitychange', () => visible() && ask());
  new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && ask()).observe(root);
  ask();
})();
