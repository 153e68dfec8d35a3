// Scores of stated standard deviations, as in uqlib/metrics/gaussian.py: errors and deviations in, a number out.
(() => {
  const { exp, log, erf, square, Random } = window.uqlive.numbers;
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

  // For each error, the level of the smallest central interval that holds it; sorted.
  const levels = (error, std) =>
    Float64Array.from(error, (e, i) => (e === 0 ? 0 : erf(Math.abs(e) / std[i] / Math.SQRT2))).sort();

  function shareBelow(sorted, level) {
    let low = 0;
    let high = sorted.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sorted[middle] <= level) low = middle + 1;
      else high = middle;
    }
    return low / sorted.length;
  }

  // Observed share of errors inside the interval that should hold a share p, for p from 0 to 1.
  function curve(error, std, points = 100) {
    const sorted = levels(error, std);
    const expected = Array.from({ length: points }, (_, k) => k / (points - 1));
    return { expected, observed: expected.map((p) => shareBelow(sorted, p)) };
  }

  function miscalibrationArea(error, std, points = 100) {
    const { expected, observed } = curve(error, std, points);
    let area = 0;
    for (let k = 1; k < points; k += 1) {
      const left = observed[k - 1] - expected[k - 1];
      const right = observed[k] - expected[k];
      const size = Math.abs(left) + Math.abs(right);
      // Where the curve crosses the diagonal, two triangles stand for the trapezium.
      if (size > 0) area += left * right < 0 ? (left * left + right * right) / size : size;
    }
    return area / (2 * (points - 1));
  }

  const coverage = (error, std, level) => shareBelow(levels(error, std), level);
  const nll = (error, std) =>
    mean(Array.from(error, (e, i) => 0.5 * square(e / std[i]) + log(std[i]))) + 0.5 * log(2 * Math.PI);
  const crps = (error, std) =>
    mean(
      Array.from(error, (e, i) => {
        const z = e / std[i];
        const density = exp(-0.5 * z * z) / Math.sqrt(2 * Math.PI);
        return std[i] * (z * erf(z / Math.SQRT2) + 2 * density - 1 / Math.sqrt(Math.PI));
      }),
    );

  // The chapter's eight forecasters: the same law, other random numbers. Errors and deviations in meV/Å.
  function forecasters(seed, n) {
    const random = new Random(seed);
    const draw = () => Array.from({ length: n }, () => random.normal());
    const sigma = draw().map((value) => 40 * exp(0.7 * value));
    const z = draw();
    const [a, b, c] = [draw(), draw(), draw()];
    const few = sigma.map(() => (random.uniform() < 0.02 ? 10 : 1));
    const order = sigma.map((_, i) => [random.uniform(), i]).sort((p, q) => p[0] - q[0]);
    const error = sigma.map((s, i) => s * z[i]);
    const typical = Math.sqrt(mean(sigma.map((s) => s * s)));
    return {
      perfect: [error, sigma],
      overconfident: [error, sigma.map((s) => s / 3)],
      underconfident: [error, sigma.map((s) => 3 * s)],
      constant: [error, sigma.map(() => typical)],
      'wrong order': [error, order.map(([, i]) => sigma[i])],
      exaggerated: [error, sigma.map((s) => 40 * exp(2.5 * log(s / 40)))],
      'heavy tails': [error.map((e, i) => e / Math.sqrt(square(a[i]) + square(b[i]) + square(c[i]))), sigma],
      'few large errors': [error.map((e, i) => e * few[i]), sigma],
    };
  }

  Object.assign(window.uqlive, { scores: { curve, miscalibrationArea, coverage, nll, crps, forecasters } });
})();
