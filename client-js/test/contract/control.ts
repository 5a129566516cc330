/** The lab's controls in this process, and a server through which pages use them. It also serves the pages. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { Gateway } from './gateway.js';
import type { Control } from './lab.js';
import { Proxy } from './proxy.js';

const places = new Map<string, { gateway: Gateway; proxy: Proxy }>();

/** Pages that are allowed to connect. */
const origins: string[] = [];

function at(place: string): { gateway: Gateway; proxy: Proxy } {
  const found = places.get(place);
  if (!found) throw new Error(`no place ${place}`);
  return found;
}

/** As `gateway.publish`, in deliveries of 50. */
async function publish(gateway: Gateway, user: string, count: number, scope?: string): Promise<string[]> {
  const ids = [];
  for (let left = count; left > 0; left -= 50) ids.push(...(await gateway.publish(user, Math.min(left, 50), scope)));
  return ids;
}

export const control: Control = {
  async open(options) {
    const gateway = await Gateway.start(options, origins);
    const proxy = await Proxy.start(gateway.port);
    const place = randomBytes(4).toString('hex');
    places.set(place, { gateway, proxy });
    return { place, url: `${proxy.url}/v1` };
  },
  async close(place) {
    const { gateway, proxy } = at(place);
    places.delete(place);
    proxy.close();
    await gateway.close();
  },
  token: async (place, user, seconds, forged) => at(place).gateway.token(user, seconds, forged ? 'x'.repeat(32) : undefined),
  publish: (place, user, count, scope) => publish(at(place).gateway, user, count, scope),
  kill: (place) => at(place).gateway.signal('SIGKILL'),
  drain: (place) => at(place).gateway.signal('SIGTERM'),
  start: (place) => at(place).gateway.start(),
  freeze: (place) => at(place).gateway.signal('SIGSTOP'),
  thaw: (place) => at(place).gateway.signal('SIGCONT'),
  wipe: async (place) => at(place).gateway.wipe(),
  rules: async (place, rules) => void (at(place).proxy.rules = rules),
  cut: async (place) => at(place).proxy.cut(),
  traffic: async (place) => at(place).proxy.traffic(),
};

/** Closes what scenarios left open. */
export const closeAll = () => Promise.all([...places.keys()].map((place) => control.close(place)));

/** Serves `files` by path, and the controls at `/control`. */
export async function servePages(files: Record<string, string>): Promise<{ origin: string; server: Server }> {
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url!, 'http://localhost');
    try {
      if (pathname == '/control') {
        const chunks: Buffer[] = [];
        for await (const chunk of request) chunks.push(chunk as Buffer);
        const { operation, args } = JSON.parse(Buffer.concat(chunks).toString()) as { operation: keyof Control; args: never[] };
        const result = await (control[operation] as (...args: never[]) => Promise<unknown>)(...args);
        response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(result ?? null));
      } else if (files[pathname] !== undefined) {
        const type = pathname.endsWith('.js') ? 'text/javascript' : 'text/html';
        response.writeHead(200, { 'content-type': `${type}; charset=utf-8` }).end(files[pathname]);
      } else response.writeHead(404).end();
    } catch (error) {
      response.writeHead(500).end(String(error));
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const origin = `http://127.0.0.1:${(server.address() as { port: number }).port}`;
  origins.push(origin);
  return { origin, server };
}
