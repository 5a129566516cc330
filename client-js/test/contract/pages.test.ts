/** What only browsers do: native clients, the back-forward cache, tabs that share, React in StrictMode, a script tag. */
import assert from 'node:assert/strict';
import { after, before, describe, test, type TestContext } from 'node:test';
import type { Page } from 'playwright-core';
import { address, type BrowserName, BROWSERS, openContext, openPage, start, stop } from './browsers.js';
import { control } from './control.js';
import { plain } from './plain.js';
import { sleep, until } from './stage.js';

const ALICE = 'acme:alice';

before(start);
after(stop);

/** Starts a client in the page that notes what it hears. */
const listen = (page: Page, place: string, url: string, kind: 'createClient' | 'createSharedClient', options = {}) =>
  page.evaluate(
    ([place, url, kind, options]) => {
      window.heard = [];
      window.notes = [];
      window.relay = window[kind]({ url, getToken: () => window.control.token(place, 'acme:alice', 600), backoff: { base: 100 }, ...options });
      window.relay.on('*', ({ id }) => window.heard.push(id));
      window.relay.on('gap', ({ reason }) => window.notes.push(reason));
      window.relay.on('error', ({ code }) => window.notes.push(code));
      return window.relay.ready();
    },
    [place, url, kind, options] as const,
  );

const heard = (page: Page) => page.evaluate(() => window.heard);
const hears = (page: Page, ids: string[]) => until(`${ids.length} events`, async () => JSON.stringify(await heard(page)) == JSON.stringify(ids));

for (const browser of BROWSERS) {
  describe(browser, { concurrency: 4 }, () => {
    for (const name of Object.keys(plain)) {
      test(name, async () => {
        const page = await openPage(browser);
        const failure = await page.evaluate((name) => window.play(name), name);
        await page.close();
        assert.equal(failure ?? '', '');
      });
    }

    test('a page in the back-forward cache comes back with what it missed', (t) => backForward(browser, t));
    test('six tabs with SSE on HTTP/1.1 are one connection, also when the leader goes', () => sixTabs(browser));
    test('StrictMode opens one connection', () => strictMode(browser));
  });
}

async function backForward(browser: BrowserName, t: TestContext): Promise<void> {
  for (const transport of ['ws', 'sse']) {
    const { place, url } = await control.open({});
    const page = await openPage(browser);
    await listen(page, place, url, 'createClient', { transports: [transport], resume: 'session' });
    const ids = await control.publish(place, ALICE, 2);
    await hears(page, ids);
    await page.goto(address('/blank.html'));
    await until('no connection while away', async () => {
      const { openWs, openSse } = await control.traffic(place);
      return openWs + openSse == 0;
    });
    ids.push(...(await control.publish(place, ALICE, 2)));
    // A page out of the cache has no `load`.
    await page.goBack({ waitUntil: 'commit' });
    // Firefox does not keep pages that had a connection; then it is a new page, and the cursor is in session storage.
    const anew = await page.evaluate(() => window.relay === undefined);
    t.diagnostic(`${transport}: ${anew ? 'loaded anew' : 'out of the cache'}`);
    if (anew) {
      await listen(page, place, url, 'createClient', { transports: [transport], resume: 'session' });
      ids.splice(0, 2);
    }
    await hears(page, ids);
    assert.deepEqual(await page.evaluate(() => window.notes), []);
    await page.close();
    await control.close(place);
  }
}

async function sixTabs(browser: BrowserName): Promise<void> {
  const { place, url } = await control.open({});
  const context = await openContext(browser);
  const tabs = await Promise.all(Array.from({ length: 6 }, () => context.newPage()));
  for (const tab of tabs) {
    await tab.goto(address('/page.html'));
    await listen(tab, place, url, 'createSharedClient', { transports: ['sse'] });
  }
  let ids = await control.publish(place, ALICE, 3);
  for (const tab of tabs) await hears(tab, ids);
  assert.equal((await control.traffic(place)).sse, 1);

  await tabs.shift()!.close();
  ids = [...ids, ...(await control.publish(place, ALICE, 3))];
  for (const tab of tabs) await hears(tab, ids);
  await sleep(200);
  const { sse, openSse } = await control.traffic(place);
  assert.deepEqual([sse, openSse], [2, 1]);
  for (const tab of tabs) assert.deepEqual(await tab.evaluate(() => window.notes), []);
  await context.close();
  await control.close(place);
}

async function strictMode(browser: BrowserName): Promise<void> {
  const { place, url } = await control.open({});
  const page = await openPage(browser, `/react-page.html?place=${place}&url=${encodeURIComponent(url)}`);
  const text = () => page.evaluate(() => document.getElementById('root')!.textContent);
  await until('connected', async () => (await text()) == 'connected 0connected 0');
  await control.publish(place, ALICE, 2);
  await until('events', async () => (await text()) == 'connected 2connected 2');
  const { ws, sse } = await control.traffic(place);
  assert.equal(ws + sse, 1);
  await page.close();
  await control.close(place);
}
