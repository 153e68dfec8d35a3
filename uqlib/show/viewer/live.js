// Entry for a live kernel (anywidget). ENGINE_GZ (the engine, base64 of gzip) and ENGINE_WRAP (the lines around it)
// are put above this by Python: the engine travels with the widget, so that a view starts even while the kernel is busy.
function engineOfKernel() {
  globalThis.uqlibNGLLoading ??= (async () => {
    const unpacked = new Blob([bytes(ENGINE_GZ)]).stream().pipeThrough(new DecompressionStream('gzip'));
    const parts = [ENGINE_WRAP[0], await new Response(unpacked).text(), ENGINE_WRAP[1]];
    const url = URL.createObjectURL(new Blob(parts, { type: 'text/javascript' }));
    await import(url);
    URL.revokeObjectURL(url);
    return globalThis.uqlibNGL;
  })();
  return globalThis.uqlibNGLLoading;
}

function render({ model, el }) {
  const payload = model.get('payload');
  const still = element('img', { class: 'uqv-still', alt: payload.alt, src: payload.still });
  const link = {
    get: () => model.get('frame'),
    set: (frame) => { model.set('frame', frame); model.save_changes(); },
  };
  const viewer = mount(el, payload, { still, link, engine: engineOfKernel });
  const follow = () => viewer.show(model.get('frame'));
  model.on('change:frame', follow);
  return () => { model.off('change:frame', follow); viewer.remove(); };
}

export default { render };
