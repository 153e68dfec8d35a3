// The live calibration figure: a slider stretches every stated σ of a forecaster, and the scores follow.
//
// The root element tells tests what it shows: data-factor, data-area, data-nll, data-crps, data-coverage68 and
// data-coverage95. `root.figure.pairs` holds the errors and the stretched deviations.
(() => {
  const { Plot, element, choice, legend, scores, numbers } = window.uqlive;
  const { curve, miscalibrationArea, coverage, nll, crps, forecasters } = scores;
  const PREDICTIONS = 1000;
  const FACTORS = Array.from({ length: 81 }, (_, i) => numbers.exp((i / 20 - 2) * Math.LN2)); // 1/4 to 4
  const IDEAL = { area: '0', nll: 'lower is better', crps: 'lower is better', coverage68: '0.68', coverage95: '0.95' };
  const NAMES = {
    area: 'miscalibration area',
    nll: 'NLL (nats)',
    crps: 'CRPS (meV/Å)',
    coverage68: 'coverage of 68 %',
    coverage95: 'coverage of 95 %',
  };
  const MEASURES = {
    area: miscalibrationArea,
    nll,
    crps,
    coverage68: (error, std) => coverage(error, std, 0.68),
    coverage95: (error, std) => coverage(error, std, 0.95),
  };

  class CalibrationFigure {
    constructor(root) {
      this.root = root;
      this.all = forecasters(0, PREDICTIONS);
      this.name = 'overconfident';
      this.build();
      this.choose(this.name);
    }

    build() {
      const shares = [0, 0.25, 0.5, 0.75, 1];
      const words = { xLabel: 'share that should be inside', yLabel: 'share that is' };
      this.left = new Plot({ height: 280, x: [0, 1], y: [0, 1], xTicks: shares, yTicks: shares, ...words });
      this.right = new Plot({
        height: 280, x: [-2, 2], y: [0, 4], xTicks: [-2, -1, 0, 1, 2], yTicks: [0, 1, 2, 3, 4],
        xNames: ['¼', '½', '1', '2', '4'], xLabel: 'factor', yLabel: 'score less its lowest',
      });
      this.left.svg.setAttribute('role', 'img');
      this.right.svg.setAttribute('role', 'img');
      this.slider = element('input', {
        type: 'range', min: -2, max: 2, step: 0.01, 'aria-label': 'Factor that multiplies every σ, from a quarter to four',
        oninput: () => this.show(),
      });
      this.output = element('output', {});
      this.field = choice('Forecaster', Object.keys(this.all).map((name) => [name, name]), this.name, (name) => this.choose(name));
      this.body = element('tbody');
      const head = ['score', 'here', 'factor 1', 'ideal'].map((word) => element('th', { scope: 'col' }, word));
      this.status = element('p', { class: 'live-numbers', role: 'status' });
      const button = (label, act) => element('button', { type: 'button', onclick: act }, label);
      this.root.replaceChildren(
        element('div', { class: 'live-controls' },
          this.field.node,
          element('label', { class: 'live-slide' }, 'Stretch σ by ', this.slider, this.output),
          button('The factor with the lowest NLL', () => this.stretch(this.best())),
          button('Reset', () => this.reset())),
        legend([['mean', 'calibration'], ['epistemic', 'NLL (nats)'], ['aleatoric', 'CRPS (in units of its lowest)']]),
        element('div', { class: 'live-pair' }, element('div', {}, this.left.svg), element('div', {}, this.right.svg)),
        element('table', { class: 'live-table' }, element('thead', {}, element('tr', {}, ...head)), this.body),
        this.status,
      );
    }

    reset() {
      this.field.set('overconfident');
      this.choose('overconfident');
    }

    // The maximum of the likelihood: the root mean square of error over σ.
    best() {
      const [error, std] = this.all[this.name];
      return Math.sqrt(error.reduce((sum, e, i) => sum + numbers.square(e / std[i]), 0) / error.length);
    }

    choose(name) {
      this.name = name;
      const [error, std] = this.all[name];
      this.plain = Object.fromEntries(Object.entries(MEASURES).map(([key, f]) => [key, f(error, std)]));
      const along = (f) => FACTORS.map((factor) => f(error, std.map((s) => s * factor)));
      const [likelihood, ranked] = [along(nll), along(crps)];
      const lowest = Math.min(...ranked);
      this.alongNll = likelihood.map((value) => value - Math.min(...likelihood));
      this.alongCrps = ranked.map((value) => value / lowest - 1);
      this.stretch(1);
    }

    stretch(factor) {
      this.slider.value = Math.log2(factor);
      this.show();
    }

    show() {
      const power = Number(this.slider.value);
      const factor = power === 0 ? 1 : numbers.exp(power * Math.LN2);
      const [error, std] = this.all[this.name];
      const stretched = std.map((s) => s * factor);
      this.pairs = { error, std: stretched };
      this.found = Object.fromEntries(Object.entries(MEASURES).map(([key, f]) => [key, f(error, stretched)]));
      this.root.dataset.factor = factor.toPrecision(12);
      for (const [key, value] of Object.entries(this.found)) this.root.dataset[key] = value.toPrecision(12);
      const word = (value, key) => value.toFixed(key === 'crps' ? 1 : 2).replace('-', '−');
      this.body.replaceChildren(...Object.entries(this.found).map(([key, value]) =>
        element('tr', {},
          element('th', { scope: 'row' }, NAMES[key]),
          ...[word(value, key), word(this.plain[key], key), IDEAL[key]].map((text) => element('td', {}, text)))));
      this.output.textContent = `× ${factor.toFixed(2)}`;
      this.slider.setAttribute('aria-valuetext', `times ${factor.toFixed(2)}`);
      const list = Object.entries(this.found).map(([key, value]) => `${NAMES[key]} ${word(value, key)}`).join(', ');
      this.status.textContent = `${this.name[0].toUpperCase()}${this.name.slice(1)}, σ times ${factor.toFixed(2)}: ${list}.`;
      this.left.svg.setAttribute('aria-label', `Calibration curve. ${this.status.textContent}`);
      this.right.svg.setAttribute('aria-label', `NLL and CRPS against the factor; each has one lowest point. Now: ${factor.toFixed(2)}.`);
      this.root.dataset.state = 'done';
      this.draw();
    }

    draw() {
      const { left, right } = this;
      if (!left.width) return;
      const { expected, observed } = curve(this.pairs.error, this.pairs.std);
      left.clear();
      left.line([0, 1], [0, 1], 'reference');
      left.band(expected, expected, observed, 'gap');
      left.line(expected, observed, 'mean');
      right.clear();
      const powers = FACTORS.map((_, i) => i / 20 - 2);
      const power = Number(this.slider.value);
      right.line([power, power], [-1, 9], 'reference');
      right.line(powers, this.alongNll, 'epistemic');
      right.line(powers, this.alongCrps, 'aleatoric');
    }

    watch() {
      const fit = () => {
        const changed = [this.left, this.right].map((plot) => plot.fit(plot.svg.parentElement.clientWidth));
        if (changed.some(Boolean)) this.draw();
      };
      new ResizeObserver(fit).observe(this.root);
      fit();
    }
  }

  for (const root of document.querySelectorAll('.live[data-figure="calibration"]')) {
    root.figure = new CalibrationFigure(root);
    root.figure.watch();
  }
})();
