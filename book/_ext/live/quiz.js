// Questions with choices: the list becomes buttons, and a click opens the reason. Without scripts the list stays a list,
// and the reason is in a fold.
(() => {
  function element(name, attributes, ...children) {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  }

  function enliven(quiz) {
    const list = quiz.querySelector('ol');
    const fold = quiz.querySelector('details');
    const question = quiz.querySelector('p');
    if (!list || !fold || !question) return;
    const right = Number(quiz.dataset.right) - 1;
    const verdict = element('p', { class: 'quiz-verdict', role: 'status' });
    fold.before(verdict);
    question.id = question.id || `${quiz.id}-question`;
    list.setAttribute('role', 'group'); // a list of buttons is read out as one group with the question for a name
    list.setAttribute('aria-labelledby', question.id);
    const buttons = [...list.children].map((item) => {
      const paragraph = item.querySelector(':scope > p');
      const button = element('button', { type: 'button', 'aria-pressed': 'false' });
      button.append(...(paragraph || item).childNodes);
      item.replaceChildren(button);
      item.setAttribute('role', 'presentation');
      return button;
    });
    buttons.forEach((button, number) => button.addEventListener('click', () => {
      buttons.forEach((each, k) => {
        each.setAttribute('aria-pressed', String(k === number));
        each.classList.toggle('right', k === right);
        each.classList.toggle('wrong', k === number && k !== right);
      });
      verdict.textContent = number === right ? 'Yes, that is right.' : `Not that one. The right answer is number ${right + 1}.`;
      quiz.dataset.answered = number === right ? 'right' : 'wrong';
      fold.open = true;
    }));
    quiz.dataset.ready = '';
  }

  document.querySelectorAll('.quiz').forEach(enliven);
})();
