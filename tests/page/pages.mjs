// Servers of pages: each has an origin of its own.

import { once } from 'node:events';
import { createServer } from 'node:http';

/** A page that is isolated from others has a clock of microseconds. */
const ISOLATED = { 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp' };

/**
 * Serves these files, until it is closed.
 * @param {Record<string, [type: string, body: string | Uint8Array]>} files by their paths
 */
export async function servePages(files) {
  const server = createServer(({ url }, response) => {
    const [type, body] = files[url] ?? [];
    response.writeHead(type ? 200 : 404, { 'content-type': type ?? 'text/plain', ...ISOLATED }).end(body);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { origin: `http://127.0.0.1:${server.address().port}`, close: () => server.close() };
}
