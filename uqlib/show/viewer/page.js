// Entry for a static page: no kernel, no widget manager, no module loader; works from file:// too.
const here = new URL('./', document.currentScript.src);
let engineLoading;

function engineOfPage() {
  engineLoading ??= new Promise((resolve, reject) => {
    const script = element('script', { src: new URL('uqlib-engine.js', here).href });
    script.onload = () => resolve(globalThis.uqlibNGL);
    script.onerror = () => reject(new Error('its script could not be loaded'));
    document.head.append(script);
  });
  return engineLoading;
}

function hydrateAll() {
  const probe = document.createElement('canvas').getContext('webgl');
  if (probe) probe.getExtension('WEBGL_lose_context')?.loseContext();
  else document.documentElement.classList.add('uqv-no-webgl'); // shows the still pictures beside nglview's views
  for (const figure of document.querySelectorAll('.uqv-static:not(.uqv-live)')) {
    figure.classList.add('uqv-live');
    const payload = JSON.parse(figure.querySelector('script.uqv-data').textContent);
    let frame = payload.frame;
    const link = { get: () => frame, set: (wanted) => { frame = wanted; } };
    mount(figure, payload, { still: figure.querySelector('.uqv-still'), link, engine: engineOfPage });
  }
}

if (document.readyState === 'loading') document.addEventListener('DOMContentLoaded', hydrateAll);
else hydrateAll();
