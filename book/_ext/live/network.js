// A small network, its gradient written out by hand, and Adam: the JavaScript twin of uqlib/chapters/toy.py.
//
// One number goes in, two hidden layers of `width` units with the activation silu(a) = a sigmoid(a), a few numbers come
// out. Weights lie in one flat array, [W1 | b1 | W2 | b2 | W3 | b3], so that Adam needs not know what is what.
(() => {
  const { exp, cos, square, Random } = window.uqlive.numbers;

  class Network {
    constructor({ width, outputs, seed }) {
      this.width = width;
      this.outputs = outputs;
      const sizes = [width, width, width * width, width, width * outputs, outputs];
      this.at = sizes.map((_, k) => sizes.slice(0, k).reduce((sum, size) => sum + size, 0));
      const total = sizes.reduce((sum, size) => sum + size, 0);
      this.weights = new Float64Array(total);
      this.gradient = new Float64Array(total);
      this.first = new Float64Array(total); // Adam's running mean of the gradient
      this.second = new Float64Array(total); // and of its square
      this.decay = [1, 1];
      const random = new Random(seed);
      const gain = 1 / Math.sqrt(width);
      // The first layer's gain sets how much networks may differ off the data.
      for (let k = 0; k < total; k += 1) this.weights[k] = (k < 2 * width ? 2 : gain) * random.normal();
      this.room = 0;
    }

    // Memory for n points at once: kept, since a training asks a thousand times for the same n.
    reserve(n) {
      if (n === this.room) return;
      this.room = n;
      for (const name of ['h1', 'h2', 'd1', 'd2']) this[name] = new Float64Array(n * this.width);
      this.out = new Float64Array(n * this.outputs);
    }

    // Outputs (n x outputs, row by row) at x (n); the hidden units stay in h1 and h2, their slopes in d1 and d2.
    forward(x) {
      const { width, outputs, weights, at } = this;
      const n = x.length;
      this.reserve(n);
      const { h1, h2, d1, d2, out } = this;
      for (let i = 0; i < n; i += 1) {
        const row = i * width;
        for (let j = 0; j < width; j += 1) {
          const a = x[i] * weights[j] + weights[at[1] + j];
          const s = 1 / (1 + exp(-a));
          h1[row + j] = a * s;
          d1[row + j] = s * (1 + a * (1 - s));
          h2[row + j] = weights[at[3] + j];
        }
        for (let k = 0; k < width; k += 1) {
          const h = h1[row + k];
          const from = at[2] + k * width;
          for (let j = 0; j < width; j += 1) h2[row + j] += h * weights[from + j];
        }
        for (let o = 0; o < outputs; o += 1) out[i * outputs + o] = weights[at[5] + o];
        for (let j = 0; j < width; j += 1) {
          const a = h2[row + j];
          const s = 1 / (1 + exp(-a));
          h2[row + j] = a * s;
          d2[row + j] = s * (1 + a * (1 - s));
          const from = at[4] + j * outputs;
          for (let o = 0; o < outputs; o += 1) out[i * outputs + o] += h2[row + j] * weights[from + o];
        }
      }
      return out;
    }

    // From the slopes of the loss in the outputs (n x outputs) to those in the weights, by the chain rule.
    backward(x, slopes) {
      const { width, outputs, weights, at, h1, h2, d1, d2, gradient } = this;
      gradient.fill(0);
      const back = new Float64Array(width);
      for (let i = 0; i < x.length; i += 1) {
        const row = i * width;
        for (let o = 0; o < outputs; o += 1) gradient[at[5] + o] += slopes[i * outputs + o];
        for (let j = 0; j < width; j += 1) {
          const from = at[4] + j * outputs;
          let sum = 0;
          for (let o = 0; o < outputs; o += 1) {
            const slope = slopes[i * outputs + o];
            gradient[from + o] += h2[row + j] * slope;
            sum += weights[from + o] * slope;
          }
          back[j] = sum * d2[row + j];
          gradient[at[3] + j] += back[j];
        }
        for (let k = 0; k < width; k += 1) {
          const from = at[2] + k * width;
          const h = h1[row + k];
          let sum = 0;
          for (let j = 0; j < width; j += 1) {
            gradient[from + j] += h * back[j];
            sum += weights[from + j] * back[j];
          }
          sum *= d1[row + k];
          gradient[k] += x[i] * sum;
          gradient[at[1] + k] += sum;
        }
      }
      return gradient;
    }

    // One step of Adam (D. P. Kingma, J. Ba, arXiv:1412.6980).
    step(rate) {
      const { weights, gradient, first, second, decay } = this;
      decay[0] *= 0.9;
      decay[1] *= 0.999;
      const size = rate / (1 - decay[0]);
      const scale = Math.sqrt(1 - decay[1]);
      for (let k = 0; k < weights.length; k += 1) {
        first[k] += 0.1 * (gradient[k] - first[k]);
        second[k] += 0.001 * (gradient[k] * gradient[k] - second[k]);
        weights[k] -= (size * first[k]) / (Math.sqrt(second[k]) / scale + 1e-8);
      }
    }
  }

  // Networks learn numbers around one: what to subtract, and what to divide by.
  function scaleOf(values) {
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const variance = values.reduce((sum, value) => sum + square(value - mean), 0) / (values.length - 1);
    return { mean, std: Math.sqrt(variance) || 1 };
  }

  // Networks of one head that learn the same points; `advance` is called until it says that it is done.
  class Training {
    constructor({ x, y, head, members, width, seed, steps }) {
      Object.assign(this, { head, steps, done: 0 });
      this.xScale = scaleOf(x);
      this.yScale = scaleOf(y);
      this.x = Float64Array.from(x, (value) => (value - this.xScale.mean) / this.xScale.std);
      this.y = Float64Array.from(y, (value) => (value - this.yScale.mean) / this.yScale.std);
      const { outputs } = head;
      this.networks = Array.from({ length: members }, (_, m) => new Network({ width, outputs, seed: 1000 * seed + m }));
      this.slopes = new Float64Array(this.x.length * outputs);
    }

    // One step of every network; the learning rate falls to zero along a cosine.
    advance() {
      const rate = (this.head.rate * (1 + cos((Math.PI * this.done) / this.steps))) / 2;
      for (const network of this.networks) {
        this.head.slopes(network.forward(this.x), this.y, this.slopes, this.done < this.steps / 2);
        network.backward(this.x, this.slopes);
        network.step(rate);
      }
      this.done += 1;
      return this.done >= this.steps;
    }

    // What every network's outputs are at positions in Å: an array of (n x outputs), in scaled units.
    outputs(where) {
      const scaled = Float64Array.from(where, (value) => (value - this.xScale.mean) / this.xScale.std);
      return this.networks.map((network) => network.forward(scaled).slice());
    }
  }

  Object.assign(window.uqlive, { Network, Training, scaleOf });
})();
