// Mouse, finger and keyboard on the double well.
(() => {
  const { clamp } = window.uqlive;
  const REACH = 13; // pixels: a finger is wider than a point
  const STILL = 4; // pixels: a hand that moves no more has clicked

  // The nearest point within reach. Where points lie close together, the topmost circle would be a lottery.
  function nearest(figure, event) {
    const { upper } = figure;
    const box = upper.svg.getBoundingClientRect();
    const gap = (point) => {
      const { x, y } = figure.placeOf(point);
      return Math.hypot(upper.px(x) + box.left - event.clientX, upper.py(y) + box.top - event.clientY);
    };
    const first = [...figure.points].sort((a, b) => gap(a) - gap(b))[0];
    return gap(first) < REACH ? first : null;
  }

  function point(figure) {
    const { svg } = figure.upper;
    let held = null;
    let press = null;
    const moved = (event) => Math.hypot(event.clientX - press.clientX, event.clientY - press.clientY) >= STILL;
    const release = () => {
      held = null;
      press = null;
    };
    svg.addEventListener('pointerdown', (event) => {
      if (event.button) return;
      press = event;
      held = nearest(figure, event);
      if (!held) return;
      svg.setPointerCapture(event.pointerId);
      figure.choose(held);
      figure.drawPoints();
    });
    svg.addEventListener('pointermove', (event) => {
      if (!held || !moved(event)) return;
      const { x, y } = figure.upper.at(event);
      figure.edit(() => figure.move(held, x, y));
    });
    svg.addEventListener('pointerup', (event) => {
      if (!press) return;
      const { x, y, inside } = figure.upper.at(event);
      if (held && !inside) figure.edit(() => figure.remove());
      else if (!held && inside && !moved(event)) figure.edit(() => figure.insert(x, y));
      release();
    });
    svg.addEventListener('pointercancel', release);
    // A finger on a point drags it; anywhere else it scrolls the page.
    svg.addEventListener('touchstart', (event) => {
      if (nearest(figure, event.touches[0])) event.preventDefault();
    }, { passive: false });
  }

  function keyboard(figure) {
    figure.upper.svg.addEventListener('keydown', (event) => {
      const order = [...figure.points].sort((a, b) => a.x - b.x);
      const at = order.indexOf(figure.chosen);
      const chosen = figure.chosen || order[0];
      const { x, y } = figure.placeOf(chosen);
      const side = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      const lift = { ArrowUp: 0.02, ArrowDown: -0.02 }[event.key];
      if (side && event.shiftKey) figure.edit(() => figure.move(chosen, x + 0.02 * side, y));
      else if (side) {
        figure.choose(at < 0 ? chosen : order[clamp(at + side, [0, order.length - 1])]);
        figure.drawPoints();
      } else if (lift) figure.edit(() => figure.move(chosen, x, y + lift));
      else if (event.key === '+' || event.key === 'Insert') figure.edit(() => figure.insert(x + 0.05, y));
      else if (event.key === 'Delete' || event.key === 'Backspace') figure.edit(() => figure.remove());
      else return;
      event.preventDefault();
    });
  }

  window.uqlive.listen = (figure) => {
    point(figure);
    keyboard(figure);
  };
})();
