// The demo page: every kind of webhook arrives, and after every trouble nothing is missing.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { PATIENCE, launch, open, overhang, shoot, startDev } from './harness.mjs';

const shell = (line) => promisify(execFile)('sh', ['-c', line]);

/** Sends what `dev` printed as claimr would: a connection that is refused while the gateway restarts is tried again. */
async function deliver() {
  const end = Date.now() + PATIENCE;
  for (;;) {
    try {
      return await shell(relay.curl);
    } catch (error) {
      if (error.code !== 7 || Date.now() > end) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}
const SCOPES = ['user_activity', 'user_reward', 'referral', 'user_login'];

let relay;
let browser;
before(async () => {
  [relay, browser] = await Promise.all([startDev(), launch()]);
});
after(async () => {
  await browser.close();
  assert.equal(await relay.stop(), 0, 'dev ends well');
});

const connected = (page, resume) => page.waitForSelector(`body[data-status=connected]${resume ? `[data-resume=${resume}]` : ''}`);

async function demo(user = 'alice', options) {
  const page = await open(browser, relay.demo, options);
  if (user !== 'alice') await page.check(`input[name=user][value=${user}]`, { force: true });
  await page.waitForSelector(`#feed-user:text-is("${user}")`);
  await connected(page);
  return page;
}

/** Presses a scope's button; resolves to the event's id once the event is in the feed. */
async function send(page, scope) {
  const answered = page.waitForResponse('**/dev/api/trigger');
  await page.click(`[data-send=${scope}]`);
  const { answer } = await (await answered).json();
  await page.waitForSelector(`#feed [data-id="${answer.ids[0]}"]`, { state: 'attached' });
  return answer.ids[0];
}

const bye = (page, code) => page.waitForSelector(`#wire li:has-text("$bye"):has-text("${code}")`);
/** After one trouble upon another the client takes its time, and a drained SSE stream is sent away for 10 s or more: presses "Connect now". */
const hurry = (page) => page.evaluate(() => document.querySelector('#now').hidden || document.querySelector('#now').click());
const idsOf = (page) => page.locator('#feed [data-id]').evaluateAll((lines) => lines.map((line) => line.dataset.id));

test('each scope is answered, shown as a toast, and kept in the feed', async () => {
  const page = await demo();
  for (const scope of SCOPES) {
    await send(page, scope);
    await page.waitForSelector(`.toast[data-scope=${scope}]`);
    await page.waitForSelector('#journey[data-at=shown]');
    assert.match(await page.textContent('#answer'), /^200 cursor \w+:\d+ · not a duplicate · \d+ connection/);
  }
  assert.equal((await idsOf(page)).length, 4);
  assert.deepEqual(page.faults, []);
  await shoot(page, 'demo-light-1280');
  await page.context().close();
});

test('the line that dev prints arrives, and only at its user', async () => {
  const [alice, bob] = await Promise.all([demo('alice'), demo('bob')]);
  const { stdout } = await shell(relay.curl);
  const { ids } = JSON.parse(stdout);
  await alice.waitForSelector(`#feed [data-id="${ids[0]}"]`);
  await alice.waitForSelector('.toast:has-text("Warm up")');
  // The referral is the next thing that bob hears, so what came before it was not for him.
  const before = await idsOf(bob);
  const id = await send(alice, 'referral');
  await bob.waitForSelector(`#feed [data-id="${id}"]:has-text("Welcome")`);
  assert.ok(!before.includes(ids[0]) && !(await idsOf(bob)).includes(ids[0]));
  await alice.context().close();
  await bob.context().close();
});

test('what is sent from the command line arrives as well, whatever the scope', async () => {
  const page = await demo('alice');
  for (const scope of ['user_activity', 'user_reward', 'referral', 'user_login']) {
    const { ids, connections } = JSON.parse((await shell(relay.trigger(scope))).stdout);
    await page.waitForSelector(`#feed [data-id="${ids[0]}"]`);
    assert.ok(connections >= 1, scope);
  }
  await page.waitForSelector('.toast');
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

for (const carrier of ['ws', 'sse']) {
  test(`after every trouble the stream is complete, over ${carrier}`, async () => {
    const page = await demo();
    if (carrier === 'sse') {
      await page.check('input[value=sse]', { force: true });
      await page.waitForFunction(() => document.querySelector('#fact-session').textContent !== '–');
      await connected(page);
    }
    for (const [trouble, code] of [['drop', 4002], ['expire', 4100], ['restart', 4000]]) {
      await page.click(`[data-trouble=${trouble}]`);
      await bye(page, code);
      // What happens while the page is away is replayed.
      await deliver();
      if (trouble !== 'drop') await hurry(page);
      await connected(page, 'resumed');
      await send(page, 'user_login');
    }
    await page.click('[data-trouble=burst]');
    await bye(page, 4001);
    await hurry(page);
    await page.waitForSelector('#feed :text("6 of 6")');
    assert.ok((await page.locator('#feed :text-matches("Burst \\\\d+: \\\\d of 6")').count()) >= 6, 'what did not fit comes from the log');

    const numbers = (await idsOf(page)).map((id) => Number(id.split(':')[1]));
    const expected = Array.from(numbers, (_, i) => numbers[0] - i);
    assert.deepEqual(numbers, expected, 'every event of the log is here, once, newest first');
    assert.deepEqual(page.faults, []);
    await page.context().close();
  });
}

test('a lost log is told as a gap, and the stream goes on', async () => {
  const page = await demo();
  const old = await send(page, 'user_reward');
  await page.click('[data-trouble=wipe]');
  await page.waitForSelector('#feed .gap');
  await connected(page, 'gap');
  await page.waitForSelector('.toast[data-scope=gap]');
  const id = await send(page, 'user_reward');
  assert.notEqual(id.split(':')[0], old.split(':')[0], 'another epoch');
  await page.context().close();
});

test('who signs in again finds the feed, and what happened meanwhile', async () => {
  const page = await demo('carol');
  const first = await send(page, 'user_activity');
  await page.check('input[name=user][value=alice]', { force: true });
  await connected(page);
  await send(page, 'user_login');
  const other = await demo('carol');
  const second = await send(other, 'user_reward');
  await page.check('input[name=user][value=carol]', { force: true });
  await page.waitForSelector(`#feed [data-id="${second}"][data-replayed=true]`);
  assert.ok((await idsOf(page)).includes(first));
  await page.context().close();
  await other.context().close();
});

test('every snippet has a token that works', async () => {
  const page = await demo();
  const tabs = page.locator('#snippet-tabs [role=tab]');
  await page.waitForSelector('#panel-curl pre', { state: 'attached' });
  assert.deepEqual(await tabs.allTextContents(), ['npm', 'Script tag', 'React', 'EventSource', 'WebSocket', 'curl']);
  const snippet = async (name, n = 0) => page.locator(`#panel-${name} pre`).nth(n).textContent();
  const heard = (text) => page.waitForEvent('console', { predicate: (message) => message.text().includes(text) });

  // As a developer's console would run them.
  const library = (await snippet('script-tag')).match(/<script>\s([\s\S]*)<\/script>/)[1];
  const npm = (await snippet('npm', 1)).replace(/^import .*$/m, 'const { createClient } = ClaimrRelay;');
  for (const program of [library, npm, await snippet('eventsource'), await snippet('websocket')]) {
    const arrival = heard(program === npm ? 'got' : 'user_reward');
    // If something else fails first, that is the news.
    arrival.catch(() => {});
    await page.evaluate(`(() => {\n${program}\n})()`);
    // Its connection is up when a webhook reaches one session more.
    const reached = async () => JSON.parse((await shell(await snippet('curl', 1))).stdout).connections;
    while ((await reached()) < 2);
    await arrival;
    await page.reload();
    await connected(page);
    await page.waitForSelector('#panel-curl pre', { state: 'attached' });
  }
  const watching = spawn('sh', ['-c', `exec ${(await snippet('curl')).replace('curl', 'curl -s')}`]);
  await new Promise((resolve) => watching.stdout.on('data', (text) => String(text).includes('$hello') && resolve()));
  watching.kill();
  await page.context().close();
});

test('the keyboard reaches everything', async () => {
  const page = await demo();
  await page.focus('#tab-npm');
  for (const name of ['script-tag', 'react', 'eventsource']) {
    await page.keyboard.press('ArrowRight');
    assert.equal(await page.evaluate(() => document.activeElement.id), `tab-${name}`);
    assert.ok(await page.isVisible(`#panel-${name}`) && !(await page.isVisible('#panel-npm')));
  }
  await page.keyboard.press('End');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'tab-curl');
  await page.focus('input[name=user][value=alice]');
  await page.keyboard.press('ArrowRight');
  await page.waitForSelector('#feed-user:text-is("bob")');
  await page.focus('[data-send=user_login]');
  await page.keyboard.press('Enter');
  await page.waitForSelector('.toast[data-scope=user_login]');
  await page.waitForFunction(() => document.activeElement.dataset.send === 'user_login', null, { timeout: 5000 });
  assert.equal(await page.getAttribute('#toasts', 'aria-live'), 'polite');
  await page.context().close();
});

test('it fits a phone, in the dark, and for those who want no motion', async () => {
  const page = await demo('alice', { viewport: { width: 375, height: 812 }, colorScheme: 'dark', reducedMotion: 'reduce' });
  await send(page, 'user_reward');
  await page.waitForSelector('.toast');
  assert.equal(await overhang(page), 0);
  const duration = await page.locator('.toast').last().evaluate((toast) => getComputedStyle(toast).animationDuration);
  assert.ok(parseFloat(duration) < 0.001, duration);
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const dark = await ground();
  await shoot(page, 'demo-dark-375');
  await page.click('#theme');
  assert.notEqual(await ground(), dark);
  await page.reload();
  assert.notEqual(await ground(), dark, 'the choice stays');
  assert.deepEqual(page.faults, []);
  await page.context().close();
});
