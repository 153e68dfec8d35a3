// The 3-D half of the viewer: spheres and sticks on one NGL stage, one frame at a time.
// The buffers are our own rather than an NGL structure, so that bonds can break and form from frame to frame.
const CELL_EDGES = [[0, 1], [0, 2], [0, 4], [1, 3], [1, 5], [2, 3], [2, 6], [3, 7], [4, 5], [4, 6], [5, 7], [6, 7]];

function rgb(hex) {
  return [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16) / 255);
}

// Colour of a value on the colour map; grey where there is no value.
function colourOf(data, value) {
  if (Number.isNaN(value)) return rgb(data.missing);
  const last = data.stops.length - 1;
  const t = Math.min(1, Math.max(0, (value - data.vmin) / (data.vmax - data.vmin))) * last;
  const low = Math.min(last - 1, Math.floor(t));
  const [a, b] = [rgb(data.stops[low]), rgb(data.stops[low + 1])];
  return a.map((c, k) => c + (b[k] - c) * (t - low));
}

// Pairs closer than the sum of their reaches. Not across the cell boundary: such a stick would cross the picture.
function bondsOf(positions, reach) {
  const pairs = [];
  for (let i = 0; i < reach.length; i++) {
    for (let j = i + 1; j < reach.length; j++) {
      const x = positions[3 * i] - positions[3 * j];
      const y = positions[3 * i + 1] - positions[3 * j + 1];
      const z = positions[3 * i + 2] - positions[3 * j + 2];
      const longest = reach[i] + reach[j];
      if (x * x + y * y + z * z < longest * longest) pairs.push([i, j]);
    }
  }
  return pairs;
}

function corner(cell, k) {
  const bits = [k & 1, (k >> 1) & 1, k >> 2];
  return [0, 1, 2].map((axis) => bits[0] * cell[axis] + bits[1] * cell[3 + axis] + bits[2] * cell[6 + axis]);
}

// `count` sticks whose ends and colours can be rewritten; NGL buffers keep the length they were made with.
function makeSticks(NGL, stage, count, radius) {
  const ends = { position1: new Float32Array(3 * count), position2: new Float32Array(3 * count) };
  const colours = { color: new Float32Array(3 * count), color2: new Float32Array(3 * count) };
  const make = () => new NGL.CylinderBuffer({ ...ends, ...colours, radius: new Float32Array(count).fill(radius) }, {});
  let buffer, component;
  return {
    count,
    set(k, from, to, colourFrom, colourTo) {
      ends.position1.set(from, 3 * k);
      ends.position2.set(to, 3 * k);
      colours.color.set(colourFrom, 3 * k);
      colours.color2.set(colourTo, 3 * k);
    },
    hideFrom(k, anchor) { // unused sticks are folded into the middle of an atom
      const end = [anchor[0], anchor[1], anchor[2] + 1e-3];
      for (let rest = k; rest < count; rest++) this.set(rest, anchor, end, [0, 0, 0], [0, 0, 0]);
    },
    draw() {
      if (buffer) return buffer.setAttributes({ ...ends, ...colours });
      buffer = make();
      component = stage.addComponentFromObject(new NGL.Shape('sticks').addBuffer(buffer));
      component.addRepresentation('buffer');
    },
    remove() { if (component) stage.removeComponent(component); },
  };
}

