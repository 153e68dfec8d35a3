// The viewer: scene, scatter plot, slider, play button and colour bar around one frame number.
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const name in attributes) made.setAttribute(name, attributes[name]);
  made.append(...children);
  return made;
}

// Arrays travel as base64 text: every widget host carries it, binary buffers get lost in some.
function bytes(text) {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}

function decode(payload) {
  const floats = (text) => new Float32Array(bytes(text).buffer);
  const { positions, values, cells, x, y } = payload;
  return {
    ...payload, positions: floats(positions), values: floats(values), cells: floats(cells), x: floats(x), y: floats(y),
    natoms: payload.symbols.length,
  };
}

function number(v) {
  return v === 0 ? '0' : Number(v.toPrecision(3)).toString().replace('-', '\u2212');
}

function colourBar(data) {
  const middle = (data.vmin + data.vmax) / 2;
  const bar = element('div', { class: 'uqv-legend', role: 'img',
    'aria-label': `Colour scale: ${data.value_label}, from ${number(data.vmin)} to ${number(data.vmax)}` });
  bar.append(element('span', { class: 'uqv-legend-label' }, data.value_label),
    element('span', { class: 'uqv-ramp', style: `background:linear-gradient(90deg,${data.stops.join(',')})` }),
    element('span', { class: 'uqv-legend-ends' },
      ...[data.vmin, middle, data.vmax].map((v) => element('span', {}, number(v)))));
  if (data.values.some(Number.isNaN)) bar.append(element('span', { class: 'uqv-legend-label' }, 'grey: no value'));
  return bar;
}

// What a reader is told about a frame in words.
function caption(data, frame) {
  const label = data.labels ? ` \u00b7 ${data.labels[frame]}` : '';
  return `${data.frame_label} ${frame + 1} / ${data.nframes}${label}`;
}

function atomText(data, frame, atom) {
  const name = `${data.symbols[atom]}, atom ${atom}`;
  if (!data.values.length) return name;
  const value = data.values[frame * data.natoms + atom];
  return `${name}: ${Number.isNaN(value) ? 'no value' : number(value)}`;
}

