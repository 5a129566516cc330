/**
 * `claimr-relay/svelte`: stores, for every version of Svelte (and whatever else knows stores). To run code on an event no
 * binding is needed: `onMount(() => relay.on('user_reward', toast))`. On a server nothing subscribes.
 */
import type { EventName, EventOf, RelayClient, State } from './types.js';

/** What Svelte calls a readable store. */
export interface Store<T> {
  subscribe(run: (value: T) => void): () => void;
}

const store = <T, N extends EventName>(client: RelayClient | null, type: N, first: () => T, next: (event: EventOf<N>, last: T) => T): Store<T> => ({
  subscribe(run) {
    let value = first();
    run(value);
    const off = typeof document == 'undefined' ? undefined : client?.on(type, (event) => run((value = next(event, value))));
    return () => off?.();
  },
});

/** The state of the connection. */
export const relayStatus = (client: RelayClient | null): Store<Pick<State, 'status' | 'lost'>> => {
  const read = () => ({ status: client?.status ?? 'idle', lost: !!client?.lost }) as const;
  return store(client, 'status', read, read);
};

/** The latest event of a type. */
export const relayEvent = <T extends EventName>(client: RelayClient | null, type: T): Store<EventOf<T> | undefined> =>
  store<EventOf<T> | undefined, T>(client, type, () => undefined, (event) => event);

/** The last events of a type since the subscription, newest first. */
export const relayFeed = <T extends EventName>(client: RelayClient | null, type: T, limit = 50): Store<readonly EventOf<T>[]> =>
  store<readonly EventOf<T>[], T>(client, type, () => [], (event, last) => [event, ...last].slice(0, limit));
