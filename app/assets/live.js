// Shared by the live view and the jobs tab: elements, words, numbers, charts, sample pictures.
// All text from disk goes through textContent.
const LA = (window.LA_LIVE ??= (() => {
  const SVG = 'http://www.w3.org/2000/svg';
  const ICONS = {
    check: 'M5 12.5l4.5 4.5L19 7.5', play: 'M8 5.5v13l10.5-6.5z', clock: 'M12 3.5a8.5 8.5 0 1 0 .01 0zM12 7.5V12l3 2',
    file: 'M6.5 3.5h7l4 4v13h-11zM13.5 3.5v4h4', folder: 'M3.5 6.5h6l2 2h9v10h-17z', down: 'M12 4v11M7 10.5l5 5 5-5M5 20h14',
    copy: 'M9 9h11v11H9zM5 15H4V4h11v1', bang: 'M12 6v7.5M12 17.2v.3', error: 'M12 3.5a8.5 8.5 0 1 0 .01 0zM12 7.8v5M12 16v.2', stop: 'M7 7h10v10H7z', image: 'M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.5 9h.01',
    up: 'M12 19V6M6.5 11L12 5.5 17.5 11', dn: 'M12 5v13M6.5 13l5.5 5.5L17.5 13', x: 'M6 6l12 12M18 6L6 18',
    left: 'M14.5 5.5L8 12l6.5 6.5', right: 'M9.5 5.5L16 12l-6.5 6.5', search: 'M10.5 4a6.5 6.5 0 1 0 .01 0zM15.5 15.5L20 20',
    warn: 'M12 4.5l8.5 15h-17zM12 10v4.5M12 17v.2', log: 'M5 6h14M5 10h14M5 14h9M5 18h6',
    wand: 'M4 20L15 9M14 4v3M19 9h3M18 5l2-2', dice: 'M4.5 11a7.6 7.6 0 0 1 13-4.2L20 9.5M20 4.5v5h-5M19.5 13a7.6 7.6 0 0 1-13 4.2L4 14.5M4 19.5v-5h5', info: 'M12 3.5a8.5 8.5 0 1 0 .01 0zM12 11v5M12 8v.2', trash: 'M5 7h14M10 7V4.5h4V7M7 7l1 13h8l1-13M10.5 11v5.5M13.5 11v5.5', cube: 'M12 3.5l8 4.2v8.6l-8 4.2-8-4.2V7.7zM4 7.7l8 4.3 8-4.3M12 12v8.5',
  };
  const h = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === undefined || value === null || value === false) continue;
      if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
      else if (name === 'class') element.className = value;
      else element.setAttribute(name, value === true ? '' : value);
    }
    element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false && child !== ''));
    return element;
  };
  const icon = (name, small) => {
    const svg = document.createElementNS(SVG, 'svg');
    svg.setAttribute('viewBox', '0 0 24 24');
    svg.setAttribute('class', small ? 'ic s' : 'ic');
    svg.setAttribute('aria-hidden', 'true');
    const path = document.createElementNS(SVG, 'path');
    path.setAttribute('d', ICONS[name]);
    svg.append(path);
    return svg;
  };
  const language = () => (document.cookie.match(/(?:^|; )ui_lang=(\w+)/)?.[1] || navigator.language || 'en').slice(0, 2) === 'ja' ? 'ja' : 'en';
  // "**Label**" becomes bold, everything else stays text.
  const rich = (text) => together(String(text || '')).split('**').map((part, at) => (at % 2 ? h('b', {}, part) : part));
  // Text in place: no elements come or go, so nobody who watches the page's tree is woken.
  const set = (element, text) => {
    const only = element.childNodes.length === 1 && element.firstChild.nodeType === Node.TEXT_NODE ? element.firstChild : null;
    if (only) { if (only.nodeValue !== String(text)) only.nodeValue = text; } else if (element.textContent !== String(text)) element.textContent = text;
  };
  const labels = (box, texts) => {
    if (box.children.length !== texts.length) box.replaceChildren(...texts.map((text) => h('i', {}, text)));
    else texts.forEach((text, at) => set(box.children[at], text));
  };
  // An error of the server in words.
  const sentence = (error) => [error.what, error.why, error.fix].filter(Boolean).join(language() === 'ja' ? '' : ' ');
  const fill = (text, values) => together(String(text ?? '').replace(/\{(\w+)\}/g, (_, key) => values[key] ?? ''));
  // Japanese: a number and what it counts are not parted at the end of a line.
  const together = (text) => (language() === 'ja' ? text.replace(/(約|\d) (?=\d|[分秒枚件回個層]|ステップ|エポック)/g, '$1\u00a0') : text);
  const number = (value) => new Intl.NumberFormat('en').format(value);
  const rate = (value) => (value === 0 ? '0' : value >= 0.01 ? String(+value.toPrecision(3)) : String(+value.toPrecision(3)).includes('e') ? String(+value.toPrecision(3)) : (+value.toPrecision(3)).toExponential());
  const bytes = (count) => (count >= 1e9 ? `${(count / 1e9).toFixed(1)} GB` : count >= 1e6 ? `${Math.round(count / 1e6)} MB` : `${Math.round(count / 1e3)} kB`);
  const clock = (seconds) => {
    const whole = Math.max(0, Math.round(seconds)), two = (n) => String(n).padStart(2, '0');
    const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
    return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
  };
  const span = (seconds, words) => {
    const whole = Math.max(0, Math.round(seconds)), hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
    if (hours) return `${hours} ${words.hour} ${minutes} ${words.minute}`;
    if (minutes >= 10) return `${minutes + (whole % 60 >= 30 ? 1 : 0)} ${words.minute}`;
    return minutes ? `${minutes} ${words.minute} ${whole % 60} ${words.second}` : `${whole} ${words.second}`;
  };
  const time = (seconds, full) => new Date(seconds * 1000).toLocaleTimeString('en-GB', full ? { hour: '2-digit', minute: '2-digit', second: '2-digit' } : { hour: '2-digit', minute: '2-digit' });
  const copy = async (text, button, words) => {
    try { await navigator.clipboard.writeText(text); } catch {
      const area = h('textarea', { style: 'position:fixed;opacity:0' });
      area.value = text; document.body.append(area); area.select(); document.execCommand('copy'); area.remove();
    }
    const label = button.querySelector('.t') || button, before = label.textContent;
    button.setAttribute('data-done', words.copied);
    if (label !== button) label.textContent = words.copied;
    setTimeout(() => { button.removeAttribute('data-done'); if (label !== button) label.textContent = before; }, 1500);
  };

  // ── charts ────────────────────────────────────────────────────────────────────────────────────────
  const colour = (element, name, fallback) => getComputedStyle(element).getPropertyValue(name).trim() || fallback;
  const tidy = (value) => (Math.abs(value) >= 0.01 || value === 0 ? String(+value.toPrecision(2)) : rate(+value.toPrecision(2)));
  // A canvas with the labels outside. `draw({lines: [{x, y, colour, width, dotted}], from, to, marks})`.
  const chart = (height, label) => {
    const canvas = h('canvas', { role: 'img', 'aria-label': label });
    const ys = h('div', { class: 'yl', 'aria-hidden': 'true' }), xs = h('div', { class: 'xl', 'aria-hidden': 'true' });
    const box = h('div', { class: 'chart', style: `--h:${height}px` }, ys, h('div', { class: 'cv' }, canvas), xs);
    let last = null;
    const draw = (data) => {
      last = data;
      const width = canvas.parentElement.clientWidth, ratio = window.devicePixelRatio || 1;
      if (!width) return;
      if (canvas.width !== Math.round(width * ratio)) { canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio); }
      const g = canvas.getContext('2d');
      g.setTransform(ratio, 0, 0, ratio, 0, 0);
      g.clearRect(0, 0, width, height);
      let low = Infinity, high = -Infinity;
      for (const line of data.lines) for (const y of line.y) { if (y < low) low = y; if (y > high) high = y; }
      if (data.zero) low = 0;
      if (data.most !== undefined && high > data.most) high = data.most;
      if (!(high > low)) { high = (high > -Infinity ? high : 1) || 1; low = data.zero ? 0 : high * 0.5; high *= data.zero ? 1 : 1.5; }
      const px = (x) => ((x - data.from) / (data.to - data.from || 1)) * (width - 2) + 1;
      const py = (y) => height - 2 - ((y - low) / (high - low)) * (height - 4);
      g.strokeStyle = colour(canvas, '--la-grid', '#8883'); g.lineWidth = 1;
      for (let at = 0; at <= 4; at++) { const y = Math.round(((height - 1) * at) / 4) + 0.5; g.beginPath(); g.moveTo(0, Math.min(y, height - 0.5)); g.lineTo(width, Math.min(y, height - 0.5)); g.stroke(); }
      for (const mark of data.marks || []) {
        g.strokeStyle = colour(canvas, '--body-text-color-subdued', '#888'); g.globalAlpha = 0.55;
        g.beginPath(); g.moveTo(px(mark), 0); g.lineTo(px(mark), height); g.stroke(); g.globalAlpha = 1;
      }
      for (const line of data.lines) {
        g.strokeStyle = colour(canvas, ...line.colour); g.lineWidth = line.width; g.lineJoin = 'round';
        g.setLineDash(line.dotted ? [2, 4] : []);
        g.beginPath();
        for (let at = 0; at < line.x.length; at++) { const y = Math.max(1, py(line.y[at])); at ? g.lineTo(px(line.x[at]), y) : g.moveTo(px(line.x[at]), y); }
        if (line.x.length === 1) g.lineTo(px(line.x[0]) + 1, py(line.y[0]));
        g.stroke(); g.setLineDash([]);
      }
      labels(ys, [high, (high + low) / 2, low].map(tidy));
      const steps = width < 260 ? 2 : 4;
      labels(xs, Array.from({ length: steps + 1 }, (_, at) => number(Math.round(data.from + ((data.to - data.from) * at) / steps))));
    };
    const again = () => last && canvas.isConnected && draw(last);
    new ResizeObserver(again).observe(box);
    const looks = new MutationObserver(again);
    for (const node of [document.documentElement, document.body]) looks.observe(node, { attributes: true, attributeFilter: ['class', 'data-theme'] });
    return { box, draw, say: (text) => canvas.setAttribute('aria-label', text) };
  };

  // ── sample pictures ───────────────────────────────────────────────────────────────────────────────
  const spread = (list, most) => {
    if (list.length <= most) return list;
    const chosen = new Set(Array.from({ length: most }, (_, at) => list[Math.round((at * (list.length - 1)) / (most - 1))]));
    return list.filter((item) => chosen.has(item));
  };
  // Which steps get a column: the first, the latest, evenly between, and what is still to come.
  const columns = (done, planned, most) => {
    const latest = done[done.length - 1] ?? -1, future = planned.filter((step) => step > latest);
    const all = [...done, ...future];
    if (all.length <= most) return all;
    const ahead = future.slice(0, 1), kept = spread(done, most - ahead.length);
    return [...kept, ...ahead];
  };
  const stepText = (step) => (typeof step === 'number' ? number(step) : step);
  const lightbox = (words, prompt, pictures, at) => {
    const image = h('img', { alt: '' }), caption = h('p', { class: 'cap2' });
    const show = (next) => {
      at = Math.max(0, Math.min(pictures.length - 1, next));
      image.onload = () => image.style.setProperty('--r', image.naturalWidth / image.naturalHeight);
      image.src = pictures[at].url;
      image.alt = fill(words.sample_alt, { prompt, step: stepText(pictures[at].step) });
      set(caption, `${fill(words.step_n, { step: stepText(pictures[at].step) })} · ${prompt}`);
      back.disabled = at === 0; on.disabled = at === pictures.length - 1;
    };
    const button = (name, label, act) => h('button', { class: 'ib', type: 'button', 'aria-label': label, title: label, onclick: act }, icon(name));
    const back = button('left', words.earlier, () => show(at - 1)), on = button('right', words.later, () => show(at + 1));
    const dialog = h('dialog', { class: 'la-box', 'aria-label': prompt }, h('div', { class: 'frame' }, back, image, on), h('div', { class: 'foot' }, caption, button('x', words.close, () => dialog.close())));
    dialog.addEventListener('keydown', (event) => { if (event.key === 'ArrowLeft') show(at - 1); if (event.key === 'ArrowRight') show(at + 1); });
    dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });
    dialog.addEventListener('close', () => dialog.remove());
    return { dialog, show: (root) => { root.append(dialog); show(at); dialog.showModal(); } };
  };
  // rows: [{prompt, tag, cells: Map(step -> url)}], one line of the grid each.
  const grid = (words, root, steps, rows, latest, side = '132px') => {
    const cell = (row, step) => {
      const url = row.cells.get(step);
      if (!url) return h('div', { class: 'wait' });
      const pictures = [...row.cells].sort((a, b) => a[0] - b[0]).map(([s, u]) => ({ step: s, url: u }));
      const label = fill(words.sample_alt, { prompt: row.prompt, step: number(step) });
      const open = () => lightbox(words, row.prompt, pictures, pictures.findIndex((picture) => picture.step === step)).show(root);
      return h('button', { class: step === latest ? 'pb new' : 'pb', type: 'button', title: words.enlarge, onclick: open }, h('img', { class: 'pic', src: url, alt: label, loading: 'lazy', decoding: 'async' }));
    };
    const head = [h('span', { class: 'h l' }, words.step), ...steps.map((step) => h('span', { class: 'h' }, number(step)))];
    const body = rows.flatMap((row) => [row.tag ? h('span', { class: 'q tagq' }, row.head ? h('span', { class: 'qq' }, row.prompt) : null, row.tag()) : h('span', { class: 'q' }, row.prompt), ...steps.map((step) => cell(row, step))]);
    return h('div', { class: 'sg', style: `--n:${steps.length};--side:${side}` }, head, body);
  };
  // A card's heading; what stands beside it is no part of its name.
  const head = (title, note) => h('div', { class: 'ch' }, h('h3', {}, title), note ? h('small', {}, note) : null);
  // A server that went away may leave a request without any answer.
  const patient = (promise, most = 10_000) => {
    let bell;
    const late = new Promise((_, reject) => { bell = setTimeout(() => reject(new Error('late')), most); });
    return Promise.race([promise, late]).finally(() => clearTimeout(bell));
  };
  return { h, icon, language, rich, sentence, set, fill, number, rate, bytes, clock, span, time, copy, chart, columns, grid, head, lightbox, patient };
})());
