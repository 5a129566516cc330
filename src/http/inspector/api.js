// The admin API. Where it wants a token, the page asks for it once and keeps it for this tab.
import { $ } from '/dom.js';

const KEY = 'claimr-relay-admin-token';
let waiting;

/** `dev` puts its token behind the `#`, where no server sees it; it does not stay in the address. */
const handed = new URLSearchParams(location.hash.slice(1)).get('token');
if (handed) {
  sessionStorage.setItem(KEY, handed);
  history.replaceState(null, '', location.pathname);
}

/** Asks for `path` below `/admin/v1`; with `method`, changes something. */
export async function api(path, { method = 'GET', body } = {}) {
  for (;;) {
    const used = sessionStorage.getItem(KEY);
    const headers = { Accept: 'application/json' };
    if (used) headers.Authorization = `Bearer ${used}`;
    if (method !== 'GET') headers['Content-Type'] = 'application/json';
    const response = await fetch(`/admin/v1/${path}`, { method, headers, body: body && JSON.stringify(body), cache: 'no-store' });
    if (response.status === 401) {
      await (waiting ??= signIn(used));
      continue;
    }
    const answer = await response.json().catch(() => ({}));
    if (!response.ok) throw Object.assign(new Error(answer.error?.message ?? `The gateway answered ${response.status}.`), { status: response.status });
    return answer;
  }
}

/** Waits until somebody has entered another token. */
function signIn(refused) {
  sessionStorage.removeItem(KEY);
  $('#sign-in-refused').textContent = refused ? 'This token was not accepted.' : '';
  const dialog = $('#sign-in');
  dialog.oncancel = (event) => event.preventDefault();
  dialog.showModal();
  return new Promise((resolve) => {
    $('#sign-in-form').onsubmit = (event) => {
      event.preventDefault();
      sessionStorage.setItem(KEY, $('#token').value.trim());
      $('#token').value = '';
      dialog.close();
      waiting = undefined;
      resolve();
    };
  });
}
