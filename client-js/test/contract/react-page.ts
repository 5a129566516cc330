/** A React application in StrictMode, as a page. */
import { createElement as h, StrictMode, useState } from 'react';
import { createRoot } from 'react-dom/client';
import { createClient } from '../../src/index.js';
import { RelayProvider, useRelayFeed, useRelayStatus } from '../../src/react.js';
import { control } from './page.js';

function Feed() {
  const { status } = useRelayStatus();
  const feed = useRelayFeed('user_activity');
  return h('p', null, `${status} ${feed.length}`);
}

function App({ url, place }: { url: string; place: string }) {
  const [client] = useState(() => createClient({ url, getToken: () => control.token(place, 'acme:alice', 600) }));
  return h(RelayProvider, { client }, h(Feed), h(Feed));
}

const root = createRoot(document.getElementById('root')!);
const query = new URLSearchParams(location.search);
if (query.has('place')) root.render(h(StrictMode, null, h(App, { url: query.get('url')!, place: query.get('place')! })));
