/**
 * Server-sent events from text. Only `data` is read: our frames carry their type and position inside, and the reconnect time
 * is for browsers' own EventSource. White space around the data stays, because JSON does not mind it.
 */

/** In UTF-16 units, for a line and for the data of one event. The gateway's largest event is far below it. */
const LIMIT = 2 ** 21;

/** A function to feed with text, however it is cut. It throws when a line or an event is longer than 2 Mi characters. */
export function sseParser(onData: (json: string) => void): (text: string) => void {
  let rest = '';
  let data = '';
  let afterCr = false;
  return (text) => {
    // A CR ends its line at once, so the LF of a CRLF that was cut in two is not another line.
    const lines = text.slice(Number(afterCr && text[0] == '\n')).split(/\r\n?|\n/);
    afterCr = text.endsWith('\r');
    // Only the new text is looked through: a long line in many pieces must not cost its length squared.
    lines[0] = rest + lines[0];
    rest = lines.pop()!;
    for (const line of lines) {
      if (line.startsWith('data:')) data += line.slice(5) + '\n';
      else if (!line && data) {
        onData(data);
        data = '';
      }
    }
    if ((rest + data).length > LIMIT) throw new RangeError('event too long');
  };
}
