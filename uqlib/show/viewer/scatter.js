// The linked scatter plot: one point a frame, drawn as SVG so that it prints well and follows the page's colours.
function svgElement(tag, attributes = {}, text = '') {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const name in attributes) element.setAttribute(name, attributes[name]);
  element.textContent = text;
  return element;
}

// Round numbers that cover [low, high] in about four steps.
function ticks(low, high) {
  const rough = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((m) => m * power >= rough);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) found.push(k * step);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const large = Math.max(Math.abs(low), Math.abs(high));
  const write = (v) => (digits > 4 || large >= 1e5 ? v.toExponential(1) : v.toFixed(digits));
  return found.map((v) => [v, write(v).replace('-', '\u2212')]);
}

function span(numbers) {
  let [low, high] = [Infinity, -Infinity];
  for (const v of numbers) if (Number.isFinite(v)) { low = Math.min(low, v); high = Math.max(high, v); }
  if (low > high) return [0, 1];
  const margin = 0.05 * (high - low) || 0.05 * Math.abs(high) || 1;
  return [low - margin, high + margin];
}

// choose(frame) is called when the reader picks a point, with the mouse or with the arrow keys.
function makeScatter(host, data, choose) {
  const [width, height, left, bottom, top, right] = [380, Math.max(260, data.height), 62, 46, 10, 12];
  const [[x0, x1], [y0, y1]] = [span(data.x), span(data.y)];
  const X = (v) => left + ((v - x0) / (x1 - x0)) * (width - left - right);
  const Y = (v) => height - bottom - ((v - y0) / (y1 - y0)) * (height - bottom - top);
  const svg = svgElement('svg', {
    viewBox: `0 0 ${width} ${height}`, class: 'uqv-scatter', role: 'img', tabindex: 0,
    'aria-label': `${data.ylabel} against ${data.xlabel}, one point a ${data.frame_label}. ` +
      'Arrow keys step through the points from left to right.',
  });
  svg.append(svgElement('path', { d: `M${left},${top}V${height - bottom}H${width - right}`, class: 'uqv-axis' }));
  for (const [v, text] of ticks(x0, x1)) {
    svg.append(svgElement('path', { d: `M${X(v)},${height - bottom}v4`, class: 'uqv-axis' }),
      svgElement('text', { x: X(v), y: height - bottom + 17, class: 'uqv-tick' }, text));
  }
  for (const [v, text] of ticks(y0, y1)) {
    svg.append(svgElement('path', { d: `M${left},${Y(v)}h-4`, class: 'uqv-axis' }),
      svgElement('text', { x: left - 7, y: Y(v) + 4, class: 'uqv-tick uqv-end' }, text));
  }
  const middle = (height - bottom + top) / 2;
  svg.append(svgElement('text', { x: (left + width - right) / 2, y: height - 8, class: 'uqv-label' }, data.xlabel),
    svgElement('text', { x: 14, y: middle, class: 'uqv-label', transform: `rotate(-90 14 ${middle})` }, data.ylabel));

  // All points are one path of zero-length strokes with round caps: thousands cost no more than one element.
  const points = [];
  data.x.forEach((x, frame) => {
    if (Number.isFinite(x) && Number.isFinite(data.y[frame])) points.push({ frame, x: X(x), y: Y(data.y[frame]) });
  });
  points.sort((a, b) => a.x - b.x);
  const size = points.length > 400 ? 4 : 7;
  svg.append(svgElement('path', {
    d: points.map((p) => `M${p.x.toFixed(1)},${p.y.toFixed(1)}h0`).join(''), class: 'uqv-points', 'stroke-width': size,
  }));
  const ring = svgElement('circle', { r: 7, class: 'uqv-ring' });
  svg.append(ring);
  host.append(svg);

  let chosen = 0; // position in `points`
  svg.addEventListener('click', (event) => {
    const p = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    let nearest = 20 * 20; // small points must be easy to hit
    let hit;
    for (const q of points) {
      const d = (q.x - p.x) ** 2 + (q.y - p.y) ** 2;
      if (d < nearest) { nearest = d; hit = q; }
    }
    if (hit) choose(hit.frame);
  });
  svg.addEventListener('keydown', (event) => {
    const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (!step || !points.length) return;
    event.preventDefault();
    choose(points[Math.min(points.length - 1, Math.max(0, chosen + step))].frame);
  });
  return {
    show(frame) {
      const k = points.findIndex((p) => p.frame === frame);
      ring.setAttribute('visibility', k < 0 ? 'hidden' : 'visible');
      if (k < 0) return;
      chosen = k;
      ring.setAttribute('cx', points[k].x);
      ring.setAttribute('cy', points[k].y);
    },
  };
}
