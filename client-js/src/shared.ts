/**
 * `claimr-relay/shared`: one connection per browser, however many tabs.
 *
 * The tabs elect a leader by a Web Lock; it holds the connection and passes on what it hears by BroadcastChannel. A tab that
 * ends lets go of the lock, and the next leader resumes from the position that it has heard itself. Where a browser lacks
 * either, each tab has its own connection.
 */
import { createStore, isNews } from './cursor.js';
import { createHub } from './hub.js';
import { createClient, GatewayError } from './index.js';
import type { ClientOptions, CursorStorage, Gap, RelayClient, RelayEvent, State } from './types.js';

/** Events that each tab keeps for a tab that was frozen or has just come. */
const KEPT = 256;

/** What tabs tell each other. The leader hears it too. */
interface Message {
  /** To the leader: tell how things are; `connect` and `reconnect` as well. */
  ask?: 'hello' | 'connect' | 'reconnect';
  event?: Mark;
  gap?: Gap;
  state?: Omit<State, 'error'>;
  /** What makes a `GatewayError`. */
  error?: [code: string, closeCode: number, retryable: boolean] | undefined;
  /** The leader's position. */
  id?: string | undefined;
  /** A position, and the events after it. */
  kept?: Mark[];
}

/** An event, or what else has a position. */
type Mark = Pick<RelayEvent, 'id'>;

/** A client that shares one connection with the tabs of this origin that use the same `url` and `types`. */
export function createSharedClient(options: ClientOptions): RelayClient {
  const { navigator, BroadcastChannel, addEventListener } = globalThis;
  if (!navigator?.locks || !BroadcastChannel) return createClient(options);

  const name = `claimr-relay:${options.url}:${options.types}`;
  const store = createStore(options);
  const { client, emit, set } = createHub({ connect: ask('connect'), reconnect: ask('reconnect'), close }, options.logger);
  let kept: Mark[] = [];
  let channel: BroadcastChannel;
  let member: AbortController | undefined;
  let leader: RelayClient | undefined;

  function move(mark: Mark): void {
    client.lastEventId = mark.id;
    store('cursor', mark.id);
    if (kept.push(mark) > KEPT) kept.shift();
  }

  function hear({ id, kept: past, event, gap, state, error, ask }: Message): void {
    if (id && !client.lastEventId) move({ id });
    if (past?.[0]) {
      if (isNews(past[0].id, client.lastEventId)) hear({ gap: { id: past[0].id, reason: 'overflow' } });
      for (const event of past) hear({ event });
    }
    if (event && isNews(event.id, client.lastEventId)) {
      move(event);
      emit('*', event);
    }
    if (gap) {
      kept = [];
      move(gap as Mark);
      emit('gap', gap);
    }
    const failure = error && new GatewayError(...error);
    if (state) set({ ...state, error: failure });
    else if (failure) emit('error', failure);
    if (ask && leader) {
      // A leader that is asked for its situation alone has no method of that name.
      leader[ask as 'connect']?.();
      tell({ ...situation(leader), kept });
    }
  }

  function tell(message: Message): void {
    channel.postMessage(message);
    hear(message);
  }

  function lead(): void {
    const led = (leader = createClient({
      ...options,
      pauseWhenHidden: false,
      // What is delivered decides, not what this one connection has heard.
      resume: { getItem: () => client.lastEventId } as unknown as CursorStorage,
      signal: member!.signal,
    }));
    led.on('*', (event) => tell({ event }), member);
    led.on('gap', (gap) => tell({ gap }), member);
    led.on('error', (error) => tell({ error: plain(error) }), member);
    led.on('status', () => tell(situation(led)), member);
    tell(situation(led));
  }

  function join(): void {
    const { signal } = (member = new AbortController());
    channel = new BroadcastChannel(name);
    channel.onmessage = ({ data }) => hear(data);
    set({ status: client.lastEventId ? 'reconnecting' : 'connecting' });
    tell({ ask: 'hello' });
    // The lock is held until the tab leaves, by a promise that is kept then.
    const hold = () =>
      new Promise<void>((release) => {
        signal.addEventListener('abort', () => release());
        lead();
      });
    // A page without an origin has no locks: it leads alone.
    navigator.locks.request(name, { signal }, hold).catch(() => signal.aborted || lead());
    addEventListener('pagehide', () => {
      leave();
      addEventListener('pageshow', join, { once: true });
    }, member);
  }

  function leave(): void {
    member?.abort();
    channel?.close();
    leader = member = undefined;
  }

  function ask(what: 'connect' | 'reconnect'): () => void {
    return () => (member ? tell({ ask: what }) : join());
  }

  function close(): void {
    leave();
    set({ status: 'closed' });
  }

  const id = store('cursor');
  if (id) move({ id });
  options.signal?.addEventListener('abort', close);
  return client;
}

const plain = (error: GatewayError | undefined): Message['error'] => error && [error.code, error.closeCode, error.retryable];

const situation = ({ status, lost, transport, error, lastEventId }: RelayClient): Message => ({
  state: { status, lost, transport },
  error: plain(error),
  id: lastEventId,
});
