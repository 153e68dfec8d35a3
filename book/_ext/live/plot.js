// Axes, curves and bands in an SVG that is drawn anew at the width it has: letters keep their size on a phone.
(() => {
  const NAMESPACE = 'http://www.w3.org/2000/svg';
  const MARGIN = { left: 50, right: 10, top: 8, bottom: 36 };
  let count = 0;

  function shape(name, attributes, parent) {
    const node = document.createElementNS(NAMESPACE, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (parent) parent.append(node);
    return node;
  }

  class Plot {
    // Ranges are [low, high] in the units of the data; with `log` the y axis is logarithmic.
    constructor({ height, x, y, log = false, xTicks, xNames = xTicks, yTicks, xLabel, yLabel }) {
      Object.assign(this, { height, x, y, log, xTicks, xNames, yTicks, xLabel, yLabel, width: 0 });
      this.svg = shape('svg', { class: 'live-plot', height });
      this.clip = `live-clip-${(count += 1)}`;
      this.window = shape('rect', {}, shape('clipPath', { id: this.clip }, shape('defs', {}, this.svg)));
      this.axes = shape('g', { class: 'live-axes' }, this.svg);
      this.curves = shape('g', { 'clip-path': `url(#${this.clip})` }, this.svg);
      this.points = shape('g', { class: 'live-points' }, this.svg);
    }

    // Take the width of the container; tells whether it changed. One without room for axes is not laid out yet.
    fit(width) {
      if (width <= MARGIN.left + MARGIN.right || width === this.width) return false;
      this.width = width;
      this.svg.setAttribute('width', width);
      this.svg.setAttribute('viewBox', `0 0 ${width} ${this.height}`);
      const [w, h] = [width - MARGIN.left - MARGIN.right, this.height - MARGIN.top - MARGIN.bottom];
      for (const [key, value] of Object.entries({ x: MARGIN.left, y: MARGIN.top, width: w, height: h })) {
        this.window.setAttribute(key, value);
      }
      this.axes.replaceChildren();
      shape('rect', { x: MARGIN.left, y: MARGIN.top, width: w, height: h, class: 'live-frame' }, this.axes);
      for (const [number, tick] of this.xTicks.entries()) {
        const at = this.px(tick);
        shape('line', { x1: at, x2: at, y1: MARGIN.top + h, y2: MARGIN.top + h + 4 }, this.axes);
        this.text(`${this.xNames[number]}`.replace('-', '−'), { x: at, y: MARGIN.top + h + 16, 'text-anchor': 'middle' });
      }
      for (const tick of this.yTicks) {
        const at = this.py(tick);
        shape('line', { x1: MARGIN.left - 4, x2: MARGIN.left, y1: at, y2: at }, this.axes);
        this.text(`${tick}`.replace('-', '−'), { x: MARGIN.left - 7, y: at + 4, 'text-anchor': 'end' });
      }
      this.text(this.xLabel, { x: MARGIN.left + w / 2, y: this.height - 4, 'text-anchor': 'middle' });
      const turn = `rotate(-90 12 ${MARGIN.top + h / 2})`;
      this.text(this.yLabel, { x: 12, y: MARGIN.top + h / 2, 'text-anchor': 'middle', transform: turn });
      return true;
    }

    text(words, attributes) {
      shape('text', attributes, this.axes).textContent = words;
    }

    px(x) {
      const [low, high] = this.x;
      return MARGIN.left + ((x - low) / (high - low)) * (this.width - MARGIN.left - MARGIN.right);
    }

    py(y) {
      const scale = (value) => (this.log ? Math.log10(Math.max(value, 1e-9)) : value);
      const [low, high] = this.y.map(scale);
      const share = Math.min(Math.max((scale(y) - low) / (high - low), -3), 4); // far outside is far enough
      return this.height - MARGIN.bottom - share * (this.height - MARGIN.top - MARGIN.bottom);
    }

    // From a place on the screen to the units of the data (linear axes).
    at(event) {
      const box = this.svg.getBoundingClientRect();
      const across = (event.clientX - box.left - MARGIN.left) / (this.width - MARGIN.left - MARGIN.right);
      const up = (box.bottom - MARGIN.bottom - event.clientY) / (this.height - MARGIN.top - MARGIN.bottom);
      const inside = across >= 0 && across <= 1 && up >= 0 && up <= 1;
      const mix = ([low, high], share) => low + share * (high - low);
      return { x: mix(this.x, across), y: mix(this.y, up), inside };
    }

    clear() {
      this.curves.replaceChildren();
    }

    line(xs, ys, kind) {
      const path = ys.map((y, i) => `${i ? 'L' : 'M'}${this.px(xs[i]).toFixed(1)},${this.py(y).toFixed(1)}`).join('');
      shape('path', { d: path, class: `live-line ${kind}` }, this.curves);
    }

    band(xs, low, high, kind) {
      const up = xs.map((x, i) => `${this.px(x).toFixed(1)},${this.py(high[i]).toFixed(1)}`);
      const down = xs.map((x, i) => `${this.px(x).toFixed(1)},${this.py(low[i]).toFixed(1)}`).reverse();
      shape('path', { d: `M${[...up, ...down].join('L')}Z`, class: `live-band ${kind}` }, this.curves);
    }

    strip(from, to, kind) {
      const [left, right] = [this.px(from), this.px(to)];
      shape('rect', { x: left, width: right - left, y: 0, height: this.height, class: kind }, this.curves);
    }

    dot(x, y, radius, kind, parent = this.curves) {
      return shape('circle', { cx: this.px(x), cy: this.py(y), r: radius, class: kind }, parent);
    }
  }

  // HTML, with the least that a form needs.
  function element(name, attributes = {}, ...children) {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
      else node.setAttribute(key, value);
    }
    node.append(...children);
    return node;
  }

  function choice(words, options, value, change) {
    const select = element('select', { onchange: () => change(select.value) });
    for (const [key, label] of options) select.append(element('option', { value: key }, label));
    select.value = value;
    return { node: element('label', {}, `${words} `, select), set: (next) => { select.value = next; } };
  }

  function legend(entries) {
    const items = entries.map(([kind, words]) => element('li', {}, element('span', { class: `live-key ${kind}` }), words));
    return element('ul', { class: 'live-legend' }, ...items);
  }

  const clamp = (value, [low, high]) => Math.min(Math.max(value, low), high);

  Object.assign(window.uqlive, { Plot, clamp, element, choice, legend });
})();
