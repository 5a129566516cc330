/** WebSocket: the token travels as a subprotocol, because browsers set no headers here and a URL ends up in logs. */
import { type Carrier, endpoint } from './carrier.js';

export const ws: Carrier = (dial, options) => {
  const Socket = (options.WebSocket ?? WebSocket) as typeof WebSocket;
  const socket = new Socket(endpoint(dial, options, 'ws', '/ws', dial.cursor), ['claimr.v1', `claimr.bearer.${dial.token}`]);
  socket.onmessage = (event) => dial.data(event.data);
  // A failed handshake shows no more than 1006 to a page, on purpose.
  socket.onclose = (event) => dial.end(event.code, event.reason);
  // `onclose` follows; but a WebSocket of Node's `ws` throws if nobody listens.
  socket.onerror = () => {};
  dial.signal.addEventListener('abort', () => socket.close());
  return (token) => socket.send(JSON.stringify({ type: '$auth', token }));
};
