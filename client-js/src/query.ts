/**
 * `claimr-relay/query`: what the server's state is shown from (TanStack Query in any framework) becomes stale when an event
 * says so, and when events may have been missed.
 */
import type { RelayClient, RelayEvent, RelayEvents } from './types.js';

type QueryKey = readonly unknown[];

/** The part of TanStack's `QueryClient` that is used. */
export interface Invalidates {
  invalidateQueries(filters: { queryKey: QueryKey }): unknown;
}

/** Query keys by type of event. A function is called without an event on a gap: return the keys that cover any. */
export type InvalidationRules = {
  [T in keyof RelayEvents | (string & {})]?: readonly QueryKey[] | ((event: RelayEvent | undefined) => readonly QueryKey[]);
};

/** Invalidates by `rules` on each event, and by all of them on a gap. Returns what stops it. */
export function invalidateOnEvents(client: RelayClient, queries: Invalidates, rules: InvalidationRules): () => void {
  const invalidate = (type: string, event?: RelayEvent) => {
    const rule = rules[type]!;
    for (const queryKey of typeof rule == 'function' ? rule(event) : rule) queries.invalidateQueries({ queryKey });
  };
  const types = Object.keys(rules);
  const offs = types.map((type) => client.on(type, (event) => invalidate(type, event as RelayEvent)));
  offs.push(client.on('gap', () => types.forEach((type) => invalidate(type))));
  return () => offs.forEach((off) => off());
}
