// What a network's outputs mean: a loss with its slopes, and the way from outputs to an error bar.
//
// A head has `outputs`, Adam's `rate`, `loss(outputs, target)` for one point and `slopes(outputs, targets, into, early)`
// for all of them. Slopes are those of the mean over points. Formulas and settings are those of uqlib/chapters/toy.py.
(() => {
  const { log, square, sigmoid, softplus, logGamma, digamma } = window.uqlive.numbers;
  const VARIANCE_FLOOR = 1e-4; // the likelihood has a pole at zero
  const SMALLEST = 1e-4;
  const SMALLEST_ALPHA = 1.5; // at 1 the variance of the evidence is infinite

  const squares = {
    outputs: 1,
    rate: 0.01,
    loss: (out, target) => square(out[0] - target),
    slopes(out, target, into) {
      for (let i = 0; i < target.length; i += 1) into[i] = (2 * (out[i] - target[i])) / target.length;
    },
  };

  // Mean and variance (D. A. Nix, A. S. Weigend, 1994). The first half of a training minimises squared errors: a
  // network that is wrong everywhere would call all of its errors noise, and stop learning.
  const gaussian = {
    outputs: 2,
    rate: 0.005,
    variance: (raw) => softplus(raw) + VARIANCE_FLOOR,
    loss(out, target) {
      const variance = gaussian.variance(out[1]);
      return 0.5 * (square(out[0] - target) / variance + log(variance));
    },
    slopes(out, target, into, early) {
      const n = target.length;
      for (let i = 0; i < n; i += 1) {
        const error = out[2 * i] - target[i];
        const variance = gaussian.variance(out[2 * i + 1]);
        into[2 * i] = early ? (2 * error) / n : error / variance / n;
        const slope = 0.5 * (1 / variance - (error * error) / (variance * variance)) * sigmoid(out[2 * i + 1]);
        into[2 * i + 1] = early ? 0 : slope / n;
      }
    },
  };

  // Evidence (A. Amini et al., NeurIPS 2020, eqs. 8 to 10): outputs are the mean and what becomes ν, α and sqrt(β).
  function evidential(regulariser) {
    const evidence = (out, at) => ({
      nu: softplus(out[at + 1]) + SMALLEST,
      alpha: SMALLEST_ALPHA + softplus(out[at + 2]) + SMALLEST,
      root: softplus(out[at + 3]) + SMALLEST,
    });
    return {
      outputs: 4,
      rate: 0.005,
      loss(out, target) {
        const { nu, alpha, root } = evidence(out, 0);
        const error = out[0] - target;
        const omega = 2 * root * root * (1 + nu);
        const likelihood =
          0.5 * log(Math.PI / nu) -
          alpha * log(omega) +
          (alpha + 0.5) * log(nu * error * error + omega) +
          logGamma(alpha) -
          logGamma(alpha + 0.5);
        return likelihood + regulariser * Math.abs(error) * (2 * nu + alpha);
      },
      slopes(out, target, into) {
        const n = target.length;
        for (let i = 0; i < n; i += 1) {
          const at = 4 * i;
          const { nu, alpha, root } = evidence(out, at);
          const error = out[at] - target[i];
          const size = Math.abs(error);
          const beta = root * root;
          const omega = 2 * beta * (1 + nu);
          const whole = nu * error * error + omega;
          const pull = (alpha + 0.5) / whole;
          into[at] = 2 * nu * error * pull + regulariser * Math.sign(error) * (2 * nu + alpha);
          const inNu = -0.5 / nu - (2 * alpha * beta) / omega + pull * (error * error + 2 * beta) + 2 * regulariser * size;
          const inAlpha = log(whole / omega) + digamma(alpha) - digamma(alpha + 0.5) + regulariser * size;
          const inBeta = 2 * (1 + nu) * (pull - alpha / omega);
          into[at + 1] = inNu * sigmoid(out[at + 1]);
          into[at + 2] = inAlpha * sigmoid(out[at + 2]);
          into[at + 3] = inBeta * 2 * root * sigmoid(out[at + 3]);
          for (let o = 0; o < 4; o += 1) into[at + o] /= n;
        }
      },
      // Variances in scaled units at point i: of the noise, and of the mean (eq. 5).
      parts(out, i) {
        const { nu, alpha, root } = evidence(out, 4 * i);
        const aleatoric = (root * root) / (alpha - 1);
        return { aleatoric, epistemic: aleatoric / nu };
      },
    };
  }

  // Standard deviation over members, with one less than their number, as the book has it; 0 for one member.
  function spread(values) {
    if (values.length < 2) return 0;
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    return Math.sqrt(values.reduce((sum, value) => sum + square(value - mean), 0) / (values.length - 1));
  }

  // Curves in eV at positions in Å: one mean for each network, and the two kinds of uncertainty.
  function predict(training, where) {
    const { head, yScale } = training;
    const all = training.outputs(where);
    const members = all.map((out) => Array.from(where, (_, i) => yScale.mean + yScale.std * out[i * head.outputs]));
    const average = (list) => list.reduce((sum, value) => sum + value, 0) / list.length;
    const mean = Array.from(where, (_, i) => average(members.map((member) => member[i])));
    const between = Array.from(where, (_, i) => spread(members.map((member) => member[i])));
    const root = (variance) => yScale.std * Math.sqrt(variance);
    let noise = [];
    let evident = [];
    if (head === gaussian) noise = all.map((out) => Array.from(where, (_, i) => root(gaussian.variance(out[2 * i + 1]))));
    if (head.parts) {
      noise = all.map((out) => Array.from(where, (_, i) => root(head.parts(out, i).aleatoric)));
      evident = all.map((out) => Array.from(where, (_, i) => root(head.parts(out, i).epistemic)));
    }
    return { mean, members, between, noise, evident };
  }

  Object.assign(window.uqlive, { heads: { squares, gaussian, evidential }, predict });
})();
