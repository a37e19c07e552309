// "Try it": pictures with the LoRA beside the base model's. Shared by the live view and the jobs tab.
// `server.try_ask`, `try_look`, `try_cancel`: see app/jobs/try_it.py.
LA.tryCard ??= (words, root, server, job, offer) => {
  const { h, icon, set, fill, lightbox, patient } = LA;
  const w = (key, values) => fill(words[key], values || {});
  const KEPT = 8, id = `la-try-${Math.random().toString(36).slice(2, 8)}`;
  let asked = 0, busy = false, shown = null;
  const kept = [];

  const field = (name, input, wide) => h('div', { class: wide ? 'tf wide' : 'tf' }, h('label', { for: input.id }, w(`try.${name}`)), input);
  const input = (name, value, attributes = {}) => { const made = h('input', { id: `${id}-${name}`, class: 'tin', ...attributes }); made.value = value; return made; };
  const number = (name, value, min, max, step) => input(name, value, { type: 'number', min, max, step, inputmode: 'decimal' });
  const prompt = h('textarea', { id: `${id}-prompt`, class: 'tin', rows: '2', spellcheck: 'false' });
  prompt.value = offer.prompt;
  const negative = input('negative', offer.negative, { type: 'text', spellcheck: 'false' });
  const slider = input('strength', '0.8', { type: 'range', min: '0', max: '1.2', step: '0.05' });
  const strength = number('strength-number', '0.8', '0', '1.2', '0.05');
  strength.setAttribute('aria-label', w('try.strength'));
  const seed = number('seed', String(offer.seed), '0', '4294967295', '1');
  const dice = h('button', { class: 'ib', type: 'button', 'aria-label': w('try.seed_new'), title: w('try.seed_new'), onclick: () => { seed.value = Math.floor(Math.random() * 4294967296); } }, icon('dice'));
  const width = number('width', offer.width, '64', '2048', '8'), height = number('height', offer.height, '64', '2048', '8');
  const steps = number('steps', offer.steps, '1', '200', '1'), scale = number('scale', offer.scale, '0', '30', '0.5');
  const file = h('select', { id: `${id}-file`, class: 'tin' }, offer.files.map((name) => h('option', { value: name }, name)));
  file.value = offer.file;
  const moreSays = h('summary', {});
  const says = () => set(moreSays, w('try.more', { width: width.value, height: height.value, steps: steps.value, scale: scale.value }));
  const more = h('details', { class: 'tmore', open: !!offer.negative }, moreSays, h('div', { class: 'tneg' }, field('negative', negative, true)), h('div', { class: 'tgrid four' }, field('width', width), field('height', height), field('steps', steps), field('scale', scale)));
  for (const one of [width, height, steps, scale]) one.addEventListener('input', says);
  says();
  slider.addEventListener('input', () => { strength.value = slider.value; paintSlider(); });
  strength.addEventListener('input', () => { slider.value = strength.value; paintSlider(); });
  const paintSlider = () => slider.style.setProperty('--part', `${(100 * slider.value) / 1.2}%`);
  paintSlider();

  const make = h('button', { class: 'btn', type: 'submit' }, icon('wand'), h('span', {}, w('try.make')));
  const stop = h('button', { class: 'btn q2', type: 'button', hidden: true, onclick: () => { patient(server.try_cancel({ id: asked })).catch(() => {}); } }, w('try.stop'));
  const status = h('p', { class: 'sub sm', role: 'status', 'aria-live': 'polite' });
  const bar = h('i'), progress = h('div', { class: 'prog', role: 'progressbar', 'aria-label': w('try.title'), 'aria-valuemin': '0', 'aria-valuemax': '100', hidden: true }, bar);
  const trouble = h('p', { class: 'tbad', role: 'alert', hidden: true });
  const pair = h('div', { class: 'tpair', hidden: true });
  const strip = h('div', { class: 'tstrip', hidden: true });
  const form = h('form', { novalidate: true }, field('prompt', prompt, true),
    h('div', { class: 'tgrid' }, h('div', { class: 'tf' }, h('label', { for: slider.id }, w('try.strength')), h('div', { class: 'tslide' }, slider, strength)),
      h('div', { class: 'tf' }, h('label', { for: seed.id }, w('try.seed')), h('div', { class: 'tseed' }, seed, dice))),
    offer.files.length > 1 ? field('file', file, true) : null, more,
    h('div', { class: 'row' }, make, stop));
  const card = h('section', { class: 'card try' }, h('h3', {}, w('try.title')), form, progress, trouble, pair, status, strip);
  form.addEventListener('submit', (event) => { event.preventDefault(); if (!busy) ask(); });

  const wish = () => ({ job, file: file.value || offer.file, prompt: prompt.value, negative: negative.value, strength: +strength.value, seed: Math.max(0, Math.round(+seed.value || 0)), width: +width.value, height: +height.value, steps: +steps.value, scale: +scale.value, sampler: offer.sampler, lang: words.language });
  function working(on) {
    busy = on; stop.hidden = progress.hidden = !on; make.disabled = on;
    if (on) { trouble.hidden = true; bar.style.width = '0'; }
  }
  function failed(error) {
    working(false); set(status, '');
    trouble.hidden = false;
    trouble.replaceChildren(...LA.rich(LA.sentence(error)));
  }
  async function ask() {
    const wanted = wish();
    working(true); set(status, w('try.starting'));
    try {
      const told = await patient(server.try_ask(wanted));
      if (told.error || told.problem) return failed(told.error || told.problem);
      asked = told.id;
      await follow(asked, wanted);
    } catch { failed({ what: w('try.no_answer') }); }
  }
  async function follow(number, wanted) {
    for (let lost = 0; lost < 20;) {
      await new Promise((go) => setTimeout(go, 350));
      if (number !== asked) return;
      let told;
      try { told = await patient(server.try_look({ id: number, lang: words.language })); lost = 0; } catch { lost += 1; continue; }
      if (told.error || told.problem) return failed(told.error || told.problem);
      if (told.state === 'cancelled') { working(false); set(status, w('try.cancelled')); return; }
      paint(told, wanted);
      if (told.state === 'done') { working(false); keep(told, wanted); return; }
    }
    failed({ what: w('try.no_answer') });
  }
  const figure = (url, text, wanted, which) => {
    const words2 = { ...words, step_n: '{step}' };
    const image = url ? h('button', { class: 'pb', type: 'button', title: w('enlarge'), onclick: () => lightbox({ ...words2, sample_alt: '{prompt}, {step}' }, wanted.prompt, pictures(), which === 'lora' ? 1 : 0).show(root) }, h('img', { class: 'pic', src: url, alt: `${wanted.prompt}, ${text}` })) : h('div', { class: 'wait' });
    return h('figure', {}, h('figcaption', {}, text), image);
  };
  const pictures = () => [{ url: shown.pictures.base, step: w('try.without') }, { url: shown.pictures.lora, step: withText(shown.wanted) }].filter((one) => one.url);
  const withText = (wanted) => w('try.with', { strength: wanted.strength });
  function paint(told, wanted) {
    const key = JSON.stringify([told.pictures, wanted]);
    if (shown?.key !== key) {
      shown = { key, pictures: told.pictures, wanted };
      pair.hidden = false;
      pair.style.setProperty('--shape', `${wanted.width} / ${wanted.height}`);
      pair.replaceChildren(figure(told.pictures.base, w('try.without'), wanted, 'base'), figure(told.pictures.lora, withText(wanted), wanted, 'lora'));
    }
    const share = told.of ? told.done / told.of : 0;
    bar.style.width = `${(share * 100).toFixed(1)}%`;
    progress.setAttribute('aria-valuenow', Math.round(share * 100));
    const text = { starting: 'try.starting', loading: 'try.loading', drawing: 'try.drawing', done: told.seconds < 0.2 ? 'try.known' : 'try.made' }[told.state];
    set(status, w(text, { done: told.done, of: told.of, seconds: told.seconds.toFixed(1) }));
  }
  function keep(told, wanted) {
    if (kept.some((one) => one.pictures.lora === told.pictures.lora)) return;
    kept.unshift({ pictures: told.pictures, wanted, seconds: told.seconds });
    kept.splice(KEPT);
    strip.hidden = kept.length < 2;
    strip.replaceChildren(h('span', { class: 'sub sm' }, w('try.earlier')), h('div', { class: 'trow' }, kept.map((one) => h('button', { class: 'pb', type: 'button', title: `${one.wanted.prompt}, ${one.wanted.strength}`, 'aria-label': w('try.again', { prompt: one.wanted.prompt, strength: one.wanted.strength }), onclick: () => !busy && paint({ ...one, state: 'done', done: 1, of: 1 }, one.wanted) }, h('img', { class: 'pic', src: one.pictures.lora, alt: '' }), h('span', { 'aria-hidden': 'true' }, one.wanted.strength)))));
  }
  return card;
};