// data: the decoded payload; host: an element with a size. Throws when there is no WebGL.
function makeScene(NGL, host, data) {
  const { natoms, reach } = data;
  // clipDist: NGL's default, 10 Å, would keep the camera too far from a small molecule
  const stage = new NGL.Stage(host, { cameraType: 'orthographic', clipDist: 0.5, tooltip: false });
  if (!stage.viewer || !stage.viewer.renderer) throw new Error('this browser offers no WebGL');
  stage.mouseObserver.handleScroll = false; // the wheel scrolls the page until the viewer is clicked
  const elementColours = data.colours.map(rgb);
  const grey = rgb('#9a9a9a');
  const at = (frame, i) => data.positions.subarray(3 * (frame * natoms + i), 3 * (frame * natoms + i) + 3);
  const colours = new Float32Array(3 * natoms);
  let spheres, sticks, box;

  function atoms(frame) {
    for (let i = 0; i < natoms; i++) {
      colours.set(data.values.length ? colourOf(data, data.values[frame * natoms + i]) : elementColours[i], 3 * i);
    }
    const position = data.positions.slice(3 * frame * natoms, 3 * (frame + 1) * natoms);
    if (spheres) return spheres.setAttributes({ position, color: colours });
    spheres = new NGL.SphereBuffer({ position, color: colours, radius: new Float32Array(data.radii) }, {});
    const shape = new NGL.Shape('atoms').addBuffer(spheres);
    stage.addComponentFromObject(shape).addRepresentation('buffer');
  }

  function bonds(frame) {
    const pairs = bondsOf(data.positions.subarray(3 * frame * natoms, 3 * (frame + 1) * natoms), reach);
    if (sticks && sticks.count < pairs.length) { sticks.remove(); sticks = undefined; }
    if (!sticks && pairs.length) sticks = makeSticks(NGL, stage, Math.ceil(1.25 * pairs.length) + 4, data.stick);
    if (!sticks) return;
    pairs.forEach(([i, j], k) => {
      const [a, b] = data.values.length ? [grey, grey] : [elementColours[i], elementColours[j]];
      sticks.set(k, at(frame, i), at(frame, j), a, b);
    });
    sticks.hideFrom(pairs.length, at(frame, 0));
    sticks.draw();
  }

  function cell(frame) {
    if (!data.cells.length) return;
    box ??= makeSticks(NGL, stage, CELL_EDGES.length, 0.04);
    const rows = data.cells.subarray(9 * frame, 9 * frame + 9);
    CELL_EDGES.forEach(([a, b], k) => box.set(k, corner(rows, a), corner(rows, b), grey, grey));
    box.draw();
  }

  // Bring everything that any frame shows into view.
  function fit() {
    const points = [];
    for (let k = 0; k < data.positions.length; k += 3) points.push(data.positions.subarray(k, k + 3));
    for (let k = 0; k < data.cells.length; k += 9) {
      for (let c = 0; c < 8; c++) points.push(corner(data.cells.subarray(k, k + 9), c));
    }
    const middle = [0, 1, 2].map((axis) => {
      const low = points.reduce((least, p) => Math.min(least, p[axis]), Infinity);
      const high = points.reduce((most, p) => Math.max(most, p[axis]), -Infinity);
      return (low + high) / 2;
    });
    const away = (p) => Math.hypot(p[0] - middle[0], p[1] - middle[1], p[2] - middle[2]);
    const far = points.reduce((most, p) => Math.max(most, away(p)), 0);
    const radius = far + Math.max(...data.radii);
    const narrow = Math.min(1, host.clientWidth / host.clientHeight);
    const angle = (stage.parameters.cameraFov / 2) * (Math.PI / 180);
    stage.viewerControls.center(middle);
    stage.viewerControls.distance((1.05 * radius) / (narrow * Math.tan(angle)));
  }

  return {
    show(frame) {
      const first = !spheres;
      atoms(frame);
      bonds(frame);
      cell(frame);
      if (first) {
        // Rows of data.rotation: where the picture's right, up and towards-the-reader lie. NGL's camera looks from
        // behind, so that its right and its depth run the other way.
        const r = data.rotation.map((v, k) => (k < 3 || k > 5 ? -v : v));
        const turn = new NGL.Matrix4().set(r[0], r[1], r[2], 0, r[3], r[4], r[5], 0, r[6], r[7], r[8], 0, 0, 0, 0, 1);
        stage.viewerControls.rotate(new NGL.Quaternion().setFromRotationMatrix(turn));
        fit();
      }
      stage.viewer.requestRender();
    },
    turn(right, up) {
      stage.viewerControls.spin([0, 1, 0], right);
      stage.viewerControls.spin([1, 0, 0], up);
    },
    zoom: (step) => stage.viewerControls.zoom(step),
    home: fit,
    wheelZooms(yes) { stage.mouseObserver.handleScroll = yes; },
    setBackground: (css) => stage.setParameters({ backgroundColor: css }),
    resize: () => stage.handleResize(),
    atomAt(frame, x, y) { // the atom drawn nearest to a point of the canvas (pixels from its top left), or -1
      let best = -1, nearest = 18 * 18;
      for (let i = 0; i < natoms; i++) {
        const p = stage.viewerControls.getPositionOnCanvas(new NGL.Vector3(...at(frame, i)));
        const d = (p.x - x) ** 2 + (host.clientHeight - p.y - y) ** 2;
        if (d < nearest) { nearest = d; best = i; }
      }
      return best;
    },
    dispose() {
      const gl = stage.viewer.renderer.getContext();
      stage.viewer.render = () => {}; // a frame that was asked for may come later, and find no context
      stage.dispose();
      const lose = gl.getExtension('WEBGL_lose_context'); // give the context back now: a page has about 16
      if (lose) lose.loseContext();
      host.replaceChildren();
    },
  };
}
