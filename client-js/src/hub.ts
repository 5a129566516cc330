/** Listeners and iterators: what a client is to its application, without a connection. */
import { GatewayError } from './errors.js';
import type { ClientOptions, EventName, Gap, ListenOptions, RelayClient, RelayEvent, State } from './types.js';

/** Events that an iterator holds for a slow reader. */
const HELD = 256;

type Writable<T> = { -readonly [K in keyof T]: T[K] };

/** A client and what its own side does with it. */
export interface Hub {
  client: Writable<RelayClient>;
  /** What is emitted as `*` goes to its own type's listeners too. */
  emit(type: string, value: object): void;
  /** Sets the state, where absent means false or undefined, and tells if it is another. */
  set(state: Pick<State, 'status'> & Partial<State>): void;
}

/** Makes a client out of the connection's side. */
export function createHub(
  { connect, reconnect, close }: Pick<RelayClient, 'connect' | 'reconnect' | 'close'>,
  logger: ClientOptions['logger'],
): Hub {
  const listeners = new Map<string, Set<(value: never) => void>>();
  // Only the first listener connects: later ones must not ask a signed-out user's backend again and again.
  let lazy = true;

  const emit = (type: string, value: object) => {
    logger?.(type, value);
    for (const listener of [...(listeners.get(type) ?? [])]) {
      try {
        listener(value as never);
      } catch (error) {
        // The application's mistake is reported as such, and is not ours to stumble over.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
    // An event that is named like one of our own words is heard by `*` alone.
    if (type == '*' && !/^(status|gap|error|\*)$/.test((value as RelayEvent).type)) emit((value as RelayEvent).type, value);
  };

  const on = (type: string, handler: (value: never) => void, { signal, once }: ListenOptions = {}) => {
    const set = listeners.get(type) ?? new Set();
    const listener = (value: never) => {
      if (once || signal?.aborted) off();
      if (!signal?.aborted) handler(value);
    };
    const off = () => void set.delete(listener);
    listeners.set(type, set.add(listener));
    if (lazy && client.status == 'idle') connect();
    lazy = false;
    return off;
  };

  const events = (type: EventName, { signal }: ListenOptions = {}) => {
    const held: unknown[] = [];
    const control = new AbortController();
    let behind = false;
    let look: (() => void) | undefined;
    const stop = () => {
      control.abort();
      look?.();
    };
    const add = (event: unknown) => {
      if (held.push(event) > HELD) {
        held.shift();
        if (!behind) emit('gap', { id: client.lastEventId, reason: 'overflow' } satisfies Gap);
        behind = true;
      }
      look?.();
    };
    on(type, add, control);
    on('status', () => client.status == 'closed' && stop(), control);
    signal?.addEventListener('abort', stop, control);
    if (signal?.aborted) stop();

    const iterator = (async function* () {
      while (held.length || !control.signal.aborted) {
        if (held.length) yield held.shift();
        else {
          behind = false;
          await new Promise<void>((resolve) => (look = resolve));
        }
      }
      if (client.error) throw client.error;
    })();
    return Object.assign(iterator, {
      // A generator's own `return` would wait for the event that a pending `next` waits for.
      async return() {
        held.length = 0;
        stop();
        return { value: undefined, done: true };
      },
    });
  };

  const ready = () =>
    new Promise<void>((resolve, reject) => {
      const look = () => {
        if (client.status == 'connected') resolve();
        else if (client.status == 'closed') reject(client.error ?? new GatewayError('closed'));
        else return;
        off();
      };
      if (client.status == 'idle') connect();
      const off = on('status', look);
      look();
    });

  const client = {
    on,
    events,
    ready,
    connect,
    reconnect,
    close,
    // Runtimes without the symbol have no `using` either.
    [Symbol.dispose ?? 'dispose']: close,
  } as unknown as Writable<RelayClient>;

  const set = (state: Pick<State, 'status'> & Partial<State>) => {
    const before = client.status + client.lost;
    Object.assign(client, { lost: false, transport: undefined, error: undefined }, state);
    if (client.status + client.lost != before) emit('status', client);
  };
  set({ status: 'idle' });
  return { client, emit, set };
}
