// The double well of uqlib/chapters/toy.py, and what each chapter's figure shows of it.
(() => {
  const { heads, rigidity, mixture, numbers } = window.uqlive;
  const { square } = numbers;
  const WELLS = [[-0.62, -0.18], [0.2, 0.45]]; // Å, where training points lie at the beginning
  const energy = (x) => 0.25 * square(square(x / 0.4) - 1); // eV
  const noise = (x) => 0.004 + 0.016 * numbers.sigmoid(x / 0.05); // eV
  const GRID = Array.from({ length: 151 }, (_, i) => -0.75 + 0.01 * i);
  const PLACES = { left: 35, top: 75, beyond: 145 }; // in the grid: x = -0.4, 0 and 0.7 Å

  // A point's energy is `base` + the noise's factor * `error`, so that another factor keeps the draws.
  function sample(count, seed) {
    const random = new numbers.Random(seed);
    const [first, second] = WELLS.map(([low, high]) => high - low);
    const points = Array.from({ length: count }, () => {
      const along = random.uniform() * (first + second);
      const x = along < first ? WELLS[0][0] + along : WELLS[1][0] + along - first;
      return { x, base: energy(x), error: noise(x) * random.normal() };
    });
    return points.sort((a, b) => a.x - b.x);
  }

  const add = (a, b) => a.map((value, i) => Math.sqrt(value * value + b[i] * b[i]));
  const meV = (values) => values.map((value) => 1000 * value);

  // What a figure shows. `mean`, `thin` and `band` (eV) go into the upper panel, `lines` into the lower one; `key` is what
  // the sentence below gives in numbers.
  const KINDS = {
    ensemble: {
      head: () => heads.gaussian,
      members: 5,
      words: 'the spread of the networks',
      upper: [['mean', 'mean of the networks'], ['band', '±σ and ±2σ'], ['thin', 'each network']],
      legend: [['epistemic', 'spread (epistemic)'], ['aleatoric', 'noise (aleatoric)'], ['reference', 'true noise']],
      read({ prediction: p }) {
        const learnt = GRID.map((_, i) => Math.sqrt(p.noise.reduce((sum, one) => sum + square(one[i]), 0) / p.noise.length));
        const lines = [['epistemic', p.between], ['aleatoric', learnt], ['reference', GRID.map(noise)]];
        return { mean: p.mean, thin: p.members, band: p.between, lines, key: p.between };
      },
    },
    mve: {
      head: () => heads.gaussian,
      members: 4,
      words: 'the error bar that the first network predicts',
      upper: [['mean', 'first network'], ['band', 'its ±σ and ±2σ'], ['thin', 'the other networks']],
      legend: [['aleatoric', 'σ of each network'], ['reference', 'true noise']],
      read({ prediction: p }) {
        const lines = [...p.noise.map((one) => ['aleatoric', one]), ['reference', GRID.map(noise)]];
        return { mean: p.members[0], thin: p.members, band: p.noise[0], lines, key: p.noise[0], all: p.noise };
      },
    },
    evidential: {
      head: (settings) => heads.evidential(Number(settings.weight)),
      members: 4,
      words: 'the total error bar of the first network',
      upper: [['mean', 'first network'], ['band', 'its ±σ and ±2σ'], ['thin', 'the other networks']],
      legend: [['epistemic', 'epistemic part'], ['aleatoric', 'aleatoric part'], ['reference', 'true noise']],
      read({ prediction: p }) {
        const totals = p.noise.map((one, m) => add(one, p.evident[m]));
        const parts = p.noise.flatMap((one, m) => [['aleatoric', one], ['epistemic', p.evident[m]]]);
        const lines = [...parts, ['reference', GRID.map(noise)]];
        const share = (i) => square(p.evident[0][i] / totals[0][i]);
        return { mean: p.members[0], thin: p.members, band: totals[0], lines, key: totals[0], all: totals, share };
      },
    },
    mixture: {
      head: () => heads.gaussian,
      members: 1,
      unit: 'nats',
      words: 'the score, minus the logarithm of the density',
      upper: [['mean', 'network']],
      legend: [['epistemic', 'score (nats)']],
      read({ prediction: p, training, x }) {
        const { score, count } = mixture(training, x, GRID);
        return { mean: p.mean, thin: [], band: null, lines: [['epistemic', score]], key: score, count };
      },
    },
    llpr: {
      head: () => heads.squares,
      members: 1,
      words: 'the error bar of the last layer',
      upper: [['mean', 'network'], ['band', '±σ and ±2σ'], ['thin', 'other functions that the data allow']],
      legend: [['epistemic', 'σ of the last layer'], ['reference', 'true error']],
      read({ prediction: p, training, x, y }) {
        const { std, changes } = rigidity(training, x, y, GRID);
        const lines = [['epistemic', std], ['reference', p.mean.map((value, i) => Math.abs(value - energy(GRID[i])))]];
        const thin = changes.map((change) => change.map((value, i) => p.mean[i] + value));
        return { mean: p.mean, thin, band: std, lines, key: std };
      },
    },
  };

  // Everything that the figure says, from a finished or unfinished training.
  function look(kind, training, x, y) {
    const prediction = window.uqlive.predict(training, GRID);
    const seen = kind.read({ prediction, training, x, y });
    const inUnit = kind.unit ? (values) => values : meV;
    const at = Object.fromEntries(Object.entries(PLACES).map(([name, i]) => [name, inUnit([seen.key[i]])[0]]));
    return { ...seen, lines: seen.lines.map(([name, values]) => [name, inUnit(values)]), at };
  }

  Object.assign(window.uqlive, { wells: { WELLS, GRID, PLACES, KINDS, energy, noise, sample, look } });
})();
