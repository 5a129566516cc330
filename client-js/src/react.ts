/**
 * `claimr-relay/react`: React 18 and later.
 *
 * The client belongs to the application (make it in a module, or in `useState`); the provider only hands it down. So neither
 * StrictMode nor hot reloading opens a second connection, and rendering on a server opens none: only effects subscribe.
 */
import { createContext, createElement, type ReactNode, useContext, useEffect, useRef, useState, useSyncExternalStore } from 'react';
import type { EventName, EventOf, RelayClient, State } from './types.js';

const Context = createContext<RelayClient | null>(null);

/** Hands `client` down; `null` (signed out, on a server) makes every hook below idle. */
export function RelayProvider({ client, children }: { client: RelayClient | null; children?: ReactNode }): ReactNode {
  return createElement(Context.Provider, { value: client }, children);
}

/** The provider's client. */
export const useRelay = (): RelayClient | null => useContext(Context);

/** Calls the latest `handler` for each event of a type, also for `gap`, `status` and `error`. */
export function useRelayEvent<T extends EventName>(type: T, handler: (event: EventOf<T>) => void): void {
  const client = useRelay();
  const latest = useRef(handler);
  useEffect(() => {
    latest.current = handler;
  });
  useEffect(() => client?.on(type, (event) => latest.current(event)), [client, type]);
}

const NONE: State = { status: 'idle', lost: false, transport: undefined, error: undefined };

/** The state of the connection. `lost` is the moment to tell the user. */
export function useRelayStatus(): State {
  const client = useRelay();
  const read = () => `${client?.status} ${client?.lost}`;
  useSyncExternalStore((notify) => client?.on('status', notify) ?? (() => {}), read, () => '');
  return client ?? NONE;
}

/** The last events of a type, newest first. */
export function useRelayFeed<T extends EventName>(type: T, limit = 50): readonly EventOf<T>[] {
  const [events, set] = useState<readonly EventOf<T>[]>([]);
  const client = useRelay();
  useRelayEvent(type, (event) => set((before) => [event, ...before].slice(0, limit)));
  // Another client may be another user.
  useEffect(() => () => set([]), [client, type]);
  return events;
}
