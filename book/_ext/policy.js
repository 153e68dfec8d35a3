// What the theme's buttons did in `onclick`, which the policy of the pages forbids.
document.addEventListener('click', (event) => {
  const button = event.target.closest('[data-click]');
  if (!button) return;
  if (button.dataset.click === 'print') window.print();
  else if (button.dataset.click === 'full-screen') window.toggleFullScreen();
});
