/** `claimr-relay/vue`: Vue 3. `app.use(relayPlugin(client))`, then the composables. On a server nothing subscribes. */
import { inject, type InjectionKey, onMounted, onScopeDispose, type Plugin, type Ref, shallowRef } from 'vue';
import type { EventName, EventOf, RelayClient, State } from './types.js';

const KEY: InjectionKey<RelayClient | null> = Symbol();

/** Hands `client` down; `null` (signed out, on a server) makes every composable idle. */
export const relayPlugin = (client: RelayClient | null): Plugin => ({ install: (app) => void app.provide(KEY, client) });

/** The plugin's client. */
export const useRelay = (): RelayClient | null => inject(KEY, null);

/** Calls `handler` for each event of a type, from the component's mount to its end. */
export function useRelayEvent<T extends EventName>(type: T, handler: (event: EventOf<T>) => void): void {
  const client = useRelay();
  let off: (() => void) | undefined;
  onMounted(() => (off = client?.on(type, handler)));
  onScopeDispose(() => off?.());
}

/** The state of the connection. */
export function useRelayStatus(): Readonly<Ref<Pick<State, 'status' | 'lost'>>> {
  const client = useRelay();
  const read = () => ({ status: client?.status ?? 'idle', lost: !!client?.lost }) as const;
  const state = shallowRef<Pick<State, 'status' | 'lost'>>(read());
  useRelayEvent('status', () => (state.value = read()));
  return state;
}

/** The last events of a type, newest first. */
export function useRelayFeed<T extends EventName>(type: T, limit = 50): Readonly<Ref<readonly EventOf<T>[]>> {
  const events = shallowRef<readonly EventOf<T>[]>([]);
  useRelayEvent(type, (event) => (events.value = [event, ...events.value].slice(0, limit)));
  return events;
}
