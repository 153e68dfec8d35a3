// Numbers that come out alike on every machine, to the last digit.
//
// A browser's + - * / and square root are prescribed by IEEE 754. Its exp, log and cos are not: they differ in the last
// digit from one to the next, and a training multiplies such differences. So these few are made of the five that are
// prescribed. All of them are good to about 1e-15.
(() => {
  const LN2_HIGH = 0.693147180369123816490; // the upper bits of ln 2: a whole number times this is exact
  const LN2_LOW = 1.90821492927058770002e-10;
  const POWERS = new Float64Array(2200); // of two, from -1100
  POWERS[1100] = 1;
  for (let k = 1; k < 1100; k += 1) {
    POWERS[1100 + k] = POWERS[1099 + k] * 2;
    POWERS[1100 - k] = POWERS[1101 - k] / 2;
  }
  // 2^(j/32): square roots are prescribed, too, and 1/32 is half of half of half of half of half.
  const ROOTS = new Float64Array(32).fill(1);
  for (let bit = 16, root = Math.SQRT2; bit >= 1; bit /= 2, root = Math.sqrt(root)) {
    for (let j = 0; j < 32; j += 1) if (j & bit) ROOTS[j] *= root;
  }
  const STEPS = 32 / (LN2_HIGH + LN2_LOW);

  function exp(x) {
    if (x > 709) return Infinity;
    if (x < -740) return 0;
    const k = Math.floor(x * STEPS + 0.5); // x = k ln 2 / 32 + r
    const r = x - k * (LN2_HIGH / 32) - k * (LN2_LOW / 32); // at most 0.011 in size: few terms are enough
    const series = 1 + r * (1 + r * (0.5 + r * (1 / 6 + r * (1 / 24 + r * (1 / 120 + r / 720)))));
    return series * ROOTS[k & 31] * POWERS[1100 + (k >> 5)];
  }

  function log(x) {
    if (!(x > 0)) return x === 0 ? -Infinity : NaN;
    if (x === Infinity) return x;
    let low = 0; // x = m 2^k, with m near one: k by bisection in the table
    let high = 2199;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (POWERS[middle] <= x) low = middle;
      else high = middle;
    }
    let k = low - 1100;
    let m = x / POWERS[low];
    if (m > 1.4142135623730951) {
      m /= 2;
      k += 1;
    }
    const s = (m - 1) / (m + 1);
    let sum = 0;
    for (let n = 23; n >= 1; n -= 2) sum = sum * s * s + 1 / n;
    return k * LN2_HIGH + (2 * s * sum + k * LN2_LOW);
  }

  const square = (x) => x * x; // x ** 2 need not be the same everywhere
  const sigmoid = (x) => 1 / (1 + exp(-x));
  const softplus = (x) => (x > 36 ? x : log(1 + exp(x)));

  // For x from 0 to pi, which is all that a falling learning rate needs.
  function cos(x) {
    const half = x / 2;
    let sine = 0;
    let term = half;
    for (let n = 1; n < 14; n += 1) {
      sine += term;
      term *= (-half * half) / (2 * n * (2 * n + 1));
    }
    return 1 - 2 * sine * sine;
  }

  const ROOT_PI = Math.sqrt(Math.PI);
  function erf(x) {
    const size = Math.abs(x);
    const bell = exp(-x * x) / ROOT_PI;
    let value;
    if (size < 3) {
      let term = size;
      let sum = 0;
      for (let n = 0; term > 1e-18 * sum; n += 1) {
        sum += term;
        term *= (2 * x * x) / (2 * n + 3);
      }
      value = 2 * bell * sum;
    } else {
      let fraction = size; // a continued fraction for what is left to one, from its far end
      for (let n = 60; n >= 1; n -= 1) fraction = size + n / 2 / fraction;
      value = 1 - bell / fraction;
    }
    return x < 0 ? -value : value;
  }

  // log Γ and its slope for x > 0: carried up to 12, where Stirling's series is exact.
  const STIRLING = [1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188];
  function logGamma(x) {
    let shift = 0;
    let z = x;
    for (; z < 12; z += 1) shift += log(z);
    let tail = 0;
    for (let n = 4; n >= 0; n -= 1) tail = tail / (z * z) + STIRLING[n];
    return (z - 0.5) * log(z) - z + 0.5 * log(2 * Math.PI) + tail / z - shift;
  }
  function digamma(x) {
    let shift = 0;
    let z = x;
    for (; z < 12; z += 1) shift += 1 / z;
    const w = 1 / (z * z);
    const tail = w * (1 / 12 - w * (1 / 120 - w * (1 / 252 - w * (1 / 240 - w / 132))));
    return log(z) - 0.5 / z - tail - shift;
  }

  // Seeded: whole numbers of 32 bits, which every browser multiplies alike (the generator is "mulberry32").
  class Random {
    constructor(seed) {
      this.state = seed >>> 0;
      this.spare = null;
      for (let k = 0; k < 8; k += 1) this.uniform(); // neighbouring seeds begin alike
    }

    uniform() {
      this.state = (this.state + 0x6d2b79f5) >>> 0;
      let t = Math.imul(this.state ^ (this.state >>> 15), this.state | 1);
      t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    }

    normal() {
      if (this.spare !== null) {
        const kept = this.spare;
        this.spare = null;
        return kept;
      }
      let u = 0;
      let v = 0;
      let s = 0;
      do {
        u = 2 * this.uniform() - 1;
        v = 2 * this.uniform() - 1;
        s = u * u + v * v;
      } while (s >= 1 || s === 0);
      const factor = Math.sqrt((-2 * log(s)) / s);
      this.spare = v * factor;
      return u * factor;
    }
  }

  window.uqlive = { numbers: { exp, log, square, cos, erf, sigmoid, softplus, logGamma, digamma, Random } };
})();
