// The webhooks: a list that can be narrowed down, and the way of the one that is chosen.
import { api } from './api.js';
import { $, ago, bytes, clockTime, copyButton, h, milliseconds } from '/dom.js';
import { timeline, tone } from './timeline.js';

const LIMIT = 100;
const OUTCOMES = ['accepted', 'duplicate', 'dead_letter', 'signature_invalid', 'signature_missing', 'timestamp_stale', 'payload_invalid', 'overloaded', 'log_unavailable'];
const VIEWS = ['pretty', 'raw'];

let deliveries = [];
let chosen;
let view = 'pretty';
let shown = '';

const option = (value) => h('option', { value }, value.replaceAll('_', ' '));

/** Names that were seen once stay in the filter, in case they are what it is set to. */
function widen(select, names) {
  const known = new Set([...select.options].map(({ value }) => value));
  for (const name of names) if (name && !known.has(name)) select.append(option(name));
}

/** Makes the filters work; `changed` asks anew. */
export function prepareDeliveries(changed) {
  widen($('#filter-outcome'), OUTCOMES);
  let timer;
  for (const id of ['source', 'outcome', 'user']) {
    $(`#filter-${id}`).addEventListener('input', () => {
      clearTimeout(timer);
      timer = setTimeout(changed, id === 'user' ? 250 : 0);
    });
  }
  $('#deliveries').addEventListener('keydown', (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const rows = [...document.querySelectorAll('#deliveries button')];
    const next = rows[rows.indexOf(document.activeElement) + step];
    if (!step || !next) return;
    event.preventDefault();
    next.focus();
  });
}

/** Asks for the list. */
export async function refreshDeliveries() {
  const query = new URLSearchParams({ limit: String(LIMIT) });
  for (const id of ['source', 'outcome', 'user']) {
    const value = $(`#filter-${id}`).value.trim();
    if (value) query.set(id, value);
  }
  ({ deliveries } = await api(`deliveries?${query}`));
  widen($('#filter-source'), new Set(deliveries.map(({ source }) => source)));
  widen($('#filter-outcome'), new Set(deliveries.map(({ outcome }) => outcome)));
  if (!deliveries.some(({ n }) => n === chosen)) chosen = undefined;
  const wide = matchMedia('(min-width: 56rem)').matches;
  if (chosen === undefined && wide && deliveries.length) choose(deliveries[0].n);
  list();
}

function list() {
  const state = JSON.stringify([deliveries.map(({ n, at }) => [n, ago(at)]), chosen]);
  if (state === shown) return;
  shown = state;
  const focused = document.activeElement?.dataset?.n;
  $('#deliveries').replaceChildren(...deliveries.map(row));
  $('#deliveries-empty').hidden = deliveries.length > 0;
  $('#deliveries-empty').textContent = ['source', 'outcome', 'user'].some((id) => $(`#filter-${id}`).value) ? 'No webhook fits.' : 'No webhook yet. Send one to /hooks/<source>.';
  if (focused) $(`#deliveries [data-n="${focused}"]`)?.focus();
  $('#split').classList.toggle('chosen', chosen !== undefined);
  if (chosen === undefined) $('#detail').replaceChildren(h('p', { class: 'empty' }, 'Choose a webhook to see its way.'));
}

/** Whom it concerns, in a few words. */
const whom = ({ steps }) => {
  const people = steps.find(({ step }) => step === 'addressed')?.events.flatMap((event) => event.people.map(({ keys }) => keys[0])) ?? [];
  return people.length > 2 ? `${people.slice(0, 2).join(', ')} and ${people.length - 2} more` : people.join(', ');
};

const row = (delivery) =>
  h('li', {},
    h('button', { type: 'button', 'data-n': delivery.n, 'aria-current': String(delivery.n === chosen), onclick: () => (choose(delivery.n), list(), $('#detail').focus({ preventScroll: true })) },
      h('span', { class: 'head' }, h('b', {}, delivery.scope ?? delivery.source), h('span', { class: `chip ${tone(delivery.outcome)}` }, delivery.outcome.replaceAll('_', ' '))),
      h('span', { class: 'small muted' }, h('span', { class: 'mono whom' }, whom(delivery) || '–'), h('span', { title: clockTime(delivery.at) }, ago(delivery.at))),
    ));

function choose(n) {
  chosen = n;
  const delivery = deliveries.find((delivery) => delivery.n === n);
  $('#detail').replaceChildren(...detail(delivery));
}

function back() {
  chosen = undefined;
  list();
}

function detail(delivery) {
  return [
    h('header', {},
      h('button', { type: 'button', class: 'button quiet small back', onclick: back }, '← All'),
      h('h2', {}, delivery.scope ?? delivery.source),
      h('span', { class: `chip ${tone(delivery.outcome)}` }, `${delivery.status} ${delivery.outcome.replaceAll('_', ' ')}`),
      h('span', { class: 'end small muted' }, `#${delivery.n} · ${milliseconds(delivery.took_us)}`)),
    h('div', { class: 'inside' },
      timeline(delivery),
      body(delivery),
      h('h3', {}, 'Headers'),
      h('div', { class: 'scroll' }, h('table', { class: 'table headers mono' }, h('tbody', {}, delivery.headers.map(([name, value]) => h('tr', {}, h('th', { scope: 'row' }, name), h('td', {}, value))))))),
  ];
}

const pretty = (text) => {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
};

function body(delivery) {
  const { body: text = '', body_bytes: length } = delivery;
  const code = h('code', {});
  const show = (which) => {
    view = which;
    code.textContent = which === 'pretty' ? pretty(text) : text;
  };
  show(view);
  const cut = new TextEncoder().encode(text).length < length;
  return h('section', { class: 'body' },
    h('div', { class: 'row' },
      h('h3', {}, 'Body'),
      h('span', { class: 'small muted' }, `${bytes(length)}${cut ? ', cut' : ''}`),
      h('div', { class: 'segments end' }, VIEWS.map((name) => h('label', {}, h('input', { type: 'radio', name: 'body-view', value: name, checked: name === view, onchange: () => show(name) }), h('span', {}, name))))),
    h('div', { class: 'code' }, h('pre', { tabIndex: 0 }, code), copyButton(() => text)));
}
