// The inspector: what it makes of the admin API's answers, and that it is served at all.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { answerTo, deliveries } from './admin-answers.mjs';
import { launch, open, overhang, shoot, startDev } from './harness.mjs';

let relay;
let browser;
before(async () => {
  [relay, browser] = await Promise.all([startDev(), launch()]);
});
after(async () => {
  await browser.close();
  await relay.stop();
});

/** The inspector over the answers of `admin-answers.mjs`; what it asked is in `page.asked`. */
const inspector = ({ clock, ...options } = {}, answer = answerTo) =>
  open(browser, relay.inspector, {
    ...options,
    async prepare(page) {
      page.asked = [];
      if (clock) await page.clock.install();
      await page.route('**/admin/v1/**', async (route) => {
        const request = route.request();
        const url = new URL(request.url());
        const call = { method: request.method(), path: url.pathname + url.search, body: request.postData() };
        page.asked.push(call);
        call.headers = await request.allHeaders();
        const json = answer(call.method, url, call.headers);
        await route.fulfill(json ? { json } : { status: 401, json: { error: { code: 'token_rejected', message: 'no' } } });
      });
    },
  });

const asked = (page, method, path) => page.asked.find((call) => call.method === method && call.path.startsWith(path));
const step = async (page, name) => (await page.textContent(`.timeline [data-step=${name}] .told`)).trim();
const choose = (page, n) => page.click(`#deliveries [data-n="${n}"]`);

