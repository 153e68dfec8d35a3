// The live double well: points that can be dragged, and networks that learn them while one looks.
//
// A training is cut into slices of some milliseconds between two pictures, so that the page never stands still. Whoever
// asked the system for less motion sees only the finished one. The root element tells tests, and other scripts, what it
// shows: data-state, data-left, data-top, data-beyond, data-points.
(() => {
  const { Plot, Training, element, choice, legend, wells, clamp } = window.uqlive;
  const { WELLS, GRID, KINDS, energy, sample, look } = wells;
  const POINTS = 40;
  const FEWEST = 4;
  const MOST = 80;
  const STEPS = 1000;
  const SLICE = 24; // ms of training between two chances for the page to answer the reader
  const PICTURE = 120; // ms between two pictures of an unfinished training
  const RANGE = { x: [-0.75, 0.75], y: [-0.15, 0.8] };
  const signed = (value, digits) => value.toFixed(digits).replace('-', '−');

  class WellFigure {
    constructor(root) {
      this.root = root;
      this.kind = KINDS[root.dataset.head];
      this.start = { members: this.kind.members, width: 24, noise: 1, weight: 0.01 };
      this.timer = null;
      this.drawn = 0;
      this.build();
      this.reset();
    }

    build() {
      const { kind } = this;
      const common = { x: RANGE.x, xTicks: [-0.6, -0.4, -0.2, 0, 0.2, 0.4, 0.6] };
      this.upper = new Plot({ ...common, height: 300, y: RANGE.y, yTicks: [0, 0.2, 0.4, 0.6, 0.8], xLabel: 'x (Å)', yLabel: 'energy (eV)' });
      const scale = kind.unit
        ? { y: [-5, 60], yTicks: [0, 20, 40, 60], yLabel: 'score (nats)' }
        : { y: [0.2, 2000], log: true, yTicks: [1, 10, 100, 1000], yLabel: 'σ (meV)' };
      this.lower = new Plot({ ...common, ...scale, height: 170, xLabel: 'x (Å)' });
      const help = `live-help-${this.root.dataset.head}`;
      for (const [name, value] of Object.entries({ tabindex: 0, role: 'application', 'aria-describedby': help })) {
        this.upper.svg.setAttribute(name, value);
      }
      this.upper.svg.setAttribute('aria-label', 'Double well with training points that can be moved, and what networks learn from them');
      this.lower.svg.setAttribute('role', 'img');
      this.lower.svg.setAttribute('aria-label', 'Uncertainty along x; the networks are still learning');
      this.numbers = element('p', { class: 'live-numbers', role: 'status' });
      this.selection = element('p', { class: 'live-selection', 'aria-live': 'polite' });
      this.root.replaceChildren(
        this.controls(),
        legend([['point', 'training points'], ['reference', 'truth'], ...kind.upper]),
        this.upper.svg,
        this.selection,
        legend(kind.legend),
        this.lower.svg,
        this.numbers,
        element('p', { class: 'live-help', id: help },
          'Drag a point; click into the empty figure to add one; drag a point out of the figure to remove it. ' +
          'With the keyboard: ← and → choose a point, ↑ and ↓ move it, Shift with ← and → moves it sideways, + adds one beside it, Delete removes it.'),
      );
      window.uqlive.listen(this);
    }

    controls() {
      const set = (name) => (value) => {
        this.settings[name] = Number(value);
        this.learn();
      };
      const counts = [1, 2, 3, 5, 10].includes(this.kind.members) ? [2, 3, 5, 10] : [1, 2, 4, 8];
      this.fields = { noise: choice('Noise', [[0, 'none'], [1, 'as in the chapter'], [4, 'four times as much']], 1, set('noise')) };
      if (this.kind.members > 1) {
        this.fields.members = choice('Networks', counts.map((n) => [n, `${n}`]), this.kind.members, set('members'));
      }
      this.fields.width = choice('Width', [[6, '6 units'], [24, '24 units'], [48, '48 units']], 24, set('width'));
      if (this.root.dataset.head === 'evidential') {
        this.fields.weight = choice('λ', [[0, '0'], [0.01, '0.01'], [1, '1']], 0.01, set('weight'));
      }
      const button = (words, act) => element('button', { type: 'button', onclick: act }, words);
      return element('div', { class: 'live-controls' },
        ...Object.values(this.fields).map((field) => field.node),
        button('Add three points at the barrier', () => this.edit(() => [-0.08, 0.01, 0.1].forEach((x) => this.insert(x, energy(x))))),
        button('Remove the right well', () => this.edit(() => this.keep((point) => point.x < 0.15))),
        button('Remove the chosen point', () => this.edit(() => this.remove())),
        button('Reset', () => this.reset()),
      );
    }

    reset() {
      this.points = sample(POINTS, 5);
      this.settings = { ...this.start };
      this.chosen = null;
      for (const [name, field] of Object.entries(this.fields)) field.set(`${this.settings[name]}`);
      this.say('');
      this.learn();
    }

    heightOf(point) {
      return point.base + this.settings.noise * point.error;
    }

    placeOf(point) {
      return { x: point.x, y: clamp(this.heightOf(point), RANGE.y) };
    }

    insert(x, y) {
      if (this.points.length >= MOST) return this.say(`There are ${MOST} points, and no more fit in.`);
      const point = { x: clamp(x, RANGE.x), base: clamp(y, RANGE.y), error: 0 };
      this.points.push(point);
      this.choose(point);
      return point;
    }

    keep(wanted) {
      const left = this.points.filter(wanted);
      if (left.length < FEWEST) return this.say(`A network needs a few points: ${FEWEST} stay at least.`);
      this.points = left;
      if (!left.includes(this.chosen)) this.chosen = null;
      return null;
    }

    remove() {
      if (!this.chosen) return this.say('Choose a point first.');
      const gone = this.chosen;
      return this.keep((point) => point !== gone);
    }

    choose(point) {
      this.chosen = point;
      const order = [...this.points].sort((a, b) => a.x - b.x);
      this.say(`Point ${order.indexOf(point) + 1} of ${order.length}: x = ${signed(point.x, 2)} Å, ${signed(this.heightOf(point), 3)} eV.`);
    }

    say(words) {
      this.selection.textContent = words;
    }

    edit(change) {
      change();
      this.learn();
    }

    move(point, x, y) {
      point.x = clamp(x, RANGE.x);
      point.base = clamp(y, RANGE.y);
      point.error = 0;
      this.choose(point);
    }

    // Begin a training of the present points; what was under way is dropped.
    learn() {
      const { x, y } = this.data();
      const { members, width } = this.settings;
      this.training = new Training({ x, y, head: this.kind.head(this.settings), members, width, seed: 1, steps: STEPS });
      this.root.dataset.state = 'learning';
      this.root.dataset.points = this.points.length;
      this.drawPoints();
      if (this.visible) this.schedule();
    }

    data() {
      return { x: this.points.map((point) => point.x), y: this.points.map((point) => this.heightOf(point)) };
    }

    schedule() {
      if (this.timer === null && this.root.dataset.state === 'learning') this.timer = setTimeout(() => this.slice(), 0);
    }

    slice() {
      this.timer = null;
      const start = performance.now();
      let done = false;
      while (!done && performance.now() < start + SLICE) done = this.training.advance();
      if (done) {
        this.finish();
        return;
      }
      if (start > this.drawn + PICTURE && !matchMedia('(prefers-reduced-motion: reduce)').matches) {
        this.drawn = start;
        requestAnimationFrame(() => this.draw());
      }
      if (this.visible) this.schedule();
    }

    // Whatever is left of the training, at once: before the page is printed.
    complete() {
      if (this.root.dataset.state !== 'learning') return;
      while (this.training.done < STEPS) this.training.advance();
      this.finish();
    }

    finish() {
      this.draw();
      const { at, all, share, count } = this.seen;
      for (const [name, value] of Object.entries(at)) this.root.dataset[name] = value.toPrecision(6);
      const unit = this.kind.unit || 'meV';
      const digits = (value) => signed(value, Math.abs(value) < 9.95 ? 1 : 0);
      const words = { left: 'in the left well (−0.4 Å)', top: 'at the barrier (0 Å)', beyond: 'beyond the data (0.7 Å)' };
      const list = Object.entries(words).map(([name, where]) => `${digits(at[name])} ${unit} ${where}`);
      let text = `${this.points.length} points. ${this.kind.words.replace(/^t/, 'T')}: ${list.join(', ')}.`;
      if (all && all.length > 1) {
        const far = all.map((one) => 1000 * one[wells.PLACES.beyond]);
        text += ` Beyond the data the ${all.length} networks say ${digits(Math.min(...far))} to ${digits(Math.max(...far))} meV.`;
      }
      if (share) text += ` In the left well the first network calls ${Math.round(100 * share(wells.PLACES.left))} % of its variance epistemic.`;
      if (count) text += ` ${count === 1 ? 'One Gaussian describes' : `${count} Gaussians describe`} the training points.`;
      this.numbers.textContent = text;
      this.lower.svg.setAttribute('aria-label', text);
      this.root.dataset.state = 'done';
      this.root.dispatchEvent(new CustomEvent('live-done'));
    }

    draw() {
      const { x, y } = this.data();
      this.seen = look(this.kind, this.training, x, y);
      const { upper, lower, seen } = this;
      for (const plot of [upper, lower]) {
        plot.clear();
        for (const [low, high] of WELLS) plot.strip(low, high, 'live-strip');
      }
      if (seen.band) {
        for (const factor of [2, 1]) {
          const edge = (sign) => seen.mean.map((value, i) => value + sign * factor * seen.band[i]);
          upper.band(GRID, edge(-1), edge(1), 'band');
        }
      }
      for (const one of seen.thin) upper.line(GRID, one, 'thin');
      upper.line(GRID, GRID.map(energy), 'reference');
      upper.line(GRID, seen.mean, 'mean');
      for (const [kind, values] of seen.lines) lower.line(GRID, values, kind);
    }

    drawPoints() {
      this.upper.points.replaceChildren();
      if (!this.upper.width) return;
      for (const point of this.points) {
        const { x, y } = this.placeOf(point);
        const chosen = point === this.chosen;
        this.upper.dot(x, y, chosen ? 6 : 4, chosen ? 'live-point chosen' : 'live-point', this.upper.points);
      }
    }

    fit() {
      const width = this.root.clientWidth - 2;
      const changed = [this.upper.fit(width), this.lower.fit(width)].some(Boolean);
      if (!changed) return;
      this.drawPoints();
      if (this.seen) this.draw();
    }

    // The first training waits until the reader comes near.
    watch() {
      new ResizeObserver(() => this.fit()).observe(this.root);
      this.fit();
      const observer = new IntersectionObserver((entries) => {
        this.visible = entries.some((entry) => entry.isIntersecting);
        if (this.visible) this.schedule();
      }, { rootMargin: '300px' });
      observer.observe(this.root);
      window.addEventListener('beforeprint', () => this.complete());
    }
  }

  for (const root of document.querySelectorAll('.live[data-figure="well"]')) {
    const figure = new WellFigure(root);
    root.figure = figure; // for tests, and for the curious
    figure.watch();
  }
})();
