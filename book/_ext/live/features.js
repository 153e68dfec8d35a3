// Error bars from what one trained network reads its answer from: the units of its last hidden layer.
//
// `rigidity` asks how far the data hold the last layer's weights (LLPR); `mixture` asks how dense the training points
// lie in the space of the features. Both are those of the chapters, on one axis.
(() => {
  const { exp, log, square, Random } = window.uqlive.numbers;

  // The hidden units at positions in Å, one row each, of the first network; with a last entry 1 for the bias if asked.
  function features(training, where, bias) {
    const [network] = training.networks;
    const scaled = Float64Array.from(where, (value) => (value - training.xScale.mean) / training.xScale.std);
    network.forward(scaled);
    const { width } = network;
    return Array.from(scaled, (_, i) => [...network.h2.slice(i * width, (i + 1) * width), ...(bias ? [1] : [])]);
  }

  // Lower triangle L of a positive matrix, A = L Lᵀ.
  function cholesky(a) {
    const size = a.length;
    const lower = a.map(() => new Float64Array(size));
    for (let i = 0; i < size; i += 1) {
      for (let j = 0; j <= i; j += 1) {
        let sum = a[i][j];
        for (let k = 0; k < j; k += 1) sum -= lower[i][k] * lower[j][k];
        lower[i][j] = i === j ? Math.sqrt(Math.max(sum, 1e-300)) : sum / lower[j][j];
      }
    }
    return lower;
  }

  function solveLower(lower, right) {
    const found = new Float64Array(right.length);
    for (let i = 0; i < right.length; i += 1) {
      let sum = right[i];
      for (let k = 0; k < i; k += 1) sum -= lower[i][k] * found[k];
      found[i] = sum / lower[i][i];
    }
    return found;
  }

  // Sums over rows of products of their columns.
  function gram(rows) {
    const size = rows[0].length;
    const sum = Array.from({ length: size }, () => new Float64Array(size));
    for (const row of rows) {
      for (let i = 0; i < size; i += 1) for (let j = 0; j < size; j += 1) sum[i][j] += row[i] * row[j];
    }
    return sum;
  }

  // Standard deviations in eV at `where`, and a few functions that the data allow, as changes of the prediction in eV.
  function rigidity(training, x, y, where, draws = 8) {
    const curvature = gram(features(training, x, true));
    const trace = curvature.reduce((sum, row, i) => sum + row[i], 0);
    curvature.forEach((row, i) => {
      row[i] += (1e-6 * trace) / curvature.length; // a ridge: some units may say the same
    });
    const lower = cholesky(curvature);
    const { mean } = window.uqlive.predict(training, x);
    const noise = Math.sqrt(mean.reduce((sum, value, i) => sum + square(value - y[i]), 0) / x.length);
    const pulled = features(training, where, true).map((row) => solveLower(lower, row));
    const dot = (a, b) => a.reduce((sum, value, k) => sum + value * b[k], 0);
    const random = new Random(1);
    const directions = Array.from({ length: draws }, () => curvature.map(() => random.normal()));
    return {
      std: pulled.map((row) => noise * Math.sqrt(dot(row, row))),
      changes: directions.map((direction) => pulled.map((row) => noise * dot(row, direction))),
    };
  }

  // The two directions along which rows vary most, and how much: power iteration, the first taken out for the second.
  function principal(rows) {
    const size = rows[0].length;
    const centre = Array.from({ length: size }, (_, j) => rows.reduce((sum, row) => sum + row[j], 0) / rows.length);
    const moved = rows.map((row) => row.map((value, j) => value - centre[j]));
    const covariance = gram(moved).map((row) => row.map((value) => value / (rows.length - 1)));
    const axes = [];
    for (let number = 0; number < 2; number += 1) {
      let axis = Array.from({ length: size }, (_, j) => 1 + j / size);
      let length = 0;
      for (let turn = 0; turn < 500; turn += 1) {
        const next = covariance.map((row) => row.reduce((sum, value, j) => sum + value * axis[j], 0));
        length = Math.sqrt(next.reduce((sum, value) => sum + value * value, 0)) || 1e-12;
        axis = next.map((value) => value / length);
      }
      axes.push({ axis, std: Math.sqrt(length) });
      const [along, size2] = [axis, length];
      covariance.forEach((row, i) => row.forEach((_, j) => {
        row[j] -= size2 * along[i] * along[j];
      }));
    }
    const place = (row) =>
      axes.map(({ axis, std }) => row.reduce((sum, value, j) => sum + (value - centre[j]) * axis[j], 0) / std);
    return place;
  }

  // log of w N(p; mean, covariance) in two dimensions.
  function logDensity(part, p) {
    const [a, b] = [p[0] - part.mean[0], p[1] - part.mean[1]];
    const [xx, xy, yy] = part.covariance;
    const det = xx * yy - xy * xy;
    const distance = (yy * a * a - 2 * xy * a * b + xx * b * b) / det;
    return log(part.weight) - log(2 * Math.PI) - 0.5 * log(det) - 0.5 * distance;
  }

  const logSum = (values) => {
    const top = Math.max(...values);
    return top + log(values.reduce((sum, value) => sum + exp(value - top), 0));
  };

  // Expectation maximisation; starts from points of equal rank along the first axis, so that chance has no part.
  function gaussians(points, count) {
    const sorted = [...points].sort((p, q) => p[0] - q[0]);
    let parts = Array.from({ length: count }, (_, k) => ({
      weight: 1 / count,
      mean: sorted[Math.floor(((k + 0.5) * points.length) / count)],
      covariance: [1 / count, 0, 1 / count],
    }));
    for (let turn = 0; turn < 60; turn += 1) {
      const shares = points.map((p) => {
        const each = parts.map((part) => logDensity(part, p));
        const whole = logSum(each);
        return each.map((value) => exp(value - whole));
      });
      parts = parts.map((_, k) => {
        const mass = shares.reduce((sum, share) => sum + share[k], 1e-9);
        const mean = [0, 1].map((d) => points.reduce((sum, p, i) => sum + shares[i][k] * p[d], 0) / mass);
        const moment = (d, e) =>
          points.reduce((sum, p, i) => sum + shares[i][k] * (p[d] - mean[d]) * (p[e] - mean[e]), 0) / mass;
        return { weight: mass / points.length, mean, covariance: [moment(0, 0) + 1e-4, moment(0, 1), moment(1, 1) + 1e-4] };
      });
    }
    return parts;
  }

  // Minus the log density of the features at `where`, in nats above the mean over the training points.
  function mixture(training, x, where) {
    const seen = features(training, x, false);
    const place = principal(seen);
    const points = seen.map(place);
    let best = null;
    for (let count = 1; count <= 3 && 12 * count <= points.length + 11; count += 1) {
      const parts = gaussians(points, count);
      const likelihood = points.reduce((sum, p) => sum + logSum(parts.map((part) => logDensity(part, p))), 0);
      const bic = -2 * likelihood + (6 * count - 1) * log(points.length); // Bayesian information criterion
      if (best === null || bic < best.bic) best = { bic, parts, zero: -likelihood / points.length };
    }
    const strange = (p) => -logSum(best.parts.map((part) => logDensity(part, p))) - best.zero;
    const score = features(training, where, false).map((row) => strange(place(row)));
    return { score, count: best.parts.length, likelihood: -best.zero };
  }

  Object.assign(window.uqlive, { features, rigidity, mixture });
})();
