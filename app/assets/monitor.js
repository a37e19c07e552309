// The live view. `server.live(cursor)` answers with what is new; see app/jobs/live.py.
(() => {
  const { h, icon, rich, set, fill, number, rate, bytes, clock, span, time, copy, chart, columns, grid, patient } = LA;
  const root = element.querySelector('.la-live') || element;
  if (root.dataset.up) return;
  root.dataset.up = '1';
  const MOST_LINES = 2000, MOST_POINTS = 4000;
  let words = null, cursor = {}, now = null, state = 'none', parts = null, queue = '', failures = 0, drawn = '';
  let data = empty(), kept = [], view = null, timer = 0, busy = false;
  function empty() { return { step: [], loss: [], smooth: [], rate: {} }; }
  const w = (key, values) => fill(words[key], values || {});

  // ── asking ────────────────────────────────────────────────────────────────────────────────────────
  async function ask() {
    clearTimeout(timer);
    if (!root.isConnected) return;
    if (busy) return;
    busy = true;
    try {
      const told = await patient(server.live({ ...cursor, lang: LA.language(), words: words?.language }));
      if (!told?.state) throw new Error('no answer');
      failures = 0;
      take(told);
    } catch (error) {
      failures += 1;
      if ((failures === 3 || error.message === 'late') && words) offline(true);
    }
    busy = false;
    if (!document.hidden && root.isConnected) timer = setTimeout(ask, failures ? Math.min(5000, 1000 * failures) : state === 'running' ? 1000 : queue ? 2000 : 5000);
  }
  const wake = () => { if (!document.hidden) ask(); };
  document.addEventListener('visibilitychange', wake);
  window.addEventListener('la-look', wake);
  window.addEventListener('la-files', () => { cursor.version = -1; wake(); });

  function take(told) {
    if (told.words) { words = told.words; view = null; drawn = ''; }
    if (told.fresh || (!told.job && cursor.job)) { data = empty(); kept = []; parts = null; view = null; drawn = ''; cursor = {}; }
    const before = state;
    state = told.state;
    Object.assign(cursor, { job: told.job, key: told.key });
    if (state === 'none') { nothing(); announce(); return; }
    now = told.now;
    if (told.curve) { points(told.curve); cursor.point = told.curve.at; }
    if (told.parts) { parts = told.parts; cursor.version = parts.version; }
    const kind = parts.outcome ? parts.outcome.kind : 'run';
    if (!view || view.kind !== kind) build(kind);
    offline(false);
    top();
    if (told.log) { lines(told.log.lines); cursor.line = told.log.at; }
    if (told.curve || before !== state) charts();
    if (told.parts || told.words) { samples(); files(); }
    line(told.queue || []);
    announce();
  }
  function points(curve) {
    if (curve.again) data = empty();
    while (data.step.length && data.step[data.step.length - 1] >= curve.from) { data.step.pop(); data.loss.pop(); data.smooth.pop(); for (const one of Object.values(data.rate)) one.pop(); }
    data.step.push(...curve.step); data.loss.push(...curve.loss); data.smooth.push(...curve.smooth);
    for (const [name, rates] of Object.entries(curve.rate)) (data.rate[name] ??= []).push(...rates);
    if (data.step.length > MOST_POINTS) {
      const thin = (list) => list.filter((_, at) => at % 2 === 0 || at === list.length - 1);
      data = { step: thin(data.step), loss: thin(data.loss), smooth: thin(data.smooth), rate: Object.fromEntries(Object.entries(data.rate).map(([name, list]) => [name, thin(list)])) };
    }
  }

  // ── building ──────────────────────────────────────────────────────────────────────────────────────
  const card = (title, note, ...body) => h('section', { class: 'card' }, LA.head(title, note), body);
  const iconButton = (name, label, act) => h('button', { class: 'ib', type: 'button', 'aria-label': label, title: label, onclick: act }, icon(name));

  function nothing() {
    if (view?.kind === 'none') return;
    view = { kind: 'none' };
    root.replaceChildren(h('div', { class: 'none' }, h('h2', {}, w('no_job')), h('p', {}, w('no_job_hint'))));
  }
  function build(kind) {
    const v = (view = { kind });
    drawn = '';
    v.notice = h('div', { class: 'away', role: 'status', hidden: true }, w('reconnecting'));
    v.lossNote = w('loss_hint');
    v.loss = chart(150, w('loss')); v.rate = chart(68, w('learning_rate'));
    v.lossCard = card(w('loss'), v.lossNote, v.loss.box, h('div', { class: 'legend' }, h('span', {}, h('i', { class: 'raw' }), w('each_step')), h('span', {}, h('i'), w('smoothed'))));
    v.rateLegend = h('div', { class: 'legend' });
    v.rateCard = card(w('learning_rate'), '', v.rate.box, v.rateLegend);
    v.log = h('div', { class: 'log', role: 'log', tabindex: '0', 'aria-label': w('log') });
    const bad = ['failed', 'lost'].includes(kind);
    const copyButton = h('button', { class: 'btn q2 s', type: 'button', onclick: () => copy(v.log.innerText, copyButton, words) }, icon('copy', true), h('span', { class: 't' }, w('copy')));
    const full = h('a', { class: 'btn q2 s', href: `/live/${encodeURIComponent(cursor.job)}/log`, download: '' }, icon('log', true), w('full_log'));
    v.logCard = card(w(bad ? 'log_end' : 'log'), h('span', { class: 'row' }, full, copyButton), v.log);
    v.samples = h('div'); v.samplesNote = h('span');
    v.samplesCard = card(w(kind === 'finished' ? 'how_it_learned' : 'samples'), v.samplesNote, v.samples);
    v.files = h('ul', { class: 'files' });
    v.filesCard = card(w(bad ? 'kept' : 'files'), '', v.files);
    v.queue = h('ul', { class: 'files' });
    v.queueCard = card(w('in_line'), '', v.queue);
    v.queueCard.hidden = true;
    const body = kind === 'run' ? running(v) : ended(v, parts.outcome);
    root.replaceChildren(v.notice, ...body);
    write(kept);
  }

  function running(v) {
    v.sub = h('div', { class: 'sub sm' }); v.title = h('h2', { class: 'big' });
    v.leftLabel = h('div', { class: 'sub sm' }); v.left = h('div', { class: 'big' });
    v.bar = h('i'); v.marks = h('span');
    v.progress = h('div', { class: 'prog', role: 'progressbar', 'aria-label': w('progress'), 'aria-valuemin': '0', 'aria-valuemax': '100' }, v.bar, v.marks);
    v.meta = h('div', { class: 'meta' }); v.phases = h('ul', { class: 'phases' });
    return [
      h('div', { class: 'top' }, h('div', {}, v.sub, v.title), h('div', { class: 'r' }, v.leftLabel, v.left)),
      v.progress, h('div', { class: 'mp' }, v.meta, v.phases),
      h('div', { class: 'mon' }, h('div', { class: 'stack' }, v.samplesCard, v.logCard), h('div', { class: 'stack' }, v.queueCard, v.lossCard, v.rateCard, v.filesCard)),
    ];
  }
  function ended(v, outcome) {
    const good = outcome.kind === 'finished', plain = outcome.kind === 'stopped';
    const actions = [];
    if (outcome.file) actions.push(h('a', { class: good ? 'btn p lg' : 'btn lg', href: outcome.file.url, download: outcome.file.name }, icon('down'), w('download')));
    if (outcome.resume !== null && outcome.resume !== undefined) {
      actions.push(h('button', { class: good || plain || outcome.remedies?.length ? 'btn lg' : 'btn p lg', type: 'button', onclick: () => act({ do: 'continue', job: cursor.job }) }, icon('play'), outcome.resume ? w('outcome.continue_from', { step: number(outcome.resume) }) : w('outcome.continue')));
    }
    actions.push(h('button', { class: 'btn q2', type: 'button', onclick: () => trigger('submit', { job: cursor.job }) }, w('outcome.again')));
    const facts = [outcome.facts, outcome.why].filter(Boolean).join(words.language === 'ja' ? '' : ' ');
    const banner = h('div', { class: `out ${good ? '' : plain ? 'plain' : 'bad'}`, role: good || plain ? 'status' : 'alert' },
      h('div', { class: 'dot' }, icon(good ? 'check' : plain ? 'stop' : 'bang')),
      h('div', {}, h('h2', {}, outcome.title), h('p', {}, rich(facts), outcome.kept ? [' ', h('b', {}, outcome.kept)] : null)),
      h('div', { class: 'row' }, actions));
    const left = [], right = [];
    if (outcome.remedies?.length) left.push(...remedies(outcome));
    else if (outcome.fix || outcome.setting) left.push(card(w('what_to_change'), '', outcome.fix ? h('p', { class: 'fix' }, rich(outcome.fix)) : null, outcome.setting ? h('p', { class: 'more2' }, showSetting(outcome.setting)) : null));
    if (outcome.use) left.push(howToUse(outcome), worksWith(outcome));
    if (outcome.lora?.rows) left.push(insideCard(outcome));
    if (good || plain) return [banner, h('div', { class: 'g3' }, h('div', { class: 'stack' }, left), h('div', { class: 'stack' }, outcome.try ? tryIt(outcome) : null, v.lossCard, v.rateCard), h('div', { class: 'stack' }, v.queueCard, v.samplesCard, v.filesCard, v.logCard))];
    right.push(v.queueCard, v.filesCard, v.samplesCard);
    return [banner, h('div', { class: 'g2' }, h('div', { class: 'stack' }, left, v.logCard), h('div', { class: 'stack' }, right, v.lossCard))];
  }
  const showSetting = (setting) => h('button', { class: 'btn', type: 'button', onclick: () => window.dispatchEvent(new CustomEvent('la-show-setting', { detail: setting })) }, w('show_setting', { label: setting.label }));
  // Choices of what to change: one continues the run or goes to the form with the change made.
  function remedies(outcome) {
    let chosen = outcome.remedies[0];
    const group = `fix-${cursor.job}`, memory = outcome.memory && outcome.remedies.some((one) => one.needs) ? memoryCard(outcome) : null;
    const toForm = () => window.dispatchEvent(new CustomEvent('la-use-job', { detail: { job: cursor.job, changes: chosen.changes, key: chosen.key } }));
    const onward = () => act({ do: 'continue', job: cursor.job, remedy: chosen.id });
    const first = h('button', { class: 'btn p', type: 'button' }), second = h('button', { class: 'btn q2', type: 'button', onclick: toForm }, w('remedy.only'));
    const choose = (one) => {
      chosen = one;
      const goes = one.continues && outcome.resume;
      first.replaceChildren(goes ? icon('play') : '', goes ? w('remedy.continue', { step: number(outcome.resume) }) : w('remedy.apply'));
      first.onclick = goes ? onward : toForm;
      second.hidden = !goes;
      memory?.show(one.needs || 0);
    };
    const rows = outcome.remedies.map((one, at) => {
      const radio = h('input', { type: 'radio', name: group, id: `${group}-${at}`, checked: at === 0, onchange: () => choose(one) });
      const price = [one.price, one.needs_text ? w('remedy.needs', { size: one.needs_text }) : ''].filter(Boolean).join(words.language === 'ja' ? '' : ' ');
      return h('li', {}, radio, h('label', { for: radio.id }, h('span', { class: 'rt' }, rich(one.title)), h('span', { class: 'sub sm' }, price)), at === 0 && outcome.remedies.length > 1 ? h('span', { class: 'rec' }, w('remedy.recommended')) : null);
    });
    choose(chosen);
    const list = h('ul', { class: 'ways', role: 'radiogroup', 'aria-label': w('what_to_change') }, rows);
    return [card(w('what_to_change'), '', list, h('div', { class: 'row' }, first, second)), memory?.card].filter(Boolean);
  }
  function memoryCard(outcome) {
    const { now: needed, now_text: text, total, total_text: line } = outcome.memory;
    const most = Math.max(needed, total) * 1.08;
    const row = (label) => { const fill = h('i'), value = h('b'); return { fill, value, line: h('div', { class: 'mrow' }, h('span', {}, label), h('div', { class: 'mbar' }, fill, h('u', { style: `left:${(100 * total) / most}%` })), value) }; };
    const before = row(w('memory_now')), after = row(w('memory_then'));
    before.fill.style.width = `${(100 * needed) / most}%`; before.fill.className = needed > total ? 'over' : '';
    set(before.value, text);
    const show = (needs) => {
      after.line.hidden = !needs;
      after.fill.style.width = `${(100 * needs) / most}%`; after.fill.className = needs > total ? 'over' : '';
      set(after.value, needs ? bytes(needs) : '');
    };
    return { card: card(w('memory_card'), '', before.line, after.line, h('p', { class: 'sub sm' }, w('memory_line', { size: line }))), show };
  }
  const copyLine = (text) => h('div', { class: 'copy' }, h('code', {}, text), iconButton('copy', w('copy'), (event) => copy(text, event.currentTarget, words)));
  function howToUse(outcome) {
    return card(w('how_to_use'), '', h('ol', { class: 'steps' },
      h('li', {}, h('div', {}, w('use.copy_to'), copyLine('models/Lora/'), h('p', { class: 'sub sm' }, w('use.other_folder')))),
      h('li', {}, h('div', {}, w('use.prompt'), copyLine(outcome.use.prompt), outcome.use.words ? h('p', { class: 'sub sm' }, w('use.words', { words: outcome.use.words })) : null)),
      h('li', {}, h('div', {}, w('use.tune')))));
  }
  function worksWith(outcome) {
    const rows = [...(outcome.lora?.readers || []), { verdict: 'base', name: w('works.base'), text: outcome.use.base }];
    return card(w('works_with'), '', inside().verdicts(rows));
  }
  const inside = () => LA.inside(words, root, server, cursor.job);
  function insideCard(outcome) {
    const { facts, chips, smaller, more } = inside();
    return card(w('inside'), '', facts(outcome.lora.rows), chips({ ...outcome.lora, captions: outcome.lora.captions?.slice(0, 5) }), smaller(outcome.lora), h('p', { class: 'more' }, more(outcome.file.name)));
  }
  // One card per file and language: what was typed and drawn stays while the view is built anew.
  let trial = null;
  function tryIt(outcome) {
    const key = `${cursor.job} ${outcome.file.name} ${words.language}`;
    if (trial?.key !== key) trial = { key, card: LA.tryCard(words, root, server, cursor.job, outcome.try) };
    return trial.card;
  }
  async function act(wish) {
    try { await patient(server.act(wish)); } catch { /* the next answer shows how it stands */ }
    ask();
  }

  // ── filling ───────────────────────────────────────────────────────────────────────────────────────
  function title() {
    if (state === 'queued') return w('phase.queued');
    if (now.stopping) return w('phase.stopping');
    const values = { step: number(now.step), total: number(now.total), done: number(now.done), of: number(now.of) };
    if (['cache_latents', 'sample'].includes(now.phase)) values.total = number(now.of);
    if (now.phase === 'sample') values.done = number(Math.min(now.of, now.done + 1));
    return w(`phase.${now.phase}`, values) || now.phase;
  }
  function top() {
    const v = view;
    if (!v.title) return;
    set(v.sub, `${now.name}${words.language === 'ja' ? '、' : ', '}${w('started_at', { time: time(now.started) })}`);
    set(v.title, title());
    set(v.leftLabel, now.left === null ? '' : w('ready_in'));
    set(v.left, now.left === null ? '' : span(now.left, words));
    const share = now.total ? now.step / now.total : now.of ? now.done / now.of : 0;
    v.bar.style.width = `${(share * 100).toFixed(1)}%`;
    v.progress.setAttribute('aria-valuenow', Math.round(share * 100));
    const each = now.each ? (now.each <= 1 ? [(1 / now.each).toFixed(now.each < 0.1 ? 0 : 1), w('steps_per_second')] : [now.each.toFixed(1), w('seconds_per_step')]) : null;
    const rates = Object.values(now.rate || {});
    const meta = [
      now.epochs ? [w('epoch'), `${number(now.epoch)} / ${number(now.epochs)}`] : null,
      [w('elapsed'), clock(now.elapsed)],
      each ? [w('speed'), each.join(' ')] : null,
      now.loss !== undefined ? [w('loss_smoothed'), now.loss.toFixed(3)] : null,
      rates.length ? [w('learning_rate'), rate(Math.max(...rates))] : null,
      now.memory ? [w('memory'), now.memory_total > now.memory ? w('memory_of', { used: bytes(now.memory), total: bytes(now.memory_total) }) : bytes(now.memory)] : null,
    ].filter(Boolean);
    if (v.meta.children.length !== meta.length) v.meta.replaceChildren(...meta.map(() => h('span', {}, h('span'), ' ', h('b'))));
    meta.forEach(([label, value], at) => { set(v.meta.children[at].firstChild, label); set(v.meta.children[at].lastChild, value); });
    phases(v);
  }
  function phases(v) {
    const before = now.phases.filter(([name]) => name !== 'train' && name !== 'start');
    const busyNow = state === 'running' ? now.phase : '';
    const rows = before.map(([name, seconds]) => (name === busyNow && !now.step ? ['c', 'play', w(`short.${name}`)] : ['d', 'check', w(`short.${name}`) + (seconds < 1 ? '' : `${words.language === 'ja' ? '、' : ', '}${span(seconds, words)}`)]));
    if (!before.some(([name]) => name === busyNow) || now.step) rows.push(now.step || busyNow === 'train' ? ['c', 'play', w('short.train')] : null);
    rows.push(now.total && now.step >= now.total ? ['c', 'play', w('short.save')] : ['n', 'clock', w('short.save')]);
    const key = JSON.stringify(rows);
    if (key === v.phaseKey) return;
    v.phaseKey = key;
    v.phases.replaceChildren(...rows.filter(Boolean).map(([kind, name, text]) => h('li', { class: kind, 'aria-current': kind === 'c' ? 'step' : null }, icon(name, true), h('span', {}, text))));
  }
  function lines(fresh) {
    kept.push(...fresh);
    kept.splice(0, kept.length - MOST_LINES);
    write(fresh);
  }
  function write(fresh) {
    const box = view.log, atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 30;
    box.append(...fresh.map(([moment, level, text]) => h('div', { class: level === 'warning' ? 'w' : level === 'error' ? 'e' : '' }, h('i', {}, time(moment, true)), h('span', {}, text))));
    if (parts.outcome?.trace && !box.querySelector('.trace')) box.append(h('pre', { class: 'trace e' }, parts.outcome.trace));
    while (box.childElementCount > MOST_LINES) box.firstElementChild.remove();
    if (atEnd) box.scrollTop = box.scrollHeight;
  }
  function charts() {
    const some = data.step.length > 0;
    view.lossCard.hidden = view.rateCard.hidden = !some;
    if (!some) return;
    const to = Math.max(now.total, data.step[data.step.length - 1]), from = 0;
    const sorted = [...data.loss].sort((a, b) => a - b), most = Math.max(sorted[Math.floor(sorted.length * 0.985)], ...data.smooth) * 1.05;
    view.loss.draw({ from, to, most, lines: [
      { x: data.step, y: data.loss, colour: ['--la-raw', '#a9c9c4'], width: 1 },
      { x: data.step, y: data.smooth, colour: ['--color-accent', '#0b6b62'], width: 2.25 }] });
    const here = data.smooth.length - 1, back = Math.max(0, here - Math.max(10, Math.floor(data.smooth.length / 4)));
    const change = (data.smooth[here] - data.smooth[back]) / (Math.abs(data.smooth[back]) || 1);
    const trend = w(change < -0.02 ? 'trend.down' : change > 0.02 ? 'trend.up' : 'trend.flat');
    view.loss.say(w('loss_says', { loss: data.smooth[here].toFixed(3), step: number(data.step[here]), trend }));
    const names = Object.keys(data.rate), differ = names.length > 1 && data.rate[names[0]].some((value, at) => value !== data.rate[names[1]][at]);
    const shown = differ ? names : names.slice(0, 1), colours = [['--color-accent', '#0b6b62'], ['--la-second', '#b0602a']];
    view.rate.draw({ from, to, zero: true, marks: state === 'running' ? [data.step[here]] : [], lines: shown.flatMap((name, at) => [{ x: data.step, y: data.rate[name], colour: colours[at], width: 2.25 }, { ...ahead(name, data.step[here], data.rate[name][here]), colour: colours[at], width: 1.5, dotted: true }]) });
    view.rate.say(w('rate_says', { rate: rate(data.rate[names[0]]?.[here] ?? 0), step: number(data.step[here]) }));
    view.rateLegend.hidden = !differ;
    if (differ && view.rateLegend.children.length !== shown.length) view.rateLegend.replaceChildren(...shown.map((name, at) => h('span', {}, h('i', { class: at ? 'b' : '' }), words[`rate.${name}`] || name)));
  }
  // What is still to come of a learning rate; nothing where the optimizer goes its own way.
  function ahead(name, step, rateNow) {
    const planned = state === 'running' ? parts.planned?.[name] || [] : [], next = planned.findIndex(([at]) => at > step);
    if (next < 1) return { x: [], y: [] };
    const [[x0, y0], [x1, y1]] = [planned[next - 1], planned[next]], here = y0 + ((y1 - y0) * (step - x0)) / (x1 - x0 || 1);
    if (Math.abs(here - rateNow) > 0.1 * Math.max(here, rateNow)) return { x: [], y: [] };
    const rest = planned.slice(next);
    return { x: [step, ...rest.map(([at]) => at)], y: [rateNow, ...rest.map(([, value]) => value)] };
  }
  function samples() {
    const key = JSON.stringify([parts.samples, parts.sample_steps, now.total, view.kind, root.clientWidth < 700, words.language]);
    if (key === drawn) return;
    drawn = key;
    const done = [...new Set(parts.samples.map(([step]) => step))].sort((a, b) => a - b), latest = done[done.length - 1];
    const ended = !!parts.outcome, planned = ended ? [] : parts.sample_steps;
    if (!done.length && !planned.length) {
      view.samplesCard.hidden = ended;
      view.samples.replaceChildren(h('p', { class: 'sub' }, w(now.total || !parts.prompts.length ? 'no_samples' : 'samples_soon')));
      return;
    }
    view.samplesCard.hidden = false;
    const rows = parts.prompts.map((prompt, index) => ({ prompt, cells: new Map(parts.samples.filter(([, at]) => at === index).map(([step, , url]) => [step, url])) }));
    const steps = columns(done, planned, root.clientWidth < 700 ? 5 : view.kind === 'run' ? 6 : 5);
    const next = planned.find((step) => latest === undefined || step > latest);
    set(view.samplesNote, ended ? w('by_step') : next === undefined ? '' : done.length ? w('next_at', { step: number(next) }) : w('samples_waiting', { step: number(next) }));
    view.samples.replaceChildren(grid(words, root, steps, rows, ended ? undefined : latest, view.kind === 'run' ? '132px' : '84px'));
  }
  function files() {
    const rows = parts.files.map((file) => {
      if (file.kind === 'state') return h('li', {}, icon('folder'), h('span', { class: 'ell' }, w('state_folder', { step: number(file.step) })), h('span', { class: 'sub' }, file.size), h('span'), h('span'));
      const point = file.final ? '' : file.epoch ? w('epoch_n', { epoch: number(file.epoch) }) : w('step_n', { step: number(file.step) });
      return h('li', {}, icon('file'), h('span', { class: 'ell', title: file.name }, file.final ? h('b', {}, file.name) : file.name), h('span', { class: 'sub' }, [file.size, point].filter(Boolean).join(', ')), iconButton('info', w('inside.of', { name: file.name }), () => inside().sheet(file.name)), h('a', { class: 'ib', href: file.url, download: file.name, 'aria-label': w('download_file', { name: file.name }), title: w('download') }, icon('down')));
    });
    if (parts.samples.length) rows.push(h('li', {}, icon('image'), h('span', { class: 'ell' }, w('sample_pictures', { count: number(parts.samples.length) })), h('span'), h('span'), h('a', { class: 'ib', href: `/live/${encodeURIComponent(cursor.job)}/samples.zip`, download: '', 'aria-label': w('download_file', { name: w('sample_pictures', { count: parts.samples.length }) }), title: w('download') }, icon('down'))));
    view.files.replaceChildren(...(rows.length ? rows : [h('li', { class: 'sub one' }, w('no_files'))]));
  }
  function line(waiting) {
    const key = JSON.stringify(waiting);
    if (key === queue && view.queueBuilt) return;
    queue = waiting.length ? key : '';
    if (!view.queueCard) return;
    view.queueBuilt = true;
    view.queueCard.hidden = !waiting.length;
    view.queue.replaceChildren(...waiting.map((job, at) => h('li', { class: 'wide' }, icon('clock'), h('span', { class: 'ell' }, job.name), h('span', { class: 'row' },
      iconButton('up', w('move_up', { name: job.name }), () => act({ do: 'move', job: job.id, by: -1 })),
      iconButton('dn', w('move_down', { name: job.name }), () => act({ do: 'move', job: job.id, by: 1 })),
      iconButton('x', w('take_out', { name: job.name }), () => act({ do: 'take_out', job: job.id })))))); 
  }
  function offline(on) { if (view?.notice) view.notice.hidden = !on; }
  function announce() {
    const running = state === 'running';
    const detail = { state, step: now?.step || 0, total: now?.total || 0, stopping: !!now?.stopping, text: '', hint: '' };
    if (running && words) {
      detail.text = now.total ? [w('bar_running', { step: number(now.step), total: number(now.total) }), now.left === null ? '' : w('bar_left', { time: span(now.left, words) })].filter(Boolean).join(words.language === 'ja' ? '、' : ', ') : title();
      detail.hint = w('bar_hint');
    }
    window.dispatchEvent(new CustomEvent('la-run', { detail }));
  }
  ask();
})();