// host: where to put it. still: the still picture (an element), shown in print and where there is no WebGL.
// link.get/set: the frame number kept outside (the kernel's, if there is one). engine(): resolves to NGL.
// Returns { show(frame), remove() }.
function mount(host, payload, { still, link, engine }) {
  const data = decode(payload);
  const canvas = element('div', { class: 'uqv-canvas', style: `height:${data.height}px`, role: 'img', tabindex: 0,
    'aria-label': `${data.alt} Drag, or use the arrow keys, to turn it; plus and minus zoom.` });
  const tip = element('div', { class: 'uqv-tip', 'aria-hidden': 'true' });
  const wait = element('div', { class: 'uqv-wait' }, 'loading the 3-D engine \u2026');
  const view = element('div', { class: 'uqv-view' }, canvas, wait, tip, still);
  const play = element('button', { type: 'button', class: 'uqv-play' });
  const slider = element('input', { type: 'range', min: 0, max: data.nframes - 1, step: 1, class: 'uqv-slider',
    'aria-label': `Choose the ${data.frame_label}` });
  const words = element('output', { class: 'uqv-words', 'aria-live': 'off' });
  const left = element('div', { class: 'uqv-left' });
  if (data.title) left.append(element('div', { class: 'uqv-title' }, data.title));
  left.append(view);
  if (data.nframes > 1) left.append(element('div', { class: 'uqv-controls' }, play, slider, words));
  if (data.values.length) left.append(colourBar(data));
  const root = element('div', { class: 'uqv', role: 'group', 'aria-label': data.title || 'Structure viewer' }, left);
  const right = element('div', { class: 'uqv-right' });
  if (data.x.length) root.append(right);
  host.append(root);

  let frame = -1, scene, building = false, timer = 0, removed = false, visible = false;

  function show(wanted, tell) {
    const next = Math.max(0, Math.min(data.nframes - 1, Math.trunc(wanted) || 0));
    if (next === frame) return;
    frame = next;
    root.dataset.frame = frame;
    slider.value = frame;
    words.textContent = caption(data, frame);
    slider.setAttribute('aria-valuetext', words.textContent);
    tip.textContent = '';
    if (scatter) scatter.show(frame);
    if (scene) scene.show(frame);
    if (tell) link.set(frame);
  }

  function stop() {
    clearInterval(timer);
    timer = 0;
    play.textContent = '\u25b6\ufe0e';
    play.setAttribute('aria-label', 'Play');
  }
  function toggle() {
    if (timer) return stop();
    timer = setInterval(() => show((frame + 1) % data.nframes, true), data.interval);
    play.textContent = '\u275a\u275a';
    play.setAttribute('aria-label', 'Pause');
  }
  const choose = (wanted) => { stop(); show(wanted, true); };
  const scatter = data.x.length ? makeScatter(right, data, choose) : undefined;
  const paper = () => { if (scene) scene.setBackground(getComputedStyle(view).backgroundColor); };

  async function build() {
    if (scene || building || root.classList.contains('uqv-failed')) return;
    building = true;
    try {
      const NGL = await engine();
      if (removed || !visible) return; // it scrolled away meanwhile
      scene = makeScene(NGL, canvas, data);
      paper();
      scene.show(frame);
      wait.remove();
      root.dataset.ready = 'true';
    } catch (error) {
      console.warn('uqlib viewer:', error);
      root.classList.add('uqv-failed');
      wait.textContent =
        `The moving 3-D view needs WebGL, which did not start (${error.message}). This is a still picture.`;
      view.append(wait);
    } finally {
      building = false;
    }
  }
  function drop() {
    stop();
    delete root.dataset.ready;
    if (scene) scene.dispose();
    scene = undefined;
  }

  root.addEventListener('keydown', (event) => event.stopPropagation()); // JupyterLab would swallow the arrow keys
  play.addEventListener('click', toggle);
  slider.addEventListener('input', () => choose(Number(slider.value)));
  canvas.addEventListener('keydown', (event) => {
    const turns = { ArrowLeft: [-0.15, 0], ArrowRight: [0.15, 0], ArrowUp: [0, -0.15], ArrowDown: [0, 0.15] };
    const zooms = { '+': 0.1, '=': 0.1, '-': -0.1 };
    if (!scene || !(event.key in turns || event.key in zooms)) return;
    event.preventDefault();
    if (event.key in turns) scene.turn(...turns[event.key]);
    else scene.zoom(zooms[event.key]);
  });
  canvas.addEventListener('pointerdown', () => canvas.focus({ preventScroll: true }));
  canvas.addEventListener('focus', () => scene && scene.wheelZooms(true));
  canvas.addEventListener('blur', () => scene && scene.wheelZooms(false));
  canvas.addEventListener('dblclick', () => scene && scene.home());
  canvas.addEventListener('pointerleave', () => { tip.textContent = ''; });
  canvas.addEventListener('pointermove', (event) => {
    if (!scene || event.buttons) return;
    const place = canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - place.left, event.clientY - place.top];
    const atom = scene.atomAt(frame, x, y);
    tip.textContent = atom < 0 ? '' : atomText(data, frame, atom);
    tip.style.transform = `translate(${Math.min(x + 12, place.width - 150)}px, ${y + 12}px)`;
  });

  // A browser keeps about 16 WebGL contexts: only the viewers near the screen hold one.
  const near = new IntersectionObserver((entries) => {
    visible = entries[entries.length - 1].isIntersecting;
    if (visible) build();
    else drop();
  }, { rootMargin: '200px' });
  near.observe(view);
  const sized = new ResizeObserver(() => scene && scene.resize());
  sized.observe(view);
  const themed = new MutationObserver(paper); // the site's light and dark theme
  themed.observe(document.documentElement, { attributes: true, attributeFilter: ['data-theme', 'data-mode'] });
  stop();
  show(link.get(), false);
  return {
    show: (wanted) => show(wanted, false),
    remove() {
      removed = true;
      drop();
      for (const observer of [near, sized, themed]) observer.disconnect();
      root.remove();
    },
  };
}
