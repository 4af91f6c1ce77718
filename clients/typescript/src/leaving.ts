import { within } from './clock.js';
import type { Connection } from './connection.js';
import { errorName, TidewireError } from './error.js';
import type { ServerFrame } from './frames.js';
import { MOVE_PAUSE_MS_MAX, MOVE_SETTLE_MS_MAX } from './limits.js';
import type { Link } from './link.js';


/**
 * The server asks to go: first there is a connection to another node, then the old one is given up. If none is
 * reached, a server that asks to move goes on serving; any other one is about to close.
 */
export async function leave(connection: Connection, old: Link, frame: ServerFrame): Promise<void> {
  const [, code, message, graceMs, nodes] = frame as [number, number, string, number, string[] | null];
  const name = errorName(code) ?? 'shutting_down';
  const { requests, settings } = connection.session;
  const found = await findAnother(connection, old, name === 'moved', graceMs, nodes ?? []);
  if (connection.link !== old) return found?.close();
  if (found) {
    connection.successor = found;
    requests.pause();
    connection.setState({ state: 'connecting' });
    await within(settings.clock, Math.min(MOVE_SETTLE_MS_MAX, found.heartbeatMs * 2), requests.drained());
    if (connection.successor === found) connection.succeed();
    return;
  }
  if (name === 'moved') return;
  const reason = new TidewireError(name, `the server goes away: ${message}`);
  requests.pause();
  connection.setState({ state: 'disconnected', code: name, reason: reason.message });
  await within(settings.clock, graceMs, requests.drained());
  old.abandon(reason);
}

async function findAnother(
  connection: Connection,
  old: Link,
  mayStay: boolean,
  graceMs: number,
  nodes: readonly string[],
): Promise<Link | undefined> {
  const { targets, session } = connection;
  const { clock, random } = session.settings;
  targets.learn(nodes);
  const urls = targets.others(nodes, old.url);
  // Behind one address there may be several nodes.
  if (mayStay) urls.push(old.url);
  // Half of the time is for what is under way.
  const end = clock.now() + graceMs / 2;
  if (urls.length > 0) await within(clock, Math.min(MOVE_PAUSE_MS_MAX, graceMs / 4) * random(), new Promise(() => {}));
  for (const url of urls) {
    if (connection.link !== old || clock.now() >= end) return undefined;
    try {
      const found = await connection.dial(url);
      if (isAnother(found, old)) return found;
      found.close();
    } catch {
      // The next one may be there; if none is, the server's own words say what happens.
    }
  }
  return undefined;
}

function isAnother(found: Link, old: Link): boolean {
  const [here, there] = [old.info.actor?.[0], found.info.actor?.[0]];
  return here === undefined || there === undefined ? found.url !== old.url : here !== there;
}
