// Starts the slides when their scripts are there, and tells MathJax which signs enclose a formula.
window.MathJax = { tex: { inlineMath: [['$', '$'], ['\\(', '\\)']], displayMath: [['$$', '$$']] } };

window.addEventListener('DOMContentLoaded', () => {
  window.Reveal.initialize({
    width: 1280,
    height: 720,
    margin: 0.04,
    center: false,
    controls: true,
    progress: true,
    hash: true,
    slideNumber: 'c/t',
    transition: 'none',
    plugins: [window.RevealNotes],
  }).then(() => { document.documentElement.dataset.ready = ''; });
});
