// Makes elements and short texts. Everything that comes from outside becomes a text node, never markup.

/** An element with properties (`on…` are listeners, `class`, `data-…` and `aria-…` are attributes) and children; empty children are left out. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value == null || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name in element && !name.includes('-')) element[name] = value;
    else element.setAttribute(name, value === true ? '' : value);
  }
  if (properties.class) element.className = properties.class;
  element.append(...children.flat().filter((child) => child != null && child !== false && child !== ''));
  return element;
}

/** One of the icons at the end of the page. */
export function icon(name) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  const use = document.createElementNS('http://www.w3.org/2000/svg', 'use');
  use.setAttribute('href', `#icon-${name}`);
  svg.append(use);
  return svg;
}

export const $ = (selector) => document.querySelector(selector);

export const clockTime = (at) => new Date(at).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });

export const milliseconds = (us) => (us < 1e4 ? `${(us / 1e3).toFixed(us < 1e3 ? 2 : 1)} ms` : us < 1e7 ? `${Math.round(us / 1e3)} ms` : `${Math.round(us / 1e6)} s`);

export const bytes = (n) => (n < 1024 ? `${n} B` : n < 1024 * 1024 ? `${(n / 1024).toFixed(1)} KiB` : `${(n / 1024 / 1024).toFixed(1)} MiB`);

/** How long ago, in words that do not change every second. */
export function ago(at, now = Date.now()) {
  const s = Math.max(0, Math.round((now - at) / 1e3));
  if (s < 5) return 'now';
  if (s < 60) return `${s - (s % 5)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  return s < 86400 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86400)} d`;
}

/** A button that copies what `text` gives, and says so. */
export function copyButton(text, label = 'Copy') {
  const button = h('button', { type: 'button', class: 'button small', onclick: copy }, label);
  async function copy() {
    await navigator.clipboard.writeText(text()).then(
      () => (button.textContent = 'Copied'),
      () => (button.textContent = 'Not allowed'),
    );
    setTimeout(() => (button.textContent = label), 1500);
  }
  return button;
}

const WORDS = /(\/\/[^\n]*|(?<=^|\s)#[^\n]*|<!--[\s\S]*?-->)|("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`)|\b(import|from|export|const|let|await|async|new|return|function|true|false|null|curl|npm)\b|(?<![\w.])(-?\d+(?:\.\d+)?)(?![\w.])/gm;

/** Code with its comments, strings, numbers and words told apart, and a button to copy it. */
export function code(text, label = 'Copy') {
  const pre = h('pre', { tabIndex: 0 });
  const inside = h('code');
  let at = 0;
  for (const match of text.matchAll(WORDS)) {
    const kind = ['comment', 'string', 'word', 'number'][match.slice(1).findIndex(Boolean)];
    inside.append(text.slice(at, match.index), h('span', { class: kind }, match[0]));
    at = match.index + match[0].length;
  }
  inside.append(text.slice(at));
  pre.append(inside);
  return h('div', { class: 'code' }, pre, copyButton(() => text, label));
}

/**
 * The tabs pattern: one tab stop, arrows move. `list` has a button with `aria-controls` for each panel; `chosen` is told the id of the
 * panel that is shown. Returns what shows a panel by its id.
 */
export function tabs(list, chosen = () => {}) {
  const all = [...list.querySelectorAll('[role=tab]')];
  const select = (tab) => {
    for (const other of all) {
      const selected = other === tab;
      other.setAttribute('aria-selected', String(selected));
      other.tabIndex = selected ? 0 : -1;
      document.getElementById(other.getAttribute('aria-controls')).hidden = !selected;
    }
    chosen(tab.getAttribute('aria-controls'));
  };
  const STEPS = { ArrowRight: (i) => i + 1, ArrowLeft: (i) => i - 1, Home: () => 0, End: () => -1 };
  for (const tab of all) {
    tab.addEventListener('click', () => select(tab));
    tab.addEventListener('keydown', (event) => {
      const step = STEPS[event.key];
      if (!step) return;
      event.preventDefault();
      const next = all.at(step(all.indexOf(tab)) % all.length);
      next.focus();
      select(next);
    });
  }
  return (id) => select(all.find((tab) => tab.getAttribute('aria-controls') === id) ?? all[0]);
}
