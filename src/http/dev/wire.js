// Sees the frames as they pass, to show them: the client itself does not need this. `see(way, frame)` is told each one.

const parsed = (text) => {
  try {
    return JSON.parse(text);
  } catch {
    return { type: '?' };
  }
};

/** A WebSocket that lets itself be watched. */
export const watchedSocket = (see) =>
  class extends WebSocket {
    constructor(...dial) {
      super(...dial);
      this.addEventListener('message', ({ data }) => see('in', parsed(data)));
      this.addEventListener('close', ({ code, reason }) => see('end', { type: 'close', code, reason }));
    }

    send(data) {
      see('out', parsed(data));
      super.send(data);
    }
  };

/** A fetch whose event stream lets itself be watched. */
export const watchedFetch = (see) => async (input, init) => {
  const response = await fetch(input, init);
  if (!response.ok || !response.body) return response;
  const [watched, theirs] = response.body.tee();
  watch(watched, see).catch(() => {}).finally(() => see('end', { type: 'close', reason: 'end of stream' }));
  return new Response(theirs, response);
};

async function watch(stream, see) {
  let text = '';
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
    const blocks = (text + piece.value).split('\n\n');
    text = blocks.pop();
    for (const block of blocks) {
      const data = block.split('\n').filter((line) => line.startsWith('data: '));
      if (data.length) see('in', parsed(data.map((line) => line.slice(6)).join('\n')));
      else if (block.includes(': ping')) see('in', { type: '$ping' });
    }
  }
}
