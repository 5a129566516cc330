/** The scenarios against the real gateway: in Node, Chromium and Firefox. */
import { after, before, describe, test } from 'node:test';
import { WebSocket } from 'ws';
import { type BrowserName, BROWSERS, openPage, start, stop } from './browsers.js';
import { control } from './control.js';
import { scenarios } from './scenarios.js';

before(start);
after(stop);

describe('Node', { concurrency: 6 }, () => {
  for (const [name, play] of Object.entries(scenarios)) test(name, () => play({ control, options: { WebSocket } }));
});

for (const browser of BROWSERS) {
  describe(browser, { concurrency: 6 }, () => {
    for (const name of Object.keys(scenarios)) test(name, () => inPage(browser, name));
  });
}

async function inPage(browser: BrowserName, name: string): Promise<void> {
  const page = await openPage(browser);
  try {
    const failure = await page.evaluate((name) => window.play(name), name);
    if (failure) throw new Error(failure);
  } finally {
    await page.close();
  }
}
