// Runs after require.js and before html-manager: says where the front ends of widgets lie. Addresses follow from this
// script's own, so that pages at any depth and a site under any prefix find them.
(() => {
  const me = document.currentScript;
  const at = (path) => new URL(path, me.src).href;
  window.requirejs.config({
    paths: {
      anywidget: at('anywidget/index'),
      'nglview-js-widgets': at('nglview/index'),
      '@jupyter-widgets/html-manager': at('../html-manager/index'), // its icon fonts are looked for beside this
      '@jupyter-widgets/html-manager/dist': at('../html-manager'),
    },
    waitSeconds: 60,
  });
  // Any other front end is looked for here, and not found, rather than on a public server.
  me.dataset.jupyterWidgetsCdn = at('missing/');
  // The theme's Font Awesome would replace the icons of buttons that widgets want to change later.
  window.FontAwesomeConfig = { ...window.FontAwesomeConfig, observeMutations: false };
  // Widgets set formulas through the interface of MathJax 2; the pages have MathJax 3.
  window.addEventListener('load', () => {
    if (window.MathJax && !window.MathJax.Hub) {
      window.MathJax.Hub = { Queue: (job) => job[2] && window.MathJax.typesetPromise([job[2]]) };
    }
  });
})();
