import { systemClock, type Clock } from './clock.js';
import type { Socket, Transport } from './socket.js';
import { Failures } from './webtransport-failures.js';
import { Race } from './webtransport-race.js';
import { WebTransportSocket } from './webtransport-socket.js';
import { openSocket } from '#socket';

const PATH = '/v1/webtransport';

/** Settings of WebTransport. */
export interface WebTransportSettings {
  /**
   * Certificates that are trusted although no authority vouches for them: their SHA-256, as the server prints it (64
   * hexadecimal digits), or as browsers take it.
   */
  serverCertificateHashes?: readonly (string | WebTransportHash)[] | undefined;
  /** How long WebTransport may take before a WebSocket is opened beside it. 500 unless given. */
  headStartMs?: number | undefined;
  /** How long a server that WebTransport did not reach is left alone; after each failure twice as long, up to ten minutes. 60,000 unless given. */
  retryAfterMs?: number | undefined;
  /** What opens WebSockets, instead of the platform's. */
  webSocket?: Transport | undefined;
  /** Time, for tests. */
  clock?: Clock | undefined;
}

/**
 * The client's option `transport` for WebTransport, with a WebSocket where that does not work. The state `connected`
 * says which it is, and why (`transport`, `fallback`).
 *
 * Throws a TypeError if a hash is none.
 */
export function webTransport(settings: WebTransportSettings = {}): Transport {
  const { headStartMs = 500, retryAfterMs = 60_000, webSocket = openSocket, clock = systemClock } = settings;
  const hashes = settings.serverCertificateHashes?.map(parseHash);
  const options: WebTransportOptions = hashes ? { serverCertificateHashes: hashes } : {};
  const failures = new Failures(retryAfterMs);
  return (url, protocol) => {
    const { host } = new URL(url);
    const reason = missing(url) ?? failures.reason(host, clock.now());
    if (reason) return asFallback(webSocket(url, protocol), reason);
    return new Race({
      open: {
        webtransport: () => new WebTransportSocket(`https://${host}${PATH}`, options, clock),
        websocket: () => webSocket(url, protocol),
      },
      headStartMs,
      clock,
      works: () => failures.forget(host),
      fails: (why) => failures.note(host, why, clock.now()),
    });
  };
}

/** What WebTransport needs and is not there. */
function missing(url: string): string | undefined {
  if (!url.startsWith('wss:')) return 'WebTransport needs encryption: use wss://';
  if (!('WebTransport' in globalThis)) return 'no WebTransport here: the page is not secure, or the platform has none';
  return undefined;
}

function asFallback(socket: Socket, reason: string): Socket {
  return Object.assign(socket, { fallback: reason });
}

function parseHash(hash: string | WebTransportHash): WebTransportHash {
  if (typeof hash !== 'string') return hash;
  if (!/^[0-9a-f]{64}$/i.test(hash)) throw new TypeError(`'${hash}' is no SHA-256 of a certificate: 64 hexadecimal digits are expected`);
  return { algorithm: 'sha-256', value: Uint8Array.from(hash.match(/../g)!, (byte) => parseInt(byte, 16)) };
}