test('a webhook is a timeline, from its first byte to the sessions', async () => {
  const page = await inspector();
  await page.waitForSelector('.timeline');
  assert.equal(await page.locator('#deliveries button').count(), deliveries.length);
  for (const [name, words] of [
    ['verified', /by hmac in x-signature, secret 1/],
    ['addressed', /acme:alice from account\+platform.*from wallet/],
    ['deduplicated', /1 new event/],
    ['stored', /k3f9a0b1c2:1020/],
    ['delivered', /to 2 sessions/],
  ]) assert.match(await step(page, name), words);
  assert.match(await page.textContent('.timeline [data-step=stored] .time'), /0\.70 ms/);

  await choose(page, 18);
  assert.match(await step(page, 'deduplicated'), /A repetition of k3f9a0b1c2:1017/);
  assert.match(await step(page, 'delivered'), /not again/);
  await choose(page, 17);
  assert.match(await step(page, 'verified'), /^Not verifiedx-signature looks like.*none of the 1 secrets/);
  assert.match(await step(page, 'stored'), /not reached/);
  await choose(page, 16);
  assert.match(await step(page, 'addressed'), /to nobody.*1 part kept as a dead letter/);
  await choose(page, 15);
  assert.equal((await page.textContent('.body pre')).trim(), '{"scope":"user_activity",', 'what is not JSON is shown as it came');
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test('body and headers are shown, pretty or raw, and markup stays text', async () => {
  const attack = '{"name":"<img src=x onerror=alert(1)>"}';
  const page = await inspector({}, (method, url) => {
    const answer = answerTo(method, url);
    return answer.deliveries ? { deliveries: [{ ...deliveries[0], scope: '<b>x</b>', body: attack }] } : answer;
  });
  await page.waitForSelector('.timeline');
  assert.equal(await page.textContent('.detail h2'), '<b>x</b>');
  assert.match(await page.textContent('.body pre'), /\n {2}"name": "<img/);
  await page.check('input[value=raw]', { force: true });
  assert.equal(await page.textContent('.body pre'), attack);
  assert.match(await page.textContent('.headers'), /x-signature\s*e866… \(64 hex digits\)/);
  assert.equal(await page.locator('#detail img').count(), 0);
  await page.context().close();
});

test('filters ask the gateway', async () => {
  const page = await inspector();
  await page.waitForSelector('.timeline');
  await page.selectOption('#filter-outcome', 'duplicate');
  await page.waitForFunction(() => document.querySelectorAll('#deliveries button').length === 1);
  await page.fill('#filter-user', 'acme:nobody');
  await page.waitForSelector('#deliveries-empty:text("No webhook fits.")');
  assert.ok(asked(page, 'GET', '/admin/v1/deliveries?limit=100&outcome=duplicate&user=acme%3Anobody'));
  await page.context().close();
});

test('did this user get that reward, and when?', async () => {
  const page = await inspector();
  await page.waitForSelector('.timeline');
  await page.click('.timeline a:text("acme:alice")');
  await page.waitForSelector('#users:not([hidden]) .table');
  await page.fill('#user-filter', 'coffee');
  await page.waitForFunction(() => !document.querySelector('#user-result').textContent.includes('Warm up'));
  assert.match(await page.textContent('#user-result'), /Coffee on us · reward claimed/);
  await page.click('text=Send again');
  await page.waitForSelector('button:text-is("to 2")');
  await page.click('text=End sessions');
  await page.waitForSelector('button:text-is("2 ended")');
  for (const [method, path] of [['POST', '/admin/v1/events/k3f9a0b1c2%3A1012/replay'], ['DELETE', '/admin/v1/users/acme%3Aalice/sessions']]) {
    assert.equal(asked(page, method, path)?.headers['content-type'], 'application/json', path);
  }
  await page.context().close();
});

test('connections, dead letters and lessons', async () => {
  const page = await inspector();
  await page.click('#tab-connections');
  await page.waitForSelector('#connections .table');
  assert.match(await page.textContent('#connections'), /acme:bob.*12 · 8\.9 KiB/s);
  await page.click('#tab-dead-letters');
  await page.click('#replay-all');
  await page.waitForSelector('.letter .chip.ok');
  assert.deepEqual(JSON.parse(asked(page, 'POST', '/admin/v1/dead-letters/replay').body), { ids: ['dl-2', 'dl-1'] });
  assert.match(await page.textContent('#letters'), /still dead/);
  await page.click('#tab-learn');
  await page.waitForSelector('#lessons .code');
  assert.match(await page.textContent('#lessons'), /6 of 7 genuine.*scheme = "hmac".*quest_name = .*user\.account.*no delivery had a rank/s);
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test('the token of dev is taken from the address, and another is asked for once', async () => {
  let good = /token=(\w+)/.exec(relay.inspector)[1];
  const guarded = (method, url, headers) => (headers.authorization === `Bearer ${good}` ? answerTo(method, url) : undefined);
  const page = await inspector({}, guarded);
  await page.waitForSelector('.timeline');
  assert.ok(!page.url().includes('token'), 'it does not stay in the address');
  good = 'another';
  await page.waitForSelector('#sign-in[open]');
  await page.fill('#token', 'another');
  await page.keyboard.press('Enter');
  await page.waitForSelector('#sign-in', { state: 'hidden' });
  const before = page.asked.length;
  await page.click('#tab-connections');
  await page.waitForSelector('#connections .table');
  assert.ok(page.asked.slice(before).every((call) => call.headers.authorization === 'Bearer another'));
  await page.context().close();
});

test('it asks every two seconds, unless it is paused', async () => {
  const page = await inspector({ clock: true });
  await page.waitForSelector('.timeline');
  const questions = () => page.asked.filter(({ path }) => path.startsWith('/admin/v1/deliveries')).length;
  const before = questions();
  const answered = page.waitForResponse('**/admin/v1/deliveries**');
  await page.clock.runFor(2000);
  await answered;
  assert.equal(questions(), before + 1);
  await page.click('#live');
  assert.equal(await page.textContent('#live-word'), 'paused');
  await page.clock.runFor(60_000);
  assert.equal(questions(), before + 1);
  await page.context().close();
});

test('it fits a phone', async () => {
  const page = await inspector({ viewport: { width: 375, height: 812 }, colorScheme: 'dark' });
  await page.click('#deliveries [data-n="20"]');
  await page.waitForSelector('.timeline');
  await shoot(page, 'inspector-dark-375');
  assert.equal(await overhang(page), 0);
  await page.click('.back');
  await page.waitForSelector('#deliveries [data-n="17"]');
  for (const tab of ['connections', 'users', 'dead-letters', 'learn']) {
    await page.click(`#tab-${tab}`);
    assert.equal(await overhang(page), 0, tab);
  }
  await page.context().close();
});
