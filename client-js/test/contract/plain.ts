/** Pages without our client: the browser's own EventSource and WebSocket, live and resumed after a killed connection. */
import type { Scenario } from './scenarios.js';
import { Stage, until } from './stage.js';

const ALICE = 'acme:alice';

/** What a page writes that has no client. */
async function ticket(stage: Stage): Promise<string> {
  const response = await fetch(`${stage.url}/tickets`, { method: 'POST', headers: { Authorization: `Bearer ${await stage.to.token(ALICE, 600)}` } });
  return ((await response.json()) as { ticket: string }).ticket;
}

export const plain: Record<string, Scenario> = {
  'plain EventSource with a ticket, live and resumed': async (runtime) => {
    const stage = await Stage.open(runtime);
    const source = new EventSource(`${stage.url}/sse?ticket=${encodeURIComponent(await ticket(stage))}`);
    try {
      const ids: string[] = [];
      let hellos = 0;
      source.onmessage = ({ data }) => ids.push((JSON.parse(data) as { id: string }).id);
      source.addEventListener('$hello', () => hellos++);
      await until('hello', () => hellos == 1);
      const expected = await stage.to.publish(ALICE, 3);
      await stage.heard({ ids }, expected, 'live');
      await stage.to.cut();
      expected.push(...(await stage.to.publish(ALICE, 3)));
      await stage.heard({ ids }, expected, 'after a cut');
      await stage.to.kill();
      await stage.to.start();
      expected.push(...(await stage.to.publish(ALICE, 3)));
      await stage.heard({ ids }, expected, 'after a kill');
    } finally {
      source.close();
      await stage.close();
    }
  },

  'plain EventSource survives a drain': async (runtime) => {
    const stage = await Stage.open(runtime);
    const source = new EventSource(`${stage.url}/sse?ticket=${encodeURIComponent(await ticket(stage))}`);
    try {
      const ids: string[] = [];
      let byes = 0;
      source.onmessage = ({ lastEventId }) => ids.push(lastEventId);
      source.addEventListener('$bye', () => byes++);
      await until('open', () => source.readyState == EventSource.OPEN);
      const expected = await stage.to.publish(ALICE, 2);
      await stage.heard({ ids }, expected, 'live');
      await stage.to.drain();
      await until('a goodbye', () => byes == 1);
      await stage.to.start();
      expected.push(...(await stage.to.publish(ALICE, 2)));
      await stage.heard({ ids }, expected, 'after the drain');
    } finally {
      source.close();
      await stage.close();
    }
  },

  'plain WebSocket, live and resumed': async (runtime) => {
    const stage = await Stage.open(runtime);
    const ids: string[] = [];
    let socket: WebSocket;
    let cursor: string | undefined;
    let open = 0;
    const dial = async () => {
      const query = cursor ? `?last_event_id=${encodeURIComponent(cursor)}` : '';
      socket = new WebSocket(`${stage.url.replace('http', 'ws')}/ws${query}`, ['claimr.v1', `claimr.bearer.${await stage.to.token(ALICE, 600)}`]);
      socket.onmessage = ({ data }) => {
        const frame = JSON.parse(data as string) as { id?: string; type: string };
        if (frame.id) cursor = frame.id;
        if (frame.type == '$hello') open++;
        else if (frame.type[0] != '$') ids.push(frame.id!);
      };
      socket.onclose = () => void setTimeout(dial, 200);
    };
    try {
      await dial();
      await until('hello', () => open == 1);
      const expected = await stage.to.publish(ALICE, 3);
      await stage.heard({ ids }, expected, 'live');
      await stage.to.cut();
      expected.push(...(await stage.to.publish(ALICE, 3)));
      await stage.heard({ ids }, expected, 'after a cut');
      await stage.to.kill();
      await stage.to.start();
      expected.push(...(await stage.to.publish(ALICE, 3)));
      await stage.heard({ ids }, expected, 'after a kill');
    } finally {
      socket!.onclose = null;
      socket!.close();
      await stage.close();
    }
  },
};
