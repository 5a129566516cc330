/** Server-sent events over `fetch`, which sets headers and shows the status of a refusal, as EventSource does not. */
import { type Carrier, type Dial, endpoint } from './carrier.js';
import { sseParser } from './sse-parser.js';
import type { ClientOptions } from './types.js';

/** A refusal's status as the close code that a WebSocket would have got. Any other status is a failure to try again. */
const CODES: Record<number, number> = { 400: 4400, 401: 4101, 403: 4403, 406: 4406, 429: 4202, 503: 4200 };

export const sse: Carrier = (dial, options) => {
  run(dial, options).catch((cause) => dial.end(0, '', 0, cause));
};

async function run(dial: Dial, options: ClientOptions): Promise<void> {
  const { cursor, signal } = dial;
  const response = await (options.fetch ?? fetch)(endpoint(dial, options, 'http', '/sse'), {
    headers: { Authorization: `Bearer ${dial.token}`, ...(cursor && { 'Last-Event-ID': cursor }) },
    cache: 'no-store',
    signal,
  });
  const { status, headers } = response;
  if (!/^text\/event-stream/.test(headers.get('content-type')!)) {
    const problem = await response.json().catch(() => 0);
    return dial.end(CODES[status] ?? 0, problem.error?.code ?? `http_${status}`, +headers.get('retry-after')! * 1e3);
  }
  const parse = sseParser(dial.data);
  // The decoder keeps half a character for the next chunk, and takes a byte order mark off.
  const write = (text: string) => {
    dial.data();
    parse(text);
  };
  await response.body!.pipeThrough(new TextDecoderStream()).pipeTo(new WritableStream({ write }));
  dial.end(0);
}
