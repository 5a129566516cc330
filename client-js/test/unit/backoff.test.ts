/** The delays, as a herd of clients draws them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { backoff } from '../../src/backoff.js';

test('the delay grows by two, is capped, and is never below 100 ms', () => {
  const most = [0, 1, 2, 3, 4, 5, 6, 1000].map((attempt) => backoff(1, attempt, false));
  assert.deepEqual(most, [1100, 2100, 4100, 8100, 16100, 30100, 30100, 30100]);
  assert.equal(backoff(0, 9, false), 100);
  assert.deepEqual([0, 1, 5, 1000].map((attempt) => backoff(1, attempt, true)), [10_100, 20_100, 300_100, 300_100]);
  assert.deepEqual([0, 9].map((attempt) => backoff(1, attempt, false, { base: 10, cap: 50 })), [110, 150]);
});

test('the jitter is full: every tenth of the range gets its tenth of the clients', () => {
  const tenths = new Array<number>(10).fill(0);
  const herd = 100_000;
  for (let i = 0; i < herd; i++) tenths[Math.floor((backoff(Math.random(), 2, false) - 100) / 400)]!++;
  for (const count of tenths) assert.ok(Math.abs(count - herd / 10) < herd / 100, `${tenths}`);
});

test('10,000 clients of a gateway that is away for 8 s do not come back together', () => {
  // Each dials at once when the connection breaks, then by its own delays.
  const perSlot = new Map<number, number>();
  for (let client = 0; client < 10_000; client++) {
    let at = 0;
    for (let attempt = 0; at < 8_000; attempt++) {
      at += backoff(Math.random(), attempt, false);
      const slot = Math.floor(at / 100);
      perSlot.set(slot, (perSlot.get(slot) ?? 0) + 1);
    }
  }
  const peak = Math.max(...perSlot.values());
  assert.ok(peak < 2_000, `${peak} dials within 100 ms`);
});
