// Words of the glossary: the meaning stands below its word, Escape takes it away, and the first touch shows it instead
// of leaving the page. Without scripts it shows on hovering and focus, at the left of its paragraph.
(() => {
  let touched = false;

  function close() {
    document.querySelectorAll('.term-place.open').forEach((place) => place.classList.remove('open'));
  }

  function put(place) {
    const meaning = place.querySelector('.term-meaning');
    const frame = meaning.offsetParent; // null while it is not shown
    if (!frame) return;
    const word = place.querySelector('.term').getClientRects()[0];
    const box = frame.getBoundingClientRect();
    const most = frame.clientWidth - meaning.offsetWidth;
    meaning.style.setProperty('--term-left', `${Math.max(0, Math.min(word.left - box.left, most))}px`);
  }

  for (const place of document.querySelectorAll('.term-place')) {
    const show = () => {
      place.classList.remove('hushed');
      requestAnimationFrame(() => put(place));
    };
    place.addEventListener('pointerenter', show);
    place.addEventListener('focusin', show);
    place.querySelector('.term').addEventListener('click', (event) => {
      if (!touched || place.classList.contains('open')) return;
      event.preventDefault();
      close();
      place.classList.add('open');
      put(place);
    });
  }

  document.addEventListener('pointerdown', (event) => {
    touched = event.pointerType === 'touch';
    if (!event.target.closest('.term-place')) close();
  });
  document.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape') return;
    close();
    document.querySelectorAll('.term-place:is(:hover, :focus-within)').forEach((place) => place.classList.add('hushed'));
  });
})();
