import type { Client } from './client.js';
import type { RouteState } from './state.js';

/** What several users of one name share: a watch, records, a member. */
export interface Sharable {
  readonly state: RouteState;
  close(): void;
}

interface Holding {
  feed: Sharable;
  users: number;
  isLeaving: boolean;
}

const holdings = new WeakMap<Client, Map<string, Holding>>();

/**
 * Shares one feed per key among its users. The last one to leave ends it, but not before the next turn: a component
 * that is unmounted and mounted again at once, as StrictMode does, keeps it.
 */
export function share<T extends Sharable>(client: Client, key: string, make: () => T): { feed: T; leave: () => void } {
  let byKey = holdings.get(client);
  if (!byKey) holdings.set(client, (byKey = new Map()));
  let holding = byKey.get(key);
  if (!holding || holding.feed.state === 'ended') byKey.set(key, (holding = { feed: make(), users: 0, isLeaving: false }));
  const held = holding;
  held.users++;
  let hasLeft = false;
  const leave = () => {
    if (hasLeft) return;
    hasLeft = true;
    held.users--;
    if (held.isLeaving) return;
    held.isLeaving = true;
    setTimeout(() => {
      held.isLeaving = false;
      if (held.users > 0) return;
      if (byKey.get(key) === held) byKey.delete(key);
      held.feed.close();
    });
  };
  return { feed: held.feed as T, leave };
}
