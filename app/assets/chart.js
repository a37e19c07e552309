// Curves on a canvas, with the labels outside.

const labels = (box, texts) => {
  if (box.children.length !== texts.length) box.replaceChildren(...texts.map((text) => el("i", {}, text)));
  else for (const [at, text] of texts.entries()) set(box.children[at], text);
};
const colour = (element, name, fallback) => getComputedStyle(element).getPropertyValue(name).trim() || fallback;
const tidy = (value) =>
  Math.abs(value) >= 0.01 || value === 0 ? String(+value.toPrecision(2)) : rate(+value.toPrecision(2));
// Whole at the edges, too.
const dot = (g, x, y, radius, height) => {
  g.fillStyle = g.strokeStyle;
  g.beginPath();
  g.arc(x, Math.min(Math.max(y, radius), height - radius), radius, 0, 2 * Math.PI);
  g.fill();
};
// A canvas with the labels outside. `draw({lines: [{x, y, colour, width, dotted}], from, to, marks})`; with
// `range: [low, high]` it shows that, whatever the lines; `write` makes the text of a value.
const chart = (height, label) => {
  const canvas = el("canvas", { role: "img", "aria-label": label });
  const ys = el("div", { class: "yl", "aria-hidden": "true" }),
    xs = el("div", { class: "xl", "aria-hidden": "true" });
  const box = el("div", { class: "chart", style: `--h:${height}px` }, ys, el("div", { class: "cv" }, canvas), xs);
  let last = null;
  const draw = (data) => {
    last = data;
    const width = canvas.parentElement.clientWidth,
      ratio = window.devicePixelRatio || 1;
    if (!width) return;
    if (canvas.width !== Math.round(width * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const g = canvas.getContext("2d");
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.clearRect(0, 0, width, height);
    let low = Infinity,
      high = -Infinity;
    for (const line of data.lines)
      for (const y of line.y) {
        if (y < low) low = y;
        if (y > high) high = y;
      }
    if (data.zero) low = 0;
    if (data.range) [low, high] = data.range;
    if (data.most !== undefined && high > data.most) high = data.most;
    if (!(high > low)) {
      high = (high > -Infinity ? high : 1) || 1;
      low = data.zero ? 0 : high * 0.5;
      high *= data.zero ? 1 : 1.5;
    }
    const px = (x) => ((x - data.from) / (data.to - data.from || 1)) * (width - 2) + 1;
    const py = (y) => height - 2 - ((y - low) / (high - low)) * (height - 4);
    g.strokeStyle = colour(canvas, "--la-grid", "#8883");
    g.lineWidth = 1;
    for (let at = 0; at <= 4; at++) {
      const y = Math.round(((height - 1) * at) / 4) + 0.5;
      g.beginPath();
      g.moveTo(0, Math.min(y, height - 0.5));
      g.lineTo(width, Math.min(y, height - 0.5));
      g.stroke();
    }
    for (const mark of data.marks || []) {
      g.strokeStyle = colour(canvas, "--body-text-color-subdued", "#888");
      g.globalAlpha = 0.55;
      g.beginPath();
      g.moveTo(px(mark), 0);
      g.lineTo(px(mark), height);
      g.stroke();
      g.globalAlpha = 1;
    }
    for (const line of data.lines) {
      g.strokeStyle = colour(canvas, ...line.colour);
      g.lineWidth = line.width;
      g.lineJoin = "round";
      g.setLineDash(line.dotted ? [2, 4] : []);
      g.beginPath();
      for (let at = 0; at < line.x.length; at++) {
        const y = Math.max(1, py(line.y[at]));
        at ? g.lineTo(px(line.x[at]), y) : g.moveTo(px(line.x[at]), y);
      }
      g.stroke();
      if (line.x.length === 1) dot(g, px(line.x[0]), py(line.y[0]), line.width * 1.5, height);
      g.setLineDash([]);
    }
    labels(ys, [high, (high + low) / 2, low].map(data.write ?? tidy));
    const steps = width < 260 ? 2 : 4;
    labels(
      xs,
      Array.from({ length: steps + 1 }, (_, at) =>
        number(Math.round(data.from + ((data.to - data.from) * at) / steps)),
      ),
    );
  };
  const again = () => last && canvas.isConnected && draw(last);
  new ResizeObserver(again).observe(box);
  const looks = new MutationObserver(again);
  for (const node of [document.documentElement, document.body])
    looks.observe(node, { attributes: true, attributeFilter: ["class", "data-theme"] });
  return { box, draw, say: (text) => canvas.setAttribute("aria-label", text) };
};
