/** WebSocket first; SSE where something on the way does not let WebSocket through. */
import type { Carrier, Route } from './carrier.js';
import type { Store } from './cursor.js';
import type { Transport } from './types.js';

/** After the first carrier was found blocked: when a reconnect tries it again. */
const RETRY = 3e5;
/** How long a new page remembers. */
const REMEMBER = 18e5;
/** Failures in a row after which a carrier that has worked before counts as blocked. An outage is not a block. */
const MISSES = 4;

export function withFallback(carriers: readonly (readonly [Transport, Carrier])[], store: Store, now: () => number): Route {
  const [first, second] = carriers;
  let best: Transport | undefined;
  let misses = 0;
  let blockedAt = Number(store('blocked') ?? -Infinity);
  let blocked = now() - blockedAt < REMEMBER;
  return {
    pick() {
      if (best && now() - blockedAt > RETRY) blocked = false;
      return blocked && second || first!;
    },
    worked(name) {
      best = name;
      misses = 0;
      if (name != first![0]) store('blocked', `${blockedAt}`);
    },
    failed(name) {
      const again = name == first![0] && !!second && (best != name || ++misses >= MISSES);
      if (again) {
        blockedAt = now();
        misses = 0;
      }
      blocked = again || (name == best && blocked);
      return again;
    },
  };
}
