import {
  createContext, createElement, useCallback, useContext, useEffect, useMemo, useRef, useState, useSyncExternalStore,
  type ReactNode,
} from 'react';
import type { Client } from './client.js';
import type { Counted } from './counter.js';
import type { Entries } from './entries.js';
import { TidewireError } from './error.js';
import type { Published } from './publishing.js';
import type { Payload } from './record.js';
import { share, type Sharable } from './shared.js';
import type { ConnectionState } from './state.js';
import type { SubscribeOptions } from './subscription-events.js';
import type { Standings, Voted, VoteOptions, Choice } from './tally.js';
import { NOTHING_FOLLOWED, TopicBuffer, type Followed } from './topic-buffer.js';
import type { Watch, WatchUpdate } from './watch.js';

/** Records that `useTopic` keeps unless it is told otherwise. */
const RECORDS = 100;

const Context = createContext<Client | null>(null);

/** Gives a client to the hooks below it. It neither connects nor closes the client. */
export function TidewireProvider({ client, children }: { client: Client; children?: ReactNode }): ReactNode {
  return createElement(Context.Provider, { value: client }, children);
}

/** The client of the nearest provider. */
export function useClient(): Client {
  const client = useContext(Context);
  if (!client) throw new TidewireError('invalid_configuration', 'hooks of Tidewire need a <TidewireProvider client={...}> above them');
  return client;
}

/** Where the connection stands. */
export function useConnectionState(): ConnectionState {
  const client = useClient();
  const subscribe = useCallback((changed: () => void) => client.on('state', changed), [client]);
  const read = () => client.connectionState;
  return useSyncExternalStore(subscribe, read, read);
}

/** What a component sees of something shared, and of what. */
interface Seen<T> {
  readonly client: Client;
  readonly key: string;
  readonly value: T;
}

/**
 * Looks at something that all components share which look at the same. `listen` calls back on each change; `look`
 * gives an object that stays the same until then.
 */
function useShared<S extends Sharable, T>(
  key: string,
  make: () => S,
  listen: (shared: S, changed: () => void) => () => void,
  look: (shared: S) => T,
): T | undefined {
  const client = useClient();
  const seen = useRef<Seen<T>>(undefined);
  const subscribe = useCallback(
    (changed: () => void) => {
      const { feed, leave } = share(client, key, make);
      const see = () => {
        seen.current = { client, key, value: look(feed) };
        changed();
      };
      const off = listen(feed, see);
      see();
      return () => {
        off();
        leave();
      };
    },
    // The functions do the same as long as the key is the same.
    [client, key],
  );
  // What was seen under another key is not this one's.
  const read = () => (seen.current?.client === client && seen.current.key === key ? seen.current.value : undefined);
  return useSyncExternalStore(subscribe, read, () => undefined);
}

interface Watched<T> {
  readonly update: WatchUpdate<T> | undefined;
  readonly error: TidewireError | undefined;
}

function useWatched<T>(key: string, make: () => Watch<T>): Partial<Watched<T>> {
  const listen = (watch: Watch<T>, changed: () => void) => {
    const offs = [watch.on('value', changed), watch.on('ended', changed)];
    return () => offs.forEach((off) => off());
  };
  return useShared(key, make, listen, ({ current: update, error }): Watched<T> => ({ update, error })) ?? {};
}

/** What `useTally` gives. */
export interface TallyView {
  /** Where it stands; `undefined` before it is known, `null` when it was deleted. */
  readonly standings: Standings | null | undefined;
  readonly error: TidewireError | undefined;
  readonly vote: (choice: string | number | readonly Choice[], options?: VoteOptions) => Promise<Voted>;
}

/** Follows a tally. */
export function useTally(name: string): TallyView {
  const client = useClient();
  const { update, error } = useWatched<Standings | null>(`tally ${name}`, () => client.tally(name).watch());
  const vote = useCallback<TallyView['vote']>((choice, options) => client.tally(name).vote(choice, options), [client, name]);
  return { standings: update?.value, error, vote };
}

/** What `useCounter` gives. */
export interface CounterView {
  /** Its number; `undefined` before it is known, `null` if it does not exist. */
  readonly value: number | null | undefined;
  readonly error: TidewireError | undefined;
  readonly incr: (delta?: number) => Promise<Counted>;
}

/** Follows a counter. */
export function useCounter(name: string): CounterView {
  const client = useClient();
  const { update, error } = useWatched<number | null>(`counter ${name}`, () => client.counter(name).watch());
  const incr = useCallback((delta = 1) => client.counter(name).incr(delta), [client, name]);
  return { value: update?.value, error, incr };
}

/** What `usePresence` gives. */
export interface PresenceView {
  /** Who is there, with what they gave. */
  readonly members: Entries['all'];
  readonly error: TidewireError | undefined;
}

const NOBODY: Entries['all'] = new Map();

/** Follows who is there; with `me` this component's user is there as long as it is mounted. */
export function usePresence(name: string, me?: { member: string; data?: Payload }): PresenceView {
  const client = useClient();
  const { update, error } = useWatched<Entries>(`presence ${name}`, () => client.presence(name).watch());
  const [refused, setRefused] = useState<TidewireError>();
  const member = me?.member;
  const data = me?.data === undefined ? undefined : JSON.stringify(me.data);
  useEffect(() => {
    if (member === undefined) return;
    const presence = client.presence(name);
    const { leave } = share(client, `member ${name} ${member} ${data}`, () => {
      presence.join(member, me?.data ?? null).then(() => setRefused(undefined), setRefused);
      // Who leaves a connection that is gone has left already.
      return { state: 'running' as const, close: () => void presence.leave(member).catch(() => {}) };
    });
    return leave;
  }, [client, name, member, data]);
  return { members: update?.value.all ?? NOBODY, error: error ?? refused };
}

/** How `useTopic` follows. */
export interface UseTopicOptions extends SubscribeOptions {
  /** Newest records that are kept: 100 unless given. */
  limit?: number;
}

/** What `useTopic` gives. */
export interface TopicView extends Followed {
  readonly publish: (payload: Payload) => Promise<Published>;
}

/** Follows the newest records of a topic. */
export function useTopic(name: string, options: UseTopicOptions = {}): TopicView {
  const client = useClient();
  const make = () => {
    const { limit = RECORDS, ...rest } = options;
    return new TopicBuffer(client.subscribe(name, rest), limit);
  };
  const key = `topic ${name} ${JSON.stringify(options)}`;
  const followed = useShared(key, make, (buffer, changed) => buffer.onChange(changed), (buffer) => buffer.current) ?? NOTHING_FOLLOWED;
  const publish = useCallback((payload: Payload) => client.topic(name).publish(payload), [client, name]);
  return useMemo(() => ({ ...followed, publish }), [followed, publish]);
}
