// The inspector: five views, of which the one in front asks anew every two seconds while it is seen.
import { $, tabs } from '/dom.js';
import { prepareDeliveries, refreshDeliveries } from '/inspector/deliveries.js';
import { showConnections, showLessons, showLetters, showUser } from '/inspector/views.js';

const EVERY_MS = 2000;
const VIEWS = {
  webhooks: refreshDeliveries,
  connections: showConnections,
  users: () => showUser(undefined, false),
  'dead-letters': showLetters,
  // Reads every remembered webhook, so only when asked to.
  learn: undefined,
};

let current = 'webhooks';
let live = true;
let busy = false;

/** Asks for what the view in front shows; one question at a time. */
async function refresh(show = VIEWS[current]) {
  if (busy || !show) return;
  busy = true;
  try {
    await show();
    $('#trouble').hidden = true;
  } catch (error) {
    $('#trouble').textContent = error.status ? error.message : 'The gateway does not answer. It is asked again every two seconds.';
    $('#trouble').hidden = false;
  }
  busy = false;
}

const select = tabs($('#sections'), (id) => {
  current = id;
  const wanted = location.hash.slice(1).split('/')[0];
  if (wanted !== id) history.replaceState(null, '', `#${id}`);
  refresh(id === 'learn' ? showLessons : undefined);
});

/** `#users/acme%3A42` leads to a user. */
function follow() {
  const [view, key] = location.hash.slice(1).split('/');
  if (key) $('#user-key').value = decodeURIComponent(key);
  select(view in VIEWS ? view : 'webhooks');
}

$('#user-form').addEventListener('submit', (event) => {
  event.preventDefault();
  refresh(() => showUser());
});
$('#user-filter').addEventListener('input', () => refresh());
$('#learn-again').addEventListener('click', () => refresh(showLessons));
$('#live').addEventListener('click', () => {
  live = !live;
  $('#live').setAttribute('aria-pressed', String(live));
  $('#live-word').textContent = live ? 'live' : 'paused';
  if (live) refresh();
});
document.addEventListener('visibilitychange', () => document.hidden || (live && refresh()));
addEventListener('hashchange', follow);

prepareDeliveries(() => refresh());
follow();
setInterval(() => live && !document.hidden && refresh(), EVERY_MS);
