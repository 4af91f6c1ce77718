import { systemClock, type Clock } from './clock.js';
import { TidewireError } from './error.js';
import type { Transport } from './socket.js';
import { openSocket } from '#socket';

/** A token, or what gets a new one: called again before the one in use expires, and when it is refused. */
export type TokenSource = string | (() => string | Promise<string>);

/** Settings of a client. */
export interface ClientOptions {
  /** What proves to the server who this is. */
  token?: TokenSource | undefined;
  /** The software's name in the server's log, such as `acme-app/3`; at most 128 bytes. */
  clientName?: string | undefined;
  /** Bounds of the random delay before each attempt to connect again. 500 and 20,000 unless given. */
  backoffMinMs?: number | undefined;
  backoffMaxMs?: number | undefined;
  /** How long one attempt to connect may take, up to the server's WELCOME. 5,000 unless given. */
  connectTimeoutMs?: number | undefined;
  /** Whether `connect` fails when the first attempt does (true unless given), or tries on. */
  failFast?: boolean | undefined;
  /** Requests that may wait unsent, for a connection or for room on it. 4,096 unless given; beyond: `queue_full`. */
  offlineQueue?: number | undefined;
  /** How long a request waits without a connection before it fails. 60,000 unless given. */
  offlineWaitMs?: number | undefined;
  /** How long a request is sent again that was refused with `unavailable`. 15,000 unless given. */
  repeatForMs?: number | undefined;
  /** What opens connections, instead of the platform's WebSocket: `webTransport()`, or a function of your own. */
  transport?: Transport | undefined;
  /** Time and chance, for tests. */
  clock?: Clock | undefined;
  random?: (() => number) | undefined;
  /** Whether to look at the page's visibility and network. True unless given; without a page it means nothing. */
  watchPage?: boolean | undefined;
}

/** Options with their defaults. */
export interface Settings {
  token: TokenSource | undefined;
  clientName: string;
  backoffMinMs: number;
  backoffMaxMs: number;
  connectTimeoutMs: number;
  failFast: boolean;
  offlineQueue: number;
  offlineWaitMs: number;
  repeatForMs: number;
  transport: Transport;
  clock: Clock;
  random: () => number;
  watchPage: boolean;
}

/** Takes the options, and refuses those that cannot work. */
export function settle(options: ClientOptions): Settings {
  const defaults: Settings = {
    token: undefined,
    clientName: 'tidewire-typescript/0.1.0',
    backoffMinMs: 500,
    backoffMaxMs: 20_000,
    connectTimeoutMs: 5_000,
    failFast: true,
    offlineQueue: 4_096,
    offlineWaitMs: 60_000,
    repeatForMs: 15_000,
    transport: openSocket,
    clock: systemClock,
    random: Math.random,
    watchPage: true,
  };
  const isGiven = ([, value]: [string, unknown]) => value !== undefined;
  const settings: Settings = { ...defaults, ...Object.fromEntries(Object.entries(options).filter(isGiven)) };
  for (const [name, value] of Object.entries(settings)) {
    if (typeof value === 'number' && !(value >= 0)) {
      throw new TidewireError('invalid_configuration', `the option ${name} cannot be ${value}`);
    }
  }
  return settings;
}
