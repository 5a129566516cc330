/** The stream format, however the network cuts it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sseParser } from '../../src/sse-parser.js';

const utf8 = new TextEncoder();

/** Feeds pieces of `size` bytes through a decoder, as the client does, and gives the trimmed data of each event. */
function parse(bytes: Uint8Array, size: number): string[] {
  const seen: string[] = [];
  const feed = sseParser((data) => seen.push(data.trim()));
  const decoder = new TextDecoder();
  for (let at = 0; at < bytes.length; at += size) {
    const text = decoder.decode(bytes.subarray(at, at + size), { stream: true });
    if (text) feed(text);
  }
  return seen;
}

const TABLE: [name: string, stream: string, data: string[]][] = [
  ['LF', 'data: 1\n\ndata: 2\n\n', ['1', '2']],
  ['CR', 'data: 1\r\rdata: 2\r\r', ['1', '2']],
  ['CRLF', 'data: 1\r\n\r\ndata: 2\r\n\r\n', ['1', '2']],
  ['mixed ends of lines', 'data: 1\r\n\ndata: 2\n\r\ndata: 3\r\r\ndata: 4\n\r', ['1', '2', '3', '4']],
  ['a CRLF inside an event is one end of line', 'data: [1,\r\ndata: 2]\r\n\r\n', ['[1,\n 2]']],
  ['a byte order mark', '\ufeffdata: 1\n\n', ['1']],
  ['no space after the colon', 'data:1\n\n', ['1']],
  ['comments, names, ids and delays beside it', ': ping\n\nretry: 3000\n\nevent: $hello\nid: a:1\ndata: 1\n\n: ping\n\n', ['1']],
  ['several lines', 'data: [1,\ndata: 2]\n\n', ['[1,\n 2]']],
  ['characters of two, three and four bytes', 'data: "é€😀"\n\n', ['"é€😀"']],
  ['an event that has not ended', 'data: 1\n\ndata: 2\n', ['1']],
  ['nothing', '', []],
  ['no data', 'event: x\nid: 1\n\n\n\n', []],
  ['a field that only begins alike', 'database: 1\n\n', []],
];

for (const [name, stream, data] of TABLE) {
  test(`${name}, cut at every size down to single bytes`, () => {
    const bytes = utf8.encode(stream);
    for (let size = 1; size <= Math.max(bytes.length, 1); size++) assert.deepEqual(parse(bytes, size), data, `pieces of ${size}`);
  });
}

test('a line of one MiB, byte by byte, in time that grows with its length', () => {
  const long = 'x'.repeat(2 ** 20);
  const started = Date.now();
  assert.deepEqual(parse(utf8.encode(`data: ${long}\n\n`), 1), [long]);
  assert.ok(Date.now() - started < 10_000);
});

test('a line or an event without end is refused before it fills the memory', () => {
  const mib = 'x'.repeat(2 ** 20);
  const line = sseParser(() => {});
  assert.throws(() => ['data: ', mib, mib, mib].forEach(line), RangeError);
  const event = sseParser(() => {});
  assert.throws(() => [mib, mib, mib].forEach((text) => event(`data: ${text}\n`)), RangeError);
});

test('random cuts of a random stream (prints its seed)', (t) => {
  const seed = Number(process.env.SEED ?? Date.now() % 1e6);
  t.diagnostic(`SEED=${seed}`);
  let state = seed;
  const random = (n: number) => (state = (state * 1103515245 + 12345) % 2 ** 31) % n;
  for (let round = 0; round < 200; round++) {
    const data = Array.from({ length: 1 + random(6) }, (_, i) => `${i}${'é😀x'.repeat(random(4))}`);
    const ends = ['\n', '\r', '\r\n'];
    const end = ends[random(3)]!;
    const bytes = utf8.encode(data.map((text) => `id: ${random(9)}${end}data: ${text}${end}${end}`).join(''));
    assert.deepEqual(parse(bytes, 1 + random(7)), data);
  }
});
